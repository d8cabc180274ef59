"""A call of the plugin: its environment and its standard input, checked, as a value."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, cast, get_args

from podnet.attachment import IFNAME, IFNAME_BYTES
from podnet.cni import config
from podnet.cni.config import VERSIONS, Config
from podnet.cni.error import NEWEST, CniError, bad_config, bad_environment

Verb = Literal["ADD", "DEL", "CHECK", "GC", "STATUS", "VERSION"]

_NEEDED: Mapping[Verb, tuple[str, ...]] = {
    "ADD": ("CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME", "CNI_PATH"),
    "CHECK": ("CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME", "CNI_PATH"),
    "DEL": ("CNI_CONTAINERID", "CNI_IFNAME", "CNI_PATH"),
    "GC": ("CNI_PATH",),
    "STATUS": ("CNI_PATH",),
    "VERSION": (),
}
"""As the plugins' own frame asks (pkg/skel), which every runtime satisfies."""
_OLDEST: Mapping[Verb, str] = {"CHECK": "0.4.0", "GC": "1.1.0", "STATUS": "1.1.0"}
"""The version that brought the verb."""
_READ: Mapping[Verb, Callable[[Mapping[str, Any], str], Config]] = {
    "ADD": config.whole,
    "CHECK": config.whole,
    "DEL": config.brief,
    "GC": config.identified,
    "STATUS": config.identified,
}
_ID = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.\-]{0,252}")
"""SPEC.md, section "Parameters"; runtimes make files of that name."""
_POD_NAME = re.compile(r"[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?")
_KNOWN = {
    "IgnoreUnknown": "",
    "K8S_POD_NAMESPACE": "namespace",
    "K8S_POD_NAME": "name",
    "K8S_POD_UID": "",
    "K8S_POD_INFRA_CONTAINER_ID": "",  # the container id once more
}
"""What containerd and CRI-O give as CNI_ARGS; "" where nothing is made of it."""


@dataclass(frozen=True, slots=True)
class Pod:
    """Whose sandbox it is, as the kubelet's runtime says."""

    namespace: str
    name: str


@dataclass(frozen=True, slots=True)
class Call:
    """Everything a verb needs. What a verb does not have is empty."""

    verb: Verb
    config: Config
    container_id: str = ""
    ifname: str = ""
    netns: str = ""  # a path, as the runtime has it
    pod: Pod | None = None

    @property
    def owner(self) -> str:
        """The first words of every cause."""
        if self.pod:
            return f"Pod/{self.pod.namespace}/{self.pod.name}"
        return f"Container/{self.container_id}"


def parse(environment: Mapping[str, str], stdin: bytes) -> Call:
    """The call, or a CniError with the specification's code for what is wrong first."""
    verb = _verb(environment)
    missing = [name for name in _NEEDED[verb] if not environment.get(name)]
    if missing:
        raise bad_environment(", ".join(missing), "is required and missing")
    if verb == "VERSION":
        return Call(verb, Config(_offered(stdin)))
    container_id, ifname = environment.get("CNI_CONTAINERID", ""), environment.get("CNI_IFNAME", "")
    if "CNI_CONTAINERID" in _NEEDED[verb]:
        _refuse_names(container_id, ifname)
    body = config.decoded(stdin)
    version = config.version_of(body, _OLDEST.get(verb, VERSIONS[0]))
    read = _READ[verb](body, version)
    if "CNI_CONTAINERID" not in _NEEDED[verb]:
        return Call(verb, read)
    if verb == "DEL":
        return Call(verb, read, container_id, ifname)
    if verb == "CHECK" and read.previous is None:
        raise bad_config("prevResult", "is missing: CHECK compares with it")
    netns = environment["CNI_NETNS"]
    if not netns.startswith("/") or not netns.isprintable():
        raise bad_environment("CNI_NETNS", f"{netns!r} is no absolute path")
    pod = _pod(environment.get("CNI_ARGS", ""))
    return Call(verb, read, container_id, ifname, netns, pod)


def version_asked(stdin: bytes) -> str:
    """The version to answer an error in: the caller's, where it can be told and is spoken."""
    try:
        return config.version_of(config.decoded(stdin))
    except CniError:
        return NEWEST


def version_body(version: str) -> dict[str, Any]:
    """The answer to VERSION."""
    return {"cniVersion": version, "supportedVersions": list(VERSIONS)}


def _verb(environment: Mapping[str, str]) -> Verb:
    given = environment.get("CNI_COMMAND", "")
    if not given:
        raise bad_environment("CNI_COMMAND", "is required and missing")
    if given in _NEEDED:
        return cast(Verb, given)
    known = ", ".join(get_args(Verb))
    raise bad_environment("CNI_COMMAND", f"{given[:40]!r} is none of {known}")


def _refuse_names(container_id: str, ifname: str) -> None:
    if not _ID.fullmatch(container_id):
        raise bad_environment(
            "CNI_CONTAINERID", "is 1 to 253 letters, digits and . _ - after the first"
        )
    good = IFNAME.fullmatch(ifname) and ifname.isprintable()
    if not good or len(ifname.encode()) > IFNAME_BYTES:
        raise bad_environment("CNI_IFNAME", "is 1 to 15 bytes without / : % or blanks")


def _offered(stdin: bytes) -> str:
    """VERSION is answered in the caller's own; a caller that says nothing hears the newest."""
    if not stdin.strip():
        return NEWEST
    offered = config.decoded(stdin).get("cniVersion")
    return offered if isinstance(offered, str) and offered in VERSIONS else NEWEST


def _pod(text: str) -> Pod | None:
    """CNI_ARGS: `KEY=VALUE;...`; an unknown key is a mistake unless IgnoreUnknown is given."""
    given: dict[str, str] = {}
    for word in filter(None, text.split(";")):
        key, equals, value = word.partition("=")
        if not equals or not key:
            raise bad_environment("CNI_ARGS", f"{word[:40]!r} is not KEY=VALUE")
        given[key] = value
    ignore = given.get("IgnoreUnknown", "").lower() in ("1", "t", "true")
    unknown = sorted(given.keys() - _KNOWN.keys())
    if unknown and not ignore:
        raise bad_environment("CNI_ARGS", f"{unknown[0][:40]!r} is not known here")
    fields = {field: given[key] for key, field in _KNOWN.items() if field and given.get(key)}
    for field in ("namespace", "name"):
        if field in fields and not _POD_NAME.fullmatch(fields[field]):
            raise bad_environment("CNI_ARGS", f"K8S_POD_{field.upper()} is no name of Kubernetes")
    if "namespace" in fields and "name" in fields:
        return Pod(fields["namespace"], fields["name"])
    return None
