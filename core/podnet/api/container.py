"""Container: one container of a PodSandbox, its fields as in a Pod."""

import re
from collections import Counter
from collections.abc import Hashable, Iterable
from decimal import Decimal
from math import ceil
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema

from podnet.api.meta import DnsLabel, Found, Model, Spelling, Text, Truth, Whole, spoken
from podnet.api.rules import Rule, by_key

ABSOLUTE = Spelling(
    r"/[^\x00]*",
    4095,
    "an absolute path, which begins with /",
)
"""PATH_MAX with its NUL (limits.h)."""
ENV_NAME = Spelling(
    r"[-._a-zA-Z][-._a-zA-Z0-9]*", 253, "letters, digits, _, - and ., not beginning with a digit"
)
"""As a Pod's."""
_USER = r"([A-Za-z_][-A-Za-z0-9_.]*\$?|[0-9]{1,10})"
USER = Spelling(
    rf"{_USER}(:{_USER})?",
    65,
    "a user's name or number, with :GROUP behind it if need be",
)
IMAGE = Spelling(
    r"[!-~]([ -~]*[!-~])?", 4095, "host, or the path of a docker-archive or OCI layout"
)


def _no_dots(path: str) -> str:
    if ".." in path.split("/"):
        raise ValueError(f"is {spoken(path)}: write the path without ..")
    return path


_PART = r"([^/.\x00][^/\x00]*|\.|\.[^/.\x00][^/\x00]*|\.\.[^/\x00]+)?"
AbsolutePath = Annotated[
    str,
    ABSOLUTE,
    AfterValidator(_no_dots),
    WithJsonSchema({"type": "string", "maxLength": ABSOLUTE.most, "pattern": f"^(/{_PART})+$"}),
]
_BINARY = {"Ki": 1 << 10, "Mi": 1 << 20, "Gi": 1 << 30, "Ti": 1 << 40}
_CPUS = {"": 1000, "m": 1}
_DECIMAL = {"": 1, "k": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}
LEAST_MILLICPUS = 10
"""A quota of 1 ms in the usual period of 100 ms: the kernel takes no less (sched-bwc)."""
LEAST_BYTES = 6 << 20
"""As Docker has it: a container can't be started in less (moby, daemon/daemon_unix.go)."""
_CPU = "write CPUs such as 500m, 1 or 1.5"
_MEMORY = "write bytes such as 64Mi, 1Gi or 67108864"


def _amount(value: Any, units: dict[str, int], least: int, remedy: str) -> int:
    """A Kubernetes quantity in whole multiples of `units`' one, rounded up as Kubernetes does."""
    text = str(value)
    digits = text.rstrip("".join(set("".join(units))))
    factor = units.get(text[len(digits) :])
    number = re.fullmatch(r"[0-9]{1,18}(\.[0-9]{0,18})?|\.[0-9]{1,18}", digits)
    if isinstance(value, bool) or factor is None or number is None:
        raise ValueError(f"is {spoken(value)}: {remedy}")
    amount = Decimal(digits) * factor
    if not least <= amount < 2**63:
        size = "little" if amount < least else "much"
        raise ValueError(f"is {spoken(value)}, which is too {size}: {remedy}")
    return ceil(amount)


def _millicpus(value: Any) -> int:
    return _amount(value, _CPUS, LEAST_MILLICPUS, _CPU)


def _bytes(value: Any) -> int:
    return _amount(value, _BINARY | _DECIMAL, LEAST_BYTES, _MEMORY)


def _cpu(value: Any) -> Any:
    _millicpus(value)
    return value


def _memory(value: Any) -> Any:
    _bytes(value)
    return value


_NUMBER = r"([0-9]{1,18}(\.[0-9]{0,18})?|\.[0-9]{1,18})"


def _quantity(units: dict[str, int]) -> WithJsonSchema:
    """A number, or a text with one of the units behind it."""
    suffixes = "|".join(unit for unit in units if unit)
    pattern = f"^{_NUMBER}({suffixes})?$"
    return WithJsonSchema({"x-kubernetes-int-or-string": True, "maxLength": 41, "pattern": pattern})


def _little(name: str, least: str, remedy: str) -> Rule:
    value = f"string(self.{name})"
    return Rule(
        f"!has(self.{name}) || !isQuantity({value})"
        f" || quantity({value}).compareTo(quantity('{least}')) >= 0",
        f"is {{value}}, which is too little: {remedy}",
        f".{name}",
        words={"value": f"less than {least}"},
    )


