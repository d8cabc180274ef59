"""SandboxNetwork: which network namespace a sandbox has, and what it is wired to."""

from typing import Annotated, Any, Literal, get_args

from pydantic import BeforeValidator, Field, WithJsonSchema, model_validator

from podnet.addresses import IPAddress
from podnet.api.meta import (
    Address,
    DnsLabel,
    DnsSubdomain,
    Found,
    Mistakes,
    Model,
    Whole,
    spoken,
)
from podnet.api.rules import Checked, Rule

PortNumber = Annotated[Whole, Field(ge=1, le=65535)]


_MAC = "write six bytes such as 02:42:ac:11:00:09"
_MULTICAST = Rule(
    "!self.matches('^.[13579bdfBDF]')",
    "is {mac}, a multicast address, which no interface may have: write an even first byte such as"
    " 02",
)
_ZERO = Rule(
    "self.matches('[^-0:]')",
    f"is {{mac}}, which the kernel takes for none: {_MAC}",
)


def _parse_mac(value: Any) -> str:
    """The MAC in lower case; ValueError says what would be right."""
    if not isinstance(value, str):
        raise ValueError(f"is {spoken(value)}: {_MAC}, in quotes")
    parts = value.lower().replace("-", ":").split(":")
    digits = set("0123456789abcdef")
    if len(parts) != 6 or not all(len(part) == 2 and set(part) <= digits for part in parts):
        raise ValueError(f"is {spoken(value)}, which is no MAC: {_MAC}")
    if int(parts[0], 16) & 1:
        raise ValueError(_MULTICAST.say(mac=value))
    if set(parts) == {"00"}:
        raise ValueError(_ZERO.say(mac=value))
    return ":".join(parts)


Mac = Annotated[
    str,
    BeforeValidator(_parse_mac),
    WithJsonSchema(
        {
            "type": "string",
            "maxLength": 17,
            "pattern": "^([0-9A-Fa-f]{2}[-:]){5}[0-9A-Fa-f]{2}$",
        }
    ),
    Checked((_MULTICAST, _ZERO)),
]
_LISTENS = "!has(self.hostIP) || !isIP(self.hostIP) || "
_HOST_IP = {"value": "self.hostIP"}
_LOOPBACK_IPV6 = Rule(
    f"{_LISTENS}ip(self.hostIP).family() == 4 || !ip(self.hostIP).isLoopback()",
    "is ::1, which the kernel can't translate: write 127.0.0.1",
    ".hostIP",
)
_UNSPECIFIED = Rule(
    f"{_LISTENS}!ip(self.hostIP).isUnspecified()",
    "is {value}, every address: leave it out",
    ".hostIP",
    _HOST_IP,
)
_MULTICAST_IP = Rule(
    f"{_LISTENS}!(ip(self.hostIP).isLinkLocalMulticast()"
    " || cidr('224.0.0.0/4').containsIP(self.hostIP) || cidr('ff00::/8').containsIP(self.hostIP))",
    "is {value}, a multicast address: write an address of this machine",
    ".hostIP",
    _HOST_IP,
)


class Port(Model):
    """A port of the node that leads to a port of the sandbox."""

    rules = (_LOOPBACK_IPV6, _UNSPECIFIED, _MULTICAST_IP)

    host_ip: Address | None = Field(
        default=None,
        alias="hostIP",
        description="The address of the node that is published on. Left out: every one.",
    )
    host_port: PortNumber = Field(description="The node's port.")
    container_port: PortNumber = Field(description="The sandbox's port.")
    protocol: Literal["TCP", "UDP"] = Field(default="TCP", description="TCP or UDP.")

    def contradictions(self) -> Found:
        """Addresses the node's NAT can't listen on."""
        ip = self.host_ip
        if ip is None:
            return []
        if ip.version == 6 and ip.is_loopback:
            rule = _LOOPBACK_IPV6
        elif ip.is_unspecified:
            rule = _UNSPECIFIED
        elif ip.is_multicast:
            rule = _MULTICAST_IP
        else:
            return []
        return [(("hostIP",), rule.say(value=ip))]


Mode = Literal["Bridge", "None", "Host", "Container"]
_OWNERS: dict[str, Mode] = {
    "podNetwork": "Bridge",
    "sandbox": "Container",
    "addresses": "Bridge",
    "mac": "Bridge",
    "ports": "Bridge",
}
"""Which mode a field of spec.network belongs to."""
_DOCKER = {
    ("mac", "Container"): "conflicting options: mac-address and the network mode: leave it out",
    ("mac", "Host"): "conflicting options: mac-address and the network mode: leave it out",
    ("ports", "Container"): "conflicting options: port publishing and the container type network"
    " mode: publish them at the sandbox that is joined",
}
"""Docker's refusals (moby, runconfig/errors.go), each with a remedy."""
_ONLY_WARNED_OF = ("ports", "Host")


