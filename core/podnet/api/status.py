"""What stands in `status`: the schema of what agents and the operator write, for the API server.

Bodies are made by podnet.status and the programs; what is not here the server would drop.
"""

from typing import Annotated, Literal

from pydantic import Field, WithJsonSchema

from podnet.api.meta import DnsLabel, Model, Text, Whole
from podnet.api.rules import by_key


def _text(most: int) -> WithJsonSchema:
    return WithJsonSchema({"type": "string", "maxLength": most})


_Time = Annotated[str, WithJsonSchema({"type": "string", "format": "date-time", "maxLength": 64})]
_Word = Annotated[str, _text(1024)]
_Message = Annotated[str, _text(32_768)]
"""The bounds of reason and message are Kubernetes' own, of a metav1.Condition."""
_Ifname = Annotated[str, _text(15)]
_Address = Annotated[str, _text(43)]
"""With or without a prefix length."""


class Condition(Model):
    """Whether something holds, why, and a sentence for a person."""

    type: _Word = Field(description="What it is about.")
    status: Literal["True", "False", "Unknown"] = Field(description="Whether it holds.")
    reason: _Word = Field(description="Why, in one word for machines.")
    message: _Message = Field(
        default="", description="Why, and what helps, in a sentence for a person."
    )
    last_transition_time: _Time = Field(description="When its status became what it is.")
    observed_generation: Whole | None = Field(
        default=None, ge=0, description="Of which metadata.generation this is said."
    )


Conditions = Annotated[
    tuple[Condition, ...], Field(max_length=16, json_schema_extra=by_key("type"))
]


class PodNetworkStatus(Model):
    """What came of the network; the operator writes it."""

    subnets: tuple[_Address, ...] = Field(
        default=(), max_length=2, description="The CIDRs that its pods' addresses are of."
    )
    bridge: _Ifname | None = Field(default=None, description="Its bridge on each node.")
    mtu: Whole | None = Field(
        default=None, ge=68, description="Bytes; only without a cluster, where there is one node."
    )
    nodes: Whole | None = Field(default=None, ge=0, description="How many nodes have a share.")
    addresses_used: Whole | None = Field(
        default=None, ge=0, description="How many pods have an address, on all nodes."
    )
    addresses_total: Whole | None = Field(
        default=None,
        ge=0,
        description="How many pods all shares together have an address for; not said of IPv6"
        " alone.",
    )
    conditions: Conditions = Field(default=(), description="Ready: pods can be attached.")


class NodeSubnetStatus(Model):
    """What the node made of its share; its agent writes it, the operator only `NodePresent`."""

    node_addresses: tuple[_Address, ...] = Field(
        default=(),
        max_length=8,
        description="Where other nodes reach this one: the next hops to the share.",
    )
    addresses_used: Whole | None = Field(
        default=None, ge=0, description="How many pods of the node have an address of the share."
    )
    conditions: Conditions = Field(
        default=(),
        description=(
            "Ready: the bridge is there. Reachable: every other node is. NodePresent: False while"
            " the node itself is gone. CNIConfigured, where podnet is the cluster's CNI: the node's"
            " containerd calls it for Pods."
        ),
    )


class Netns(Model):
    """A network namespace."""

    path: Text = Field(
        description="Its path on the node, for setns(2), `nsenter --net=` and, by its last part,"
        " `ip netns exec`."
    )
    inode: Whole | None = Field(
        default=None,
        ge=0,
        description="Its inode number, which `readlink /proc/self/ns/net` shows inside.",
    )


class Peer(Model):
    """The other end of a veth pair."""

    name: _Ifname | None = Field(default=None, description="The host end's name.")
    ifindex: Whole | None = Field(
        default=None, ge=0, description="The host end's index on the node."
    )


class Interface(Model):
    """One interface of a sandbox, as the kernel has it."""

    name: _Ifname = Field(description="Its name in the sandbox.")
    ifindex: Whole | None = Field(default=None, ge=0, description="Its index in the sandbox.")
    mac: Annotated[str, _text(17)] | None = Field(default=None, description="Its MAC address.")
    mtu: Whole | None = Field(default=None, ge=0, description="Bytes of its largest IP packet.")
    addresses: tuple[_Address, ...] = Field(
        default=(), max_length=16, description="Its addresses, with prefix lengths."
    )
    peer: Peer | None = Field(default=None, description="The host end of its veth pair.")
    bridge: _Ifname | None = Field(
        default=None, description="The bridge of the node that the host end is a port of."
    )
    pod_network: DnsLabel | None = Field(default=None, description="The PodNetwork that it is on.")


class PodIP(Model):
    """An address of a sandbox."""

    ip: _Address = Field(description="The address; its whole network reaches it.")


class ContainerStatus(Model):
    """What became of a container."""

    name: DnsLabel = Field(description="The container's name, as in spec.containers.")
    id: Text | None = Field(
        default=None, description="What the container runtime calls its last run."
    )
    image: Text | None = Field(default=None, description="The image, as in spec.containers.")
    pid: Whole | None = Field(
        default=None,
        ge=0,
        description="The process id of its first process on the node, while it runs.",
    )
    state: Text | None = Field(default=None, description="waiting, created, running or exited.")
    exit_code: Whole | None = Field(
        default=None, description="The exit code of the last run that ended."
    )
    reason: Text | None = Field(default=None, description="Why its state is what it is, in a word.")
    message: Text | None = Field(
        default=None, description="Why its state is what it is, in a sentence."
    )
    restarts: Whole | None = Field(
        default=None, ge=0, description="How often it was started again."
    )
    started_at: _Time | None = Field(default=None, description="When the last run began.")
    finished_at: _Time | None = Field(default=None, description="When the last run ended.")


class PodSandboxStatus(Model):
    """What came of the sandbox; its node's agent writes it, the operator only `Scheduled`."""

    phase: Literal["Pending", "Running", "Succeeded", "Failed"] | None = Field(
        default=None, description="Pending, Running, Succeeded or Failed, as a Pod's."
    )
    sandbox_id: Annotated[str, _text(64)] | None = Field(
        default=None,
        alias="sandboxID",
        description="The sandbox's name on its node: in paths, and in `podnet get attachments"
        " -o wide`.",
    )
    netns: Netns | None = Field(default=None, description="Its network namespace.")
    interfaces: tuple[Interface, ...] = Field(
        default=(),
        max_length=64,
        description="The interfaces that podnet made, the first of them eth0.",
        json_schema_extra=by_key("name"),
    )
    pod_ips: tuple[PodIP, ...] = Field(
        default=(),
        max_length=2,
        alias="podIPs",
        description="The addresses of eth0, one for each family of its network.",
    )
    containers: tuple[ContainerStatus, ...] = Field(
        default=(),
        max_length=64,
        description="What became of each container.",
        json_schema_extra=by_key("name"),
    )
    conditions: Conditions = Field(
        default=(),
        description="Ready: all of it runs. NetworkReady: its interfaces are there."
        " ContainersReady: every container runs. Scheduled: it has a node; said"
        " only where it had to wait for one.",
    )


STATUSES: dict[str, type[Model]] = {
    "PodNetwork": PodNetworkStatus,
    "NodeSubnet": NodeSubnetStatus,
    "PodSandbox": PodSandboxStatus,
}
