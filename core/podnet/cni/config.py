"""The network configuration that a call has on its standard input, as a value."""

import json
import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from ipaddress import ip_interface
from types import MappingProxyType
from typing import Any

from podnet.addresses import IPAddress
from podnet.attachment import MAC, PublishedPort
from podnet.cni.error import NEWEST, CniError, Code, bad_config

VERSIONS = ("0.3.0", "0.3.1", "0.4.0", "1.0.0", NEWEST)
"""What is spoken, oldest first. Before them a result had one address a family and no interfaces."""
PLUGIN = "podnet-cni"
"""The program's name, and the `type` of a plugin that is ours."""
LARGEST_BYTES = 1 << 20
"""Of a configuration: prevResult of a long chain takes some ten kilobytes."""
ANNOTATION = "podnet.dev/network"
"""Of a Pod: which PodNetwork it is on. containerd hands annotations on where the configuration
lists the capability of this name:"""
ANNOTATIONS = "io.kubernetes.cri.pod-annotations"
_NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.\-]*")
"""SPEC.md, section "Network configuration"."""
_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
"""A PodNetwork's name."""
_UNBUILT = ("bandwidth", "ipRanges")
"""Capabilities that somebody has listed for podnet by mistake: to keep quiet would be a lie."""
_NOTHING: Mapping[str, Any] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Config:
    """What was read, with the defaults decided. What others have said is passed on unread."""

    version: str
    name: str = ""  # of the CNI network: attachments of others are none of its GC's business
    network: str = "default"  # the PodNetwork
    ports: tuple[PublishedPort, ...] = ()
    addresses: tuple[IPAddress, ...] = ()
    mac: str | None = None
    dns: Mapping[str, Any] = field(default_factory=dict)
    previous: Mapping[str, Any] | None = None  # the result of who came before
    valid: frozenset[tuple[str, str]] | None = None  # GC: (container id, interface) to be kept


def decoded(text: bytes) -> Mapping[str, Any]:
    """The JSON object; code 6 for anything else."""
    if len(text) > LARGEST_BYTES:
        size = f"{len(text)} bytes are more than {LARGEST_BYTES}"
        raise CniError(Code.UNDECODABLE, "network config is too large", size)
    try:
        body = json.loads(text)
    except (ValueError, RecursionError) as error:  # no UTF-8, no JSON, brackets without end
        raise CniError(
            Code.UNDECODABLE, "network config is no JSON", str(error) or "nested too deeply"
        ) from None
    if not isinstance(body, dict):
        raise CniError(
            Code.UNDECODABLE, "network config is no JSON object", f"it is a {type(body).__name__}"
        )
    return body


def version_of(body: Mapping[str, Any], oldest: str = VERSIONS[0]) -> str:
    """The version the caller speaks; code 1 where that is not spoken here, or older than needed."""
    version = body.get("cniVersion", "0.1.0")  # its default before it had to be given
    if not isinstance(version, str):
        raise bad_config("cniVersion", "is no text")
    spoken = VERSIONS[VERSIONS.index(oldest) :]
    if version not in spoken:
        raise CniError(
            Code.INCOMPATIBLE_VERSION,
            "incompatible CNI version",
            f"config is {version[:40]!r}, this plugin speaks {', '.join(spoken)}",
        )
    return version


def brief(body: Mapping[str, Any], version: str) -> Config:
    """As much as a DEL needs: what changed since ADD, or is wrong now, must not keep it."""
    return Config(version)


def identified(body: Mapping[str, Any], version: str) -> Config:
    """As much as GC and STATUS need: which networks are meant, and what is to be kept."""
    return Config(version, _name(body), _network(body, _NOTHING), valid=_valid(body))


def whole(body: Mapping[str, Any], version: str) -> Config:
    """All of it, for ADD and CHECK; code 2 or 7 with the field."""
    name, runtime = _name(body), _table(body, "runtimeConfig")
    if body.get("ipam"):
        raise _unsupported("ipam", body["ipam"], "addresses are the PodNetwork's")
    for key in _UNBUILT:
        if runtime.get(key):
            raise _unsupported(f"runtimeConfig.{key}", runtime[key], "leave the capability out")
    return Config(
        version=version,
        name=name,
        network=_network(body, runtime),
        ports=_ports(runtime),
        addresses=_addresses(runtime),
        mac=_mac(runtime),
        dns=_shallow(_table(body, "dns"), "dns"),
        previous=_previous(body),
    )


def _name(body: Mapping[str, Any]) -> str:
    name = body.get("name")
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise bad_config("name", "is missing, or not letters, digits and . _ - after the first")
    return name


def _network(body: Mapping[str, Any], runtime: Mapping[str, Any]) -> str:
    annotated = _table(runtime, ANNOTATIONS).get(ANNOTATION)
    chosen = annotated or body.get("podNetwork") or "default"
    if not isinstance(chosen, str) or not _LABEL.fullmatch(chosen):
        where = f"annotation {ANNOTATION}" if annotated else "podNetwork"
        raise bad_config(where, "is not the name of a PodNetwork")
    return chosen