def _misplaced(name: str, mode: Mode) -> Rule:
    """A field that another mode has: refused with Docker's sentence where it has one."""
    owner = _OWNERS[name]
    given = f"has(self.{name}) && self.{name}.size() > 0"
    sentence = f"belongs to mode {owner}, and mode is {mode}: leave it out or write mode: {owner}"
    return Rule(
        f"self.mode != '{mode}' || !({given})", _DOCKER.get((name, mode), sentence), f".{name}"
    )


_MISPLACED = {
    (name, mode): _misplaced(name, mode)
    for name, owner in _OWNERS.items()
    for mode in get_args(Mode)
    if mode != owner and (name, mode) != _ONLY_WARNED_OF
}
_JOINS_NOBODY = Rule(
    "self.mode != 'Container' || (has(self.sandbox) && self.sandbox.size() > 0)",
    "is missing: write the name of the sandbox to join",
    ".sandbox",
)
_SECOND = {
    version: Rule(
        "!has(self.addresses) || !self.addresses.all(a, isIP(a))"
        f" || self.addresses.filter(a, ip(a).family() == {version}).size() < 2",
        f"{{address}} is a second IPv{version} address: write at most one per family",
        ".addresses",
        {"address": "self.addresses[1]"},
    )
    for version in (4, 6)
}
_TWICE = Rule(
    "!has(self.ports) || self.ports.all(p, self.ports.exists_one(q,"
    " q.hostPort == p.hostPort && q.protocol == p.protocol"
    " && (!has(p.hostIP) || !has(q.hostIP) || p.hostIP == q.hostIP)))",
    "{port} is published twice: choose another port",
    ".ports",
    words={"port": "a port"},
)
MOST_PORTS = 256
"""The API server compares each with each, and bounds what that may cost."""


class SandboxNetwork(Model):
    """Which network namespace the sandbox has, and what it is wired to."""

    rules = (*_MISPLACED.values(), _JOINS_NOBODY, *_SECOND.values(), _TWICE)

    mode: Mode = Field(
        default="Bridge",
        description="Bridge: a namespace of its own on a PodNetwork. None: one with nothing but lo."
        " Host: the node's. Container: another sandbox's.",
    )
    pod_network: DnsLabel | None = Field(
        default=None, description="Bridge: which PodNetwork. Left out: `default`."
    )
    sandbox: DnsSubdomain | None = Field(
        default=None, description="Container: the sandbox of this namespace whose netns is joined."
    )
    addresses: tuple[Address, ...] = Field(
        default=(), max_length=2, description="Bridge: fixed addresses, at most one per family."
    )
    mac: Mac | None = Field(
        default=None, description="Bridge: a fixed MAC. Left out: 02:42 and the IPv4."
    )
    ports: tuple[Port, ...] = Field(
        default=(),
        max_length=MOST_PORTS,
        description="Bridge: ports of the node that lead into the sandbox.",
    )

    @model_validator(mode="before")
    @classmethod
    def _mode_is_said(cls, data: Any) -> Any:
        if isinstance(data, dict) and "mode" in data and data["mode"] is None:
            sentence = "is null, which could mean None or the default: write None, or Bridge"
            raise Mistakes([(("mode",), sentence)])
        return data

    def contradictions(self) -> Found:
        """Fields of another mode (Docker's sentence where it has one), and what stands twice."""
        found: Found = []
        for name, value in (
            ("podNetwork", self.pod_network),
            ("sandbox", self.sandbox),
            ("addresses", self.addresses),
            ("mac", self.mac),
            ("ports", self.ports),
        ):
            rule = _MISPLACED.get((name, self.mode))
            if value and rule:
                found.append(((name,), rule.say()))
        if self.mode == "Container" and not self.sandbox:
            found.append((("sandbox",), _JOINS_NOBODY.say()))
        for index, address in enumerate(self.addresses):
            if any(other.version == address.version for other in self.addresses[:index]):
                sentence = _SECOND[address.version].say(address=address)
                found.append((("addresses", index), sentence))
        return found + _ports_twice(self.ports)


def _ports_twice(ports: tuple[Port, ...]) -> Found:
    found: Found = []
    first: dict[tuple[str, int], list[IPAddress | None]] = {}
    for index, port in enumerate(ports):
        others = first.setdefault((port.protocol, port.host_port), [])
        if any(other is None or port.host_ip in (None, other) for other in others):
            sentence = _TWICE.say(port=f"{port.host_port}/{port.protocol}")
            found.append((("ports", index, "hostPort"), sentence))
        others.append(port.host_ip)
    return found
