"""PodSandbox: containers that share one network namespace, and how it is networked."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from podnet.api.container import Container, twice
from podnet.api.meta import (
    Address,
    ApiVersion,
    DnsSubdomain,
    Found,
    Host,
    Hostname,
    Model,
    NamespacedMeta,
    Spelling,
)
from podnet.api.rules import IMMUTABLE, Rule, by_key, kept
from podnet.api.sandboxnetwork import SandboxNetwork

OPTION = Spelling(r"[a-z0-9-]+", 63, "an option of resolv.conf such as ndots")
OPTION_VALUE = Spelling(r"[!-~]*", 63, "text without spaces")


class DnsOption(Model):
    """An option of resolv.conf."""

    name: Annotated[str, OPTION] = Field(description="The option's name, such as ndots.")
    value: Annotated[str, OPTION_VALUE] | None = Field(
        default=None, description="What stands behind the colon, such as 5 of ndots:5."
    )


class Dns(Model):
    """What resolv.conf says instead of the node's, as a Pod's dnsConfig."""

    nameservers: tuple[Address, ...] = Field(
        default=(),
        max_length=3,
        description="Addresses of DNS servers. Left out: the node's, without those on its"
        " loopback.",
    )
    searches: tuple[Host, ...] = Field(
        default=(),
        max_length=32,
        description="Domains that short names are looked up in. Left out: the node's.",
    )
    options: tuple[DnsOption, ...] = Field(
        default=(), max_length=32, description="Options of resolv.conf. Left out: the node's."
    )


class HostAlias(Model):
    """A line of /etc/hosts."""

    ip: Address = Field(description="The address.")
    hostnames: tuple[Host, ...] = Field(
        min_length=1, max_length=64, description="Names that mean the address."
    )


_JOINED_HAS = {
    name: Rule(
        f"self.network.mode != 'Container' || !has(self.{name})",
        f"conflicting options: {word} and the network mode: leave it out, the joined sandbox's"
        f" counts",
        f".{name}",
    )
    for name, word in (
        ("hostname", "hostname"),
        ("dns", "dns"),
        ("hostAliases", "custom host-to-IP mapping"),
    )
}
_PLACED_ONCE = Rule(
    "!has(oldSelf.nodeName) || (has(self.nodeName) && self.nodeName == oldSelf.nodeName)",
    IMMUTABLE.format(change="", kind="PodSandbox"),
    ".nodeName",
)


class PodSandboxSpec(Model):
    """What the sandbox is to be; immutable, but for a node that is chosen later."""

    fixed: ClassVar[tuple[str, ...]] = (
        "network",
        "hostname",
        "dns",
        "hostAliases",
        "restartPolicy",
        "containers",
    )
    rules = (*(kept(name, "PodSandbox") for name in fixed), _PLACED_ONCE, *_JOINED_HAS.values())

    node_name: DnsSubdomain | None = Field(
        default=None,
        description="Only in a cluster: the node that it runs on. Left out: the operator chooses.",
    )
    network: SandboxNetwork = Field(default=SandboxNetwork(), description="How it is networked.")
    hostname: Hostname | None = Field(
        default=None,
        description="What the containers' machine is called. Left out: the object's name.",
    )
    dns: Dns | None = Field(default=None, description="resolv.conf, where it is not the node's.")
    host_aliases: tuple[HostAlias, ...] = Field(
        default=(), max_length=256, description="More lines of the containers' /etc/hosts."
    )
    restart_policy: Literal["Always", "OnFailure", "Never"] = Field(
        default="Always", description="When a container that ended is started again."
    )
    containers: tuple[Container, ...] = Field(
        default=(),
        max_length=64,
        description="What runs in the sandbox. None: a sandbox that only has a network.",
        json_schema_extra=by_key("name"),
    )

    def contradictions(self) -> Found:
        """What mode Container forbids, in Docker's words; containers of one name."""
        found: Found = []
        if self.network.mode == "Container":
            for name, value in (
                ("hostname", self.hostname),
                ("dns", self.dns),
                ("hostAliases", self.host_aliases),
            ):
                if value:
                    found.append(((name,), _JOINED_HAS[name].say()))
        return found + twice("containers", "name", (each.name for each in self.containers))


_JOINS_ITSELF = Rule(
    "!has(self.spec.network.sandbox) || self.spec.network.sandbox != self.metadata.name",
    "cannot join own network namespace: write another sandbox's name",
    ".spec.network.sandbox",
)


class PodSandbox(Model):
    """Containers that share one network namespace."""

    rules = (_JOINS_ITSELF,)

    api_version: ApiVersion
    kind: Literal["PodSandbox"]
    metadata: NamespacedMeta
    spec: PodSandboxSpec = Field(
        default=PodSandboxSpec(), description="What the sandbox should be. Left out: every default."
    )

    def contradictions(self) -> Found:
        """Nobody joins himself."""
        if self.spec.network.sandbox == self.metadata.name:
            return [(("spec", "network", "sandbox"), _JOINS_ITSELF.say())]
        return []


def warnings(podsandbox: PodSandbox) -> tuple[str, ...]:
    """What is allowed and has no effect: Docker's sentences."""
    network = podsandbox.spec.network
    if network.mode == "Host" and network.ports:
        return ("Published ports are discarded when using host network mode",)
    return ()