class EnvVar(Model):
    """An environment variable."""

    name: Annotated[str, ENV_NAME] = Field(description="The variable's name.")
    value: Text = Field(default="", description="Its value, taken as it stands.")


class Mount(Model):
    """A file or folder of the node, seen in the container."""

    source: AbsolutePath = Field(description="The path on the node, where it must exist.")
    target: AbsolutePath = Field(description="The path in the container.")
    read_only: Truth = Field(default=False, description="The container can't write there.")


class Limits(Model):
    """What the container may use at most."""

    rules = (
        _little("cpu", f"{LEAST_MILLICPUS}m", _CPU),
        _little("memory", f"{LEAST_BYTES >> 20}Mi", _MEMORY),
    )

    cpu: Annotated[Any, BeforeValidator(_cpu), _quantity(_CPUS)] = Field(
        default=None, description="CPUs, such as 500m, 1 or 1.5."
    )
    memory: Annotated[Any, BeforeValidator(_memory), _quantity(_BINARY | _DECIMAL)] = Field(
        default=None, description="Bytes, such as 64Mi, 1Gi or 67108864."
    )
    pids: Whole | None = Field(
        default=None, ge=1, le=4_194_304, description="How many processes and threads."
    )

    @property
    def millicpus(self) -> int | None:
        """Thousandths of a CPU; None: no limit."""
        return None if self.cpu is None else _millicpus(self.cpu)

    @property
    def memory_bytes(self) -> int | None:
        """None: no limit."""
        return None if self.memory is None else _bytes(self.memory)


class Resources(Model):
    """What the container may use."""

    limits: Limits | None = Field(default=None, description="The most that it may use.")


_NO_COMMAND = Rule(
    "self.image != 'host' || (has(self.command) && self.command.size() > 0)"
    " || (has(self.args) && self.args.size() > 0)",
    "is missing: image host has no command of its own",
    ".command",
)


class Container(Model):
    """One container of the sandbox; fields as in a Pod."""

    rules = (_NO_COMMAND,)

    name: DnsLabel = Field(description="The container's name, unique in the sandbox.")
    image: Annotated[str, IMAGE] = Field(
        description="`host`: the node's own root, below a private writable layer. Else, on one"
        " machine the path of a docker-archive or OCI layout; in a cluster an image"
        " that the node's containerd has. None is pulled."
    )
    command: tuple[Text, ...] = Field(
        default=(),
        max_length=1024,
        description="The program and its first arguments; replaces the image's ENTRYPOINT.",
    )
    args: tuple[Text, ...] = Field(
        default=(),
        max_length=1024,
        description="Arguments of the program; replaces the image's CMD.",
    )
    env: tuple[EnvVar, ...] = Field(
        default=(),
        max_length=1024,
        description="Environment variables.",
        json_schema_extra=by_key("name"),
    )
    working_dir: AbsolutePath | None = Field(
        default=None, description="Where the program starts. Left out: the image's."
    )
    mounts: tuple[Mount, ...] = Field(
        default=(),
        max_length=256,
        description="Files and folders of the node that are seen in the container.",
        json_schema_extra=by_key("target"),
    )
    user: Annotated[str, USER] | None = Field(
        default=None,
        description="Who runs the program: USER or USER:GROUP, names or numbers. Left out:"
        " the image's.",
    )
    read_only_root_filesystem: Truth = Field(
        default=False, description="The root can't be written to."
    )
    resources: Resources | None = Field(default=None, description="What it may use.")

    def contradictions(self) -> Found:
        """No command where there is none to fall back on; what stands twice."""
        found: Found = []
        if self.image == "host" and not self.command and not self.args:
            found.append((("command",), _NO_COMMAND.say()))
        found += twice("env", "name", (variable.name for variable in self.env))
        found += twice("mounts", "target", (mount.target.rstrip("/") for mount in self.mounts))
        for index, mount in enumerate(self.mounts):
            if not mount.target.strip("/"):
                found.append((("mounts", index, "target"), "is /: write a path below it"))
        return found


def twice(field: str, key: str, values: Iterable[Hashable]) -> Found:
    """A mistake for each entry of the list `field` whose `key` another one has."""
    seen: Counter[Hashable] = Counter()
    found: Found = []
    for index, value in enumerate(values):
        seen[value] += 1
        if seen[value] > 1:
            found.append(((field, index, key), f"{spoken(value)} stands twice: leave one"))
    return found
