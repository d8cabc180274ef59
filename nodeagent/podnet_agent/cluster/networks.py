"""The cluster's PodNetworks on this node: its share of each, and the ways to all others."""

import contextlib
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from ipaddress import ip_address, ip_network
from typing import Any, TypeVar

from podnet.addresses import IPNetwork
from podnet.api.manifest import from_body
from podnet.api.nodesubnet import NodeSubnet, name_of
from podnet.api.podnetwork import PodNetwork
from podnet.backends import Peer, Unreached, host_gateway, unknown_shares
from podnet.errors import PodNetError, Retryable
from podnet.network import Network, resolve
from podnet.status import Claim, conditions
from podnet_agent.agent import Agent
from podnet_agent.keeper import REPORT_SECONDS
from podnet_agent.networks import Networks, refuse_overlaps
from podnet_agent.objects import Body, Objects, Write, timestamp
from podnet_agent.presence import CONDITION as CNI_CONFIGURED
from podnet_agent.store import Store

T = TypeVar("T")
DEFAULT = "default"
"""The network whose shares are the nodes' own `spec.podCIDRs`, where its spec gives no subnets."""
NAMED_AT_MOST = 5
"""Nodes that a condition names; of more it gives the number."""


class NoShare(Retryable):
    """Nobody has cut a share for this node yet."""


class ShareMoved(Retryable):
    """The node's share is another than the one that a runtime's Pods have addresses of."""


@dataclass(frozen=True, slots=True)
class Parsed:
    """A NodeSubnet's body and what it says. Of hundreds only few change between two looks."""

    body: Body
    peer: Peer


