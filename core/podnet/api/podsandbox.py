"""PodSandbox: containers that share one network namespace, and how it is networked."""

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, WithJsonSchema, model_validator

from podnet.addresses import IPAddress
from podnet.api.container import Container, twice
from podnet.api.meta import (
    Address,
    ApiVersion,
    DnsLabel,
    DnsSubdomain,
    Found,
    Host,
    Hostname,
    Mistakes,
    Model,
    NamespacedMeta,
    Spelling,
    Whole,
    spoken,
)

OPTION = Spelling(r"[a-z0-9-]+", 63, "an option of resolv.conf such as ndots")
OPTION_VALUE = Spelling(r"[!-~]*", 63, "text without spaces")
PortNumber = Annotated[Whole, Field(ge=1, le=65535)]


def _parse_mac(value: Any) -> str:
    """The MAC in lower case; ValueError says what would be right."""
    example = "write six bytes such as 02:42:ac:11:00:09"
    if not isinstance(value, str):
        raise ValueError(f"is {spoken(value)}: {example}, in quotes")
    parts = value.lower().replace("-", ":").split(":")
    digits = set("0123456789abcdef")
    if len(parts) != 6 or not all(len(part) == 2 and set(part) <= digits for part in parts):
        raise ValueError(f"is {spoken(value)}, which is no MAC: {example}")
    first = int(parts[0], 16)
    if first & 1:
        raise ValueError(
            f"is {value}, a multicast address, which no interface may have: write an even first"
            f" byte such as 02"
        )
    if set(parts) == {"00"}:
        raise ValueError(f"is {value}, which the kernel takes for none: {example}")
    return ":".join(parts)


Mac = Annotated[
    str, BeforeValidator(_parse_mac), WithJsonSchema({"type": "string", "maxLength": 17})
]


class Port(Model):
    """A port of the node that leads to a port of the sandbox."""

    host_ip: Address | None = Field(
        default=None, alias="hostIP", description="Left out: every address of the node."
    )
    host_port: PortNumber = Field(description="On the node.")
    container_port: PortNumber = Field(description="In the sandbox.")
    protocol: Literal["TCP", "UDP"] = Field(default="TCP", description="TCP or UDP.")

    def contradictions(self) -> Found:
        """Addresses the node's NAT can't listen on."""
        ip = self.host_ip
        if ip is None:
            return []
        if ip.version == 6 and ip.is_loopback:
            why = "is ::1, which the kernel can't translate: write 127.0.0.1"
        elif ip.is_unspecified:
            why = f"is {ip}, every address: leave it out"
        elif ip.is_multicast:
            why = f"is {ip}, a multicast address: write an address of this machine"
        else:
            return []
        return [(("hostIP",), why)]


Mode = Literal["Bridge", "None", "Host", "Container"]


class SandboxNetwork(Model):
    """Which network namespace the sandbox has, and what it is wired to."""

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
        max_length=1000,
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
        for name, value, mode in (
            ("podNetwork", self.pod_network, "Bridge"),
            ("sandbox", self.sandbox, "Container"),
            ("addresses", self.addresses, "Bridge"),
            ("mac", self.mac, "Bridge"),
            ("ports", self.ports, "Bridge"),
        ):
            if value and mode != self.mode and (name, self.mode) != _ONLY_WARNED_OF:
                sentence = _DOCKER.get((name, self.mode)) or _of_another(mode, self.mode)
                found.append(((name,), sentence))
        if self.mode == "Container" and not self.sandbox:
            found.append((("sandbox",), "is missing: write the name of the sandbox to join"))
        for index, address in enumerate(self.addresses):
            if any(other.version == address.version for other in self.addresses[:index]):
                found.append(
                    (
                        ("addresses", index),
                        f"{address} is a second IPv{address.version} address:"
                        f" write at most one per family",
                    )
                )
        return found + _ports_twice(self.ports)


_DOCKER = {
    ("mac", "Container"): "conflicting options: mac-address and the network mode: leave it out",
    ("mac", "Host"): "conflicting options: mac-address and the network mode: leave it out",
    ("ports", "Container"): "conflicting options: port publishing and the container type network"
    " mode: publish them at the sandbox that is joined",
}
"""Docker's refusals (moby, runconfig/errors.go), each with a remedy."""
_ONLY_WARNED_OF = ("ports", "Host")


