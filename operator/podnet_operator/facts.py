"""Facts: what the operator asks of an object, parsed once, at the border."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from ipaddress import ip_address, ip_network
from typing import Any

from podnet.addresses import IPAddress, IPNetwork
from podnet.api.manifest import from_body
from podnet.api.podnetwork import PodNetwork
from podnet.errors import Invalid
from podnet.shares import Share
from podnet_operator.client import Body, Resource

Name = tuple[str, str]
"""Namespace ("" where the kind has none) and name."""


@dataclass(frozen=True, slots=True)
class Identity:
    """Which object it is. The version says nothing of what matters here, so it is not compared."""

    name: str
    uid: str
    created: str  # RFC 3339, so that texts sort as times do
    deleting: bool
    generation: int
    version: int = field(compare=False)
    namespace: str = ""


@dataclass(frozen=True, slots=True)
class NetworkFacts:
    """A PodNetwork."""

    id: Identity
    finalizers: tuple[str, ...]
    network: PodNetwork | None  # None: it is not valid (any more)
    problems: str
    status: Body


@dataclass(frozen=True, slots=True)
class ShareFacts:
    """A NodeSubnet."""

    id: Identity
    share: Share
    owners: tuple[str, ...]  # uids
    addresses_used: int
    ready: Mapping[str, Any] | None  # the agent's condition
    present: Mapping[str, Any] | None  # the operator's condition NodePresent


@dataclass(frozen=True, slots=True)
class SandboxFacts:
    """A PodSandbox."""

    id: Identity
    node: str | None
    network: str | None  # in mode Bridge
    joins: str | None  # in mode Container
    scheduled: Mapping[str, Any] | None  # the operator's condition


@dataclass(frozen=True, slots=True)
class NodeFacts:
    """A node of the cluster."""

    id: Identity
    ready: bool
    schedulable: bool
    pod_cidrs: tuple[IPNetwork, ...]
    addresses: tuple[IPAddress, ...]


@dataclass(frozen=True, slots=True)
class ServiceFacts:
    """A range of Services' addresses."""

    id: Identity
    cidrs: tuple[IPNetwork, ...]


Facts = NetworkFacts | ShareFacts | SandboxFacts | NodeFacts | ServiceFacts

FINALIZER = "podnet.dev/in-use"
"""Of a PodNetwork that sandboxes or addresses depend on; of no other, so that whoever takes podnet
out of a cluster is not held up by an operator that is gone already."""
NETWORKS = Resource("PodNetwork", "podnet.dev", "v1alpha1", "podnetworks")
SHARES = Resource("NodeSubnet", "podnet.dev", "v1alpha1", "nodesubnets")
SANDBOXES = Resource("PodSandbox", "podnet.dev", "v1alpha1", "podsandboxes")
NODES = Resource("Node", "", "v1", "nodes")
SERVICES = Resource("ServiceCIDR", "networking.k8s.io", "v1", "servicecidrs")


def name_of(body: Mapping[str, Any]) -> Name:
    """Which object of its kind that is."""
    meta = body["metadata"]
    return meta.get("namespace", ""), meta["name"]


def version_of(body: Mapping[str, Any]) -> int:
    """Counts every write to the API server (Kubernetes, KEP 5504: versions can be compared)."""
    return int(body["metadata"]["resourceVersion"])


def parse(resource: Resource, body: Mapping[str, Any]) -> Facts:
    """The object's facts."""
    return _PARSERS[resource](body)


def _identity(body: Mapping[str, Any]) -> Identity:
    meta = body["metadata"]
    return Identity(
        name=meta["name"],
        namespace=meta.get("namespace", ""),
        uid=meta["uid"],
        created=meta.get("creationTimestamp") or "",
        deleting=bool(meta.get("deletionTimestamp")),
        generation=meta.get("generation", 0),
        version=version_of(body),
    )


def _condition(body: Mapping[str, Any], word: str) -> Mapping[str, Any] | None:
    found: list[Mapping[str, Any]] = (body.get("status") or {}).get("conditions") or []
    return next((each for each in found if each["type"] == word), None)


def _network(body: Mapping[str, Any]) -> NetworkFacts:
    network, problems = None, ""
    try:
        whole = {**body, "apiVersion": NETWORKS.api_version, "kind": NETWORKS.kind}
        network = from_body(whole, PodNetwork)
    except Invalid as error:  # an older CRD let it in
        problems = str(error).replace("\n", "; ")
    return NetworkFacts(
        id=_identity(body),
        finalizers=tuple(body["metadata"].get("finalizers") or ()),
        network=network,
        problems=problems,
        status=dict(body.get("status") or {}),
    )


def _share(body: Mapping[str, Any]) -> ShareFacts:
    spec, status = body["spec"], body.get("status") or {}
    return ShareFacts(
        id=_identity(body),
        share=Share(spec["podNetwork"], spec["nodeName"], _networks(spec["podCIDRs"])),
        owners=tuple(each["uid"] for each in body["metadata"].get("ownerReferences") or ()),
        addresses_used=status.get("addressesUsed") or 0,
        ready=_condition(body, "Ready"),
        present=_condition(body, "NodePresent"),
    )


def _sandbox(body: Mapping[str, Any]) -> SandboxFacts:
    spec = body.get("spec") or {}
    network = spec.get("network") or {}
    mode = network.get("mode", "Bridge")
    return SandboxFacts(
        id=_identity(body),
        node=spec.get("nodeName"),
        network=network.get("podNetwork", "default") if mode == "Bridge" else None,
        joins=network.get("sandbox") if mode == "Container" else None,
        scheduled=_condition(body, "Scheduled"),
    )


def _node(body: Mapping[str, Any]) -> NodeFacts:
    spec, status = body.get("spec") or {}, body.get("status") or {}
    ready = _condition(body, "Ready")
    taints = {each["effect"] for each in spec.get("taints") or ()}
    return NodeFacts(
        id=_identity(body),
        ready=ready is not None and ready["status"] == "True",
        schedulable=not spec.get("unschedulable") and not taints & {"NoSchedule", "NoExecute"},
        pod_cidrs=_networks(spec.get("podCIDRs") or ()),
        addresses=tuple(
            ip_address(each["address"])
            for each in status.get("addresses") or ()
            if each["type"] == "InternalIP"
        ),
    )


def _services(body: Mapping[str, Any]) -> ServiceFacts:
    return ServiceFacts(_identity(body), _networks((body.get("spec") or {}).get("cidrs") or ()))


def _networks(texts: Any) -> tuple[IPNetwork, ...]:
    return tuple(ip_network(text) for text in texts)


_PARSERS: Mapping[Resource, Callable[[Mapping[str, Any]], Facts]] = {
    NETWORKS: _network,
    SHARES: _share,
    SANDBOXES: _sandbox,
    NODES: _node,
    SERVICES: _services,
}
RESOURCES = tuple(_PARSERS)
"""All that the operator watches."""