def _ports(runtime: Mapping[str, Any]) -> tuple[PublishedPort, ...]:
    found: dict[PublishedPort, None] = {}  # two containers may name the same one
    for place, each in enumerate(_list(runtime, "portMappings")):
        where = f"runtimeConfig.portMappings[{place}]"
        if not isinstance(each, dict):
            raise bad_config(where, "is no object")
        # containerd writes HostPort, others hostPort: who reads JSON in Go takes both.
        mapping = {name.lower(): value for name, value in each.items()}
        if mapping.get("hostport") in (0, None):
            continue  # a port that nobody publishes
        found[_port(mapping, where)] = None
    return tuple(found)


def _port(each: Mapping[str, Any], where: str) -> PublishedPort:
    """Its names are in lower case."""
    numbers = [each["hostport"], each.get("containerport")]
    for number in numbers:
        if type(number) is not int or not 0 < number < 1 << 16:
            raise bad_config(where, "hostPort and containerPort are 1 to 65535")
    protocol = each.get("protocol") or "tcp"
    if not isinstance(protocol, str) or protocol.lower() not in ("tcp", "udp"):
        raise _unsupported(f"{where}.protocol", protocol, "tcp and udp can be published")
    host_ip = _address(each.get("hostip"), f"{where}.hostIP") if each.get("hostip") else None
    if host_ip is not None and host_ip.is_unspecified:
        host_ip = None
    return PublishedPort(
        numbers[0], numbers[1], "udp" if protocol.lower() == "udp" else "tcp", host_ip
    )


def _addresses(runtime: Mapping[str, Any]) -> tuple[IPAddress, ...]:
    found = [_address(each, "runtimeConfig.ips") for each in _list(runtime, "ips")]
    if len({address.version for address in found}) < len(found):
        raise bad_config("runtimeConfig.ips", "has two addresses of one family")
    return tuple(found)


def _address(text: Any, where: str) -> IPAddress:
    """With or without a prefix length, which is the network's anyway."""
    if isinstance(text, str) and "%" not in text:
        with suppress(ValueError):
            return ip_interface(text).ip
    raise bad_config(where, "is no IP address")


def _mac(runtime: Mapping[str, Any]) -> str | None:
    mac = runtime.get("mac")
    if not mac:
        return None
    if not isinstance(mac, str) or not MAC.fullmatch(mac.lower()):
        raise bad_config("runtimeConfig.mac", "is no MAC of one machine: 02:42:ac:11:00:09")
    return mac.lower()


def _previous(body: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The lists that a result is made of are lists of objects; more is not asked of it."""
    if body.get("prevResult") is None:
        return None
    previous = _table(body, "prevResult")
    for key in ("interfaces", "ips", "routes"):
        for each in _list(previous, key, "prevResult."):
            if not isinstance(each, dict):
                raise bad_config(f"prevResult.{key}", "is no list of objects")
    _table(previous, "dns", "prevResult.")
    return _shallow(previous, "prevResult")


def _shallow(table: Mapping[str, Any], where: str, levels: int = 16) -> Mapping[str, Any]:
    """The same, if it can be said again whatever the depth of the calls then."""
    layer: list[Any] = [table]
    for _ in range(levels):
        layer = [
            inner
            for each in layer
            for inner in (each.values() if isinstance(each, Mapping) else each)
            if isinstance(inner, dict | list)
        ]
        if not layer:
            return table
    raise bad_config(where, "is nested too deeply")


def _valid(body: Mapping[str, Any]) -> frozenset[tuple[str, str]] | None:
    """None where it is not said: then nothing is known to be unwanted.

    libcni has also sent the key by a name with a mistake in it (cni #1101).
    """
    key = next((k for k in ("cni.dev/valid-attachments", "cni.dev/attachments") if k in body), None)
    if key is None or body[key] is None:
        return None
    kept = set()
    for each in _list(body, key):
        known = each if isinstance(each, dict) else {}
        container_id, ifname = known.get("containerID"), known.get("ifname")
        if not isinstance(container_id, str) or not isinstance(ifname, str):
            raise bad_config(key, 'is no list of {"containerID", "ifname"}')
        kept.add((container_id, ifname))
    return frozenset(kept)


def _table(body: Mapping[str, Any], key: str, prefix: str = "") -> Mapping[str, Any]:
    value = body.get(key)
    if value is None:
        return _NOTHING
    if not isinstance(value, dict):
        raise bad_config(f"{prefix}{key}", "is no object")
    return value


def _list(body: Mapping[str, Any], key: str, prefix: str = "") -> list[Any]:
    value = body.get(key)
    if value is None:
        return []
    if not isinstance(value, list):
        raise bad_config(f"{prefix}{key}", "is no list")
    return value


def _unsupported(field: str, value: Any, remedy: str) -> CniError:
    said = repr(value)[:200] if isinstance(value, str | int) else f"a {type(value).__name__}"
    return CniError(
        Code.UNSUPPORTED_FIELD, f"unsupported field {field}", f"{field} is {said}: {remedy}"
    )