def _of_another(mode: str, given: str) -> str:
    return f"belongs to mode {mode}, and mode is {given}: leave it out or write mode: {mode}"


def _ports_twice(ports: tuple[Port, ...]) -> Found:
    found: Found = []
    first: dict[tuple[str, int], list[IPAddress | None]] = {}
    for index, port in enumerate(ports):
        others = first.setdefault((port.protocol, port.host_port), [])
        if any(other is None or port.host_ip in (None, other) for other in others):
            found.append(
                (
                    ("ports", index, "hostPort"),
                    f"{port.host_port}/{port.protocol} is published twice: choose another port",
                )
            )
        others.append(port.host_ip)
    return found


class DnsOption(Model):
    """One word of resolv.conf's options."""

    name: Annotated[str, OPTION] = Field(description="Such as ndots.")
    value: Annotated[str, OPTION_VALUE] | None = Field(
        default=None, description="What stands behind the colon."
    )


class Dns(Model):
    """What resolv.conf says instead of the node's, as a Pod's dnsConfig."""

    nameservers: tuple[Address, ...] = Field(
        default=(), max_length=3, description="Left out: the node's, without those on its loopback."
    )
    searches: tuple[Host, ...] = Field(
        default=(), max_length=32, description="Left out: the node's."
    )
    options: tuple[DnsOption, ...] = Field(
        default=(), max_length=32, description="Left out: the node's."
    )


class HostAlias(Model):
    """A line of /etc/hosts."""

    ip: Address = Field(description="The address.")
    hostnames: tuple[Host, ...] = Field(
        min_length=1, max_length=64, description="Names that mean the address."
    )


class PodSandboxSpec(Model):
    """What the sandbox is to be; immutable."""

    node_name: DnsSubdomain | None = Field(default=None, description="Only in a cluster: the node.")
    network: SandboxNetwork = Field(default=SandboxNetwork(), description="How it is networked.")
    hostname: Hostname | None = Field(default=None, description="Left out: the object's name.")
    dns: Dns | None = Field(default=None, description="resolv.conf, where it is not the node's.")
    host_aliases: tuple[HostAlias, ...] = Field(
        default=(), max_length=256, description="More lines of /etc/hosts."
    )
    restart_policy: Literal["Always", "OnFailure", "Never"] = Field(
        default="Always", description="When a container that ended is started again."
    )
    containers: tuple[Container, ...] = Field(
        default=(), max_length=64, description="None: a sandbox that only has a network."
    )

    def contradictions(self) -> Found:
        """What mode Container forbids, in Docker's words; containers of one name."""
        found: Found = []
        if self.network.mode == "Container":
            for name, value, word in (
                ("hostname", self.hostname, "hostname"),
                ("dns", self.dns, "dns"),
                ("hostAliases", self.host_aliases, "custom host-to-IP mapping"),
            ):
                if value:
                    found.append(
                        (
                            (name,),
                            f"conflicting options: {word} and the network mode: leave it out, the"
                            f" joined sandbox's counts",
                        )
                    )
        return found + twice("containers", "name", (each.name for each in self.containers))


class PodSandbox(Model):
    """Containers that share one network namespace."""

    api_version: ApiVersion
    kind: Literal["PodSandbox"]
    metadata: NamespacedMeta
    spec: PodSandboxSpec = Field(default=PodSandboxSpec(), description="Left out: every default.")

    def contradictions(self) -> Found:
        """Nobody joins himself."""
        if self.spec.network.sandbox == self.metadata.name:
            sentence = "cannot join own network namespace: write another sandbox's name"
            return [(("spec", "network", "sandbox"), sentence)]
        return []


def warnings(podsandbox: PodSandbox) -> tuple[str, ...]:
    """What is allowed and has no effect: Docker's sentences."""
    network = podsandbox.spec.network
    if network.mode == "Host" and network.ports:
        return ("Published ports are discarded when using host network mode",)
    return ()
