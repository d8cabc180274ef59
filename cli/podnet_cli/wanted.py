"""From the options of `podnet run` to the PodSandbox that they mean. Pure, but for -e NAME."""

from __future__ import annotations

import os
import re

from podnet.kinds import GROUP, VERSION
from podnet_cli.client import Failure

CONTAINER = "main"
"""The one container's name."""
_POLICIES = {
    "no": "Never",
    "on-failure": "OnFailure",
    "always": "Always",
    "unless-stopped": "Always",
}
_SIZES = {"": 1, "b": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30}
TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

    Body = dict[str, Any]


class Options:
    """What was given on the command line, by docker's names; what was not is as it stands here."""

    command: Sequence[str] = ()
    name = ""
    net = "bridge"
    publish: Sequence[str] = ()
    env: Sequence[str] = ()
    volume: Sequence[str] = ()
    hostname: str | None = None
    dns: Sequence[str] = ()
    add_host: Sequence[str] = ()
    mac_address: str | None = None
    ip: str | None = None
    ip6: str | None = None
    memory: str | None = None
    cpus: float | None = None
    pids_limit: int | None = None
    user: str | None = None
    workdir: str | None = None
    read_only = False
    restart = "no"
    image = "host"
    tty = False

    def __init__(self, **given: Any) -> None:
        vars(self).update(given)


def sandbox(options: Options, namespace: str) -> Body:
    """The object; Failure names the option that can't be meant."""
    if options.image == "host" and not options.command:
        raise Failure("image `host` has no command of its own: podnet run [OPTIONS] -- CMD ARG...")
    spec: Body = {
        "network": _network(options),
        "restartPolicy": _POLICIES[options.restart],
        "hostname": options.hostname,
        "dns": {"nameservers": list(options.dns)} if options.dns else None,
        "hostAliases": [_alias(each) for each in options.add_host],
        "containers": [_container(options)],
    }
    return {
        "apiVersion": f"{GROUP}/{VERSION}",
        "kind": "PodSandbox",
        "metadata": {"name": options.name, "namespace": namespace},
        "spec": _given(spec),
    }


def _network(options: Options) -> Body:
    sort, colon, owner = options.net.partition(":")
    network: Body
    if colon:
        if sort != "container" or not owner:
            raise Failure(f"--net {options.net} is not known: write container:NAME")
        network = {"mode": "Container", "sandbox": owner}
    elif options.net in ("none", "host"):
        network = {"mode": options.net.capitalize()}
    else:
        own = options.net not in ("bridge", "default")
        network = {"mode": "Bridge", "podNetwork": options.net if own else None}
    network["addresses"] = [each for each in (options.ip, options.ip6) if each]
    network["mac"] = options.mac_address
    network["ports"] = [port(each) for each in options.publish]
    return _given(network)


def port(text: str) -> Body:
    """`8080:80`, `127.0.0.1:8080:80/udp`, `[::]:8080:80` as an entry of spec.network.ports."""
    match = re.fullmatch(
        r"(?:(?:\[(?P<v6>[^]]*)\]|(?P<v4>[^:]*)):)?(?P<host>\d+):(?P<own>\d+)(?:/(?P<protocol>\w+))?",
        text,
    )
    if match is None:
        raise Failure(f"-p {text} is no port: write HOSTPORT:PORT, IP:HOSTPORT:PORT, with /udp")
    return _given(
        {
            "hostIP": match["v6"] or match["v4"],
            "hostPort": int(match["host"]),
            "containerPort": int(match["own"]),
            "protocol": (match["protocol"] or "tcp").upper(),
        }
    )


def _container(options: Options) -> Body:
    words = list(options.command)
    variables = [each for each in map(_variable, options.env) if each is not None]
    if options.tty and not any(each["name"] == "TERM" for each in variables):
        variables.append({"name": "TERM", "value": os.environ.get("TERM", "xterm")})
    memory = size(options.memory) if options.memory else 0
    # To docker, 0 is no limit, and -1 processes are as many as may be.
    limits = {
        "memory": str(memory) if memory else None,
        "cpu": f"{round(options.cpus * 1000)}m" if options.cpus else None,
        "pids": None if options.pids_limit in (0, -1) else options.pids_limit,
    }
    return _given(
        {
            "name": CONTAINER,
            "image": options.image,
            # An image's own entry point stays, as docker run lets it.
            "command" if options.image == "host" else "args": words,
            "env": variables,
            "workingDir": options.workdir,
            "mounts": [mount(each) for each in options.volume],
            "user": options.user,
            "readOnlyRootFilesystem": options.read_only or None,
            "resources": {"limits": _given(limits)} if _given(limits) else None,
        }
    )


def _variable(text: str) -> Body | None:
    """`KEY=VALUE`, or `KEY` with our own value; None where we have none, as docker does it."""
    name, sign, value = text.partition("=")
    if not sign and name not in os.environ:
        return None
    return {"name": name, "value": value if sign else os.environ[name]}


def mount(text: str) -> Body:
    """`/src:/dst:ro` as an entry of mounts; a source that begins with a dot is made absolute."""
    source, _, rest = text.partition(":")
    target, _, mode = rest.partition(":")
    if source.startswith("."):
        source = os.path.abspath(source)
    if not source.startswith("/") or not target.startswith("/") or mode not in ("", "ro", "rw"):
        raise Failure(f"-v {text} is no mount: write /SOURCE:/TARGET or /SOURCE:/TARGET:ro")
    return _given({"source": source, "target": target, "readOnly": (mode == "ro") or None})


def size(text: str) -> int:
    """docker's 512m, in bytes."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([bkmg]?)b?", text.lower())
    if match is None:
        raise Failure(f"-m {text} is no size: write 512m or 1g")
    return int(float(match[1]) * _SIZES[match[2]])


def _alias(text: str) -> Body:
    name, colon, address = text.partition(":")
    if not colon or not name or not address:
        raise Failure(f"--add-host {text} is not NAME:IP: write web:10.0.0.2")
    return {"ip": address.strip("[]"), "hostnames": [name]}


def _given(fields: Mapping[str, Any]) -> Body:
    """What was left out stays out of the object."""
    return {key: value for key, value in fields.items() if value not in (None, [], ())}