class ClusterNetworks(Networks):
    """Lives in the asyncio loop; the agent gets its resolved networks from here."""

    def __init__(
        self, agent: Agent, write: Write, objects: Objects, node: str, shipped: Sequence[Body]
    ) -> None:
        """`shipped`: networks that come with the installation, known before they are made."""
        super().__init__(agent, write, objects)
        self._node, self._shipped = node, shipped
        self.moved: Callable[[], Awaitable[None]] = _nothing  # the node's own addresses changed
        self._parsed: dict[str, Parsed] = {}
        self._broken: dict[str, PodNetError] = {}  # NodeSubnets that say nothing
        self._unreached: dict[str, tuple[Unreached, ...]] = {}
        self._former: dict[str, ShareMoved] = {}  # shares that wait for Pods of the former ones
        self._used: dict[str, tuple[float, int]] = {}  # when the number was written down

    @property
    def waiting(self) -> bool:
        """Whether one waits for what is not heard; a share is."""
        deaf = any(not isinstance(error, NoShare) for error in self._errors.values())
        return deaf or bool(self._former)

    async def refresh(self) -> bool:
        """As of every machine, with the other nodes as they are now."""
        self._parse()
        before = self._machine[0].links
        new = await super().refresh()
        self._agent.closed = {name: str(error) for name, error in self._former.items()} | {
            name: f"PodNetwork/{name}, or this node's share of it, was deleted and goes with its"
            f" last sandbox: make it again, or choose another network"
            for name in self._agent.networks
            if self._is_leaving(name)
        }
        if self._machine[0].links != before:
            await self.moved()
        return new

    def _bodies(self) -> list[Body]:
        """Those of the installation too, as long as nobody has made them: the node needs them."""
        there = super()._bodies()
        names = {body["metadata"]["name"] for body in there}
        return there + [body for body in self._shipped if body["metadata"]["name"] not in names]

    async def report(self, failure: PodNetError | None = None) -> None:
        """Write the status of each of this node's shares; of networks, what they are here; and that
        the node has a network.
        """
        await self._report_networks(failure)
        await self._report_node()
        for parsed in list(self._parsed.values()):
            peer = parsed.peer
            if peer.node != self._node:
                continue
            name = name_of(peer.network, peer.node)
            body = self._objects.get("NodeSubnet", "", name)
            if body is not None:
                used = await self._addresses_used(peer.network)
                status = await self._write(self._share_status, body, peer, used, failure)
                await self._objects.set_status(("NodeSubnet", "", name), status)

    async def _report_networks(self, failure: PodNetError | None) -> None:
        """For who asks on this node; the operator tells the cluster."""
        for body in self._objects.list("PodNetwork"):
            built = await self._write(self._status, body, failure)
            built.pop("subnets", None)  # the operator's word
            given = {key: body["status"][key] for key in ("subnets",) if key in body["status"]}
            await self._objects.set_status(
                ("PodNetwork", "", body["metadata"]["name"]), given | built
            )

    async def _report_node(self) -> None:
        """Say of the Node, once containerd calls podnet for its Pods, that it has a network.

        Nobody else would. As other plugins, podnet never takes it back: whether the node is ready
        is the kubelet's to say, who asks for STATUS.
        """
        name = ("Node", "", self._node)
        node = self._objects.get(*name)
        serves = any(claim.type == CNI_CONFIGURED and claim.holds for claim in self.beside)
        if node and serves and not node["status"]:
            now = timestamp()
            condition = {
                "type": "NetworkUnavailable",
                "status": "False",
                "reason": "PodnetIsUp",
                "message": "podnet is running on this node",
                "lastHeartbeatTime": now,
                "lastTransitionTime": now,
            }
            await self._objects.set_status(name, {"conditions": [condition]})

    def _is_leaving(self, network: str) -> bool:
        """Whether it stays only for those who are attached."""
        bodies = (
            self._objects.get("PodNetwork", "", network),
            self._objects.get("NodeSubnet", "", name_of(network, self._node)),
        )
        return any(body and "deletionTimestamp" in body["metadata"] for body in bodies)

    def _parse(self) -> None:
        before, self._parsed, self._broken = self._parsed, {}, {}
        for body in self._objects.list("NodeSubnet"):
            name = body["metadata"]["name"]
            known = before.get(name)
            try:
                self._parsed[name] = known if known and known.body is body else _parsed(body)
            except PodNetError as error:
                self._broken[name] = error

    def _place(self, store: Store, body: Body) -> tuple[Any, ...]:
        """Of two that overlap, the older one is built."""
        return (body["metadata"].get("creationTimestamp", ""), body["metadata"]["name"])

    def _resolve(self, store: Store, body: Body, others: list[Network]) -> Network:
        """In the writer thread."""
        node, foreign = self._machine
        podnetwork = from_body(body, PodNetwork)
        name = podnetwork.metadata.name
        own, peers = self._kept(store, *self._shares(podnetwork))
        if podnetwork.spec.backend.type == "Local":
            network = resolve(podnetwork, own.pod_cidrs, own.pod_cidrs, node)
        else:
            routes, self._unreached[name] = host_gateway(peers, node.links)
            known = [cidr for peer in (own, *peers) for cidr in peer.pod_cidrs]
            subnets = podnetwork.spec.subnets or _given(body) or known
            led = [*own.pod_cidrs, *(route.destination for route in routes)]
            nowhere = unknown_shares(name, list(dict.fromkeys([*subnets, *known])), led)
            network = resolve(podnetwork, subnets, own.pod_cidrs, node, (*routes, *nowhere))
        if store.facts.subnets(name) != own.pod_cidrs:
            inside = [each for each in foreign if _lies_in(each, network.subnets)]
            refuse_overlaps(name, network.subnets, inside, others)
            store.facts.record_subnets(name, own.pod_cidrs)
        return network

    def _shares(self, podnetwork: PodNetwork) -> tuple[Peer, list[Peer]]:
        """This node's share and the others', of two of one range the younger last; NoShare."""
        network = podnetwork.metadata.name
        own = name_of(network, self._node)
        if own in self._broken:
            raise self._broken[own]
        share = self._parsed[own].peer if own in self._parsed else self._followed(podnetwork)
        if share is None:
            raise NoShare(
                f"PodNetwork/{network} has no share for node {self._node}: the operator, once it"
                f" runs and has one to give, writes NodeSubnet/{own}"
            )
        others = [
            parsed
            for name, parsed in self._parsed.items()
            if parsed.peer.network == network and name != own
        ]
        others.sort(key=lambda parsed: parsed.body["metadata"].get("creationTimestamp", ""))
        return share, [parsed.peer for parsed in others]

    def _kept(self, store: Store, own: Peer, peers: list[Peer]) -> tuple[Peer, list[Peer]]:
        """The former share, as long as a runtime's Pods have addresses of it.

        A sandbox is built anew in the new one; a Pod keeps what it was given for as long as it is
        there. Without its bridge it would reach nobody, not even its own node.
        """
        former = store.facts.subnets(own.network)
        self._former.pop(own.network, None)
        owners = [
            record.attachment.request.owner
            for record in (store.records() if former not in ((), own.pod_cidrs) else ())
            if record.attachment.request.cni
            and record.attachment.request.network == own.network
            and not all(
                _lies_in(each.network, own.pod_cidrs) for each in record.attachment.addresses
            )
        ]
        if not owners:
            return own, peers
        said = ", ".join(owners[:NAMED_AT_MOST])
        more = f" and {len(owners) - NAMED_AT_MOST} more" if len(owners) > NAMED_AT_MOST else ""
        was, now = (", ".join(map(str, cidrs)) for cidrs in (former, own.pod_cidrs))
        self._former[own.network] = ShareMoved(
            f"this node's share of PodNetwork/{own.network} is {now} by now, and {said}{more} have"
            f" addresses of {was}, which other nodes have no way to: delete them (drain the node)"
        )
        others = [
            peer
            for peer in peers
            if not any(
                a.overlaps(b) for a in peer.pod_cidrs for b in former if a.version == b.version
            )
        ]
        return replace(own, pod_cidrs=former), others

    def _followed(self, podnetwork: PodNetwork) -> Peer | None:
        """The share as the operator will cut it: where it only follows the Node, which is here."""
        node = self._objects.get("Node", "", self._node)
        if node is None or podnetwork.metadata.name != DEFAULT or podnetwork.spec.subnets:
            return None
        cidrs = tuple(_readable(ip_network, node["spec"]["podCIDRs"]))
        return Peer(DEFAULT, self._node, (), cidrs) if cidrs else None

    async def _addresses_used(self, network: str) -> int:
        """As written down last, but for what is older than REPORT_SECONDS."""
        now = time.monotonic()
        when, used = self._used.get(network, (-REPORT_SECONDS, 0))
        if now - when >= REPORT_SECONDS:
            used = await self._write(self._agent.store.usage, network)
            self._used[network] = now, used
        return used

    def _reachable(self, network: Network) -> Claim:
        """Whether a route leads to every other share."""
        problems = [(each.reason, each.message) for each in self._unreached.get(network.name, ())]
        problems += [
            ("Conflict", str(each))
            for each in self._agent.conflicts
            if f" NodeSubnet/{network.name}." in str(each)
        ]
        if not problems:
            return Claim("Reachable", True, "AllRouted")
        said = [message for _, message in problems[:NAMED_AT_MOST]]
        if more := len(problems) - len(said):
            said.append(f"and so are {more} more")
        return Claim("Reachable", False, problems[0][0], "; ".join(said))

    def _share_status(
        self, body: Body, share: Peer, used: int, failure: PodNetError | None
    ) -> Body:
        """In the writer thread."""
        network = self._agent.networks.get(share.network)
        if network is None:
            error = self._errors.get(share.network) or Retryable(
                f"PodNetwork/{share.network}, whose share this is, does not exist"
            )
            claims = [Claim("Ready", False, error.reason, str(error))]
        else:
            claims = self.claims(network, failure or self._former.get(share.network))
            claims.append(self._reachable(network))
        meta, before = body["metadata"], body["status"].get("conditions", [])
        return {
            "nodeAddresses": [str(link.interface.ip) for link in self._machine[0].links],
            "addressesUsed": used,
            "conditions": conditions(claims, before, meta["generation"], timestamp()),
        }


async def _nothing() -> None:
    pass


def _parsed(body: Body) -> Parsed:
    spec = from_body(body, NodeSubnet).spec
    addresses = tuple(_readable(ip_address, body["status"].get("nodeAddresses", ())))
    return Parsed(body, Peer(spec.pod_network, spec.node_name, addresses, spec.pod_cidrs))


def _given(body: Body) -> list[IPNetwork]:
    """The subnets as the operator says they are, where the spec leaves them to the cluster."""
    return list(_readable(ip_network, body["status"].get("subnets", ())))


def _readable(read: Callable[[str], T], texts: Iterable[str]) -> Iterator[T]:
    """Statuses are not checked by anyone: what can't be read says nothing."""
    for text in texts:
        with contextlib.suppress(ValueError):
            yield read(text)


def _lies_in(route: IPNetwork, subnets: Sequence[IPNetwork]) -> bool:
    """Whether the route takes something away from a subnet; a wider one gives way to ours."""
    return any(
        route.version == subnet.version
        and route.overlaps(subnet)
        and route.prefixlen >= subnet.prefixlen
        for subnet in subnets
    )
