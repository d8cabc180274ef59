"""The PodNetworks of this machine: their subnets chosen, resolved for the node, reported on."""

import contextlib
from collections.abc import Sequence
from functools import partial
from typing import Any

from podnet.addresses import IPNetwork, free_pool, host_numbers
from podnet.api.manifest import from_body
from podnet.api.podnetwork import PodNetwork
from podnet.errors import PodNetError, PodNetworkMissing, Retryable, SubnetOverlaps
from podnet.network import Network, resolve
from podnet.status import Claim, conditions
from podnet_agent import machine
from podnet_agent.agent import Agent
from podnet_agent.objects import Body, Objects, Write, name_of, timestamp
from podnet_agent.pending import conflicts_of
from podnet_agent.store import Store

LABEL = "podnet.dev/by-itself"
BY_ITSELF: Body = {
    "apiVersion": "podnet.dev/v1alpha1",
    "kind": "PodNetwork",
    "metadata": {"name": "default", "labels": {LABEL: "true"}},
    "spec": {},
}
"""The network that exists by itself until somebody applies another one named `default`."""


class Networks:
    """Lives in the asyncio loop; the agent gets its resolved networks from here."""

    def __init__(self, agent: Agent, write: Write, objects: Objects) -> None:
        self._agent, self._write, self._objects = agent, write, objects
        self._errors: dict[str, PodNetError] = {}  # of networks that can't be built
        self.beside: tuple[Claim, ...] = ()  # what else there is to say of this node's networks
        self._machine = machine.read_node(), machine.routes()

    def may_replace(self, body: Body) -> bool:
        """Whether another network may take this one's name: the one by itself, unused."""
        return body["kind"] == "PodNetwork" and LABEL in body["metadata"].get("labels", {})

    def is_used_by(self, network: str, sandbox: Body) -> bool:
        """Whether a PodSandbox is on that network."""
        wanted = sandbox["spec"].get("network", {})
        return bool(
            wanted.get("mode", "Bridge") == "Bridge"
            and wanted.get("podNetwork", "default") == network
        )

    async def replace_default(self, body: Body) -> None:
        """The one by itself makes way for a `default` of the user's own, unless it is used."""
        old = self._objects.get(*name_of(body))
        if old is None or not self.may_replace(old) or old["spec"] == body["spec"]:
            return
        name = body["metadata"]["name"]
        if await self._write(self._agent.store.usage, name):
            raise Retryable(
                f"PodNetwork/{name} has sandboxes on the subnet it chose by itself: delete them"
                f" before you apply another one of that name"
            )

    @property
    def waiting(self) -> bool:
        """Whether one can't be built as things are."""
        return bool(self._errors)

    async def refresh(self) -> bool:
        """Resolve every network for the node as it is now; whether one is there that was not."""
        before = set(self._agent.networks)
        self._machine = machine.read_node(), machine.routes()
        self._errors = await self._write(self._resolve_all, self._agent, self._bodies())
        return not before.issuperset(self._agent.networks)

    def _bodies(self) -> list[Body]:
        """The networks that are to be built here."""
        return self._objects.list("PodNetwork")

    async def need(self, name: str) -> None:
        """Return once the network can be attached to; else say why not."""
        if name not in self._agent.networks:
            error = self._errors.get(name)
            if error:
                raise error
            self._agent.network(name)

    async def forget(self, name: str) -> None:
        """Its subnets may be chosen again."""
        await self._write(self._agent.store.forget_network, name)
        await self.refresh()

    async def clear(self) -> None:
        """At start: an agent may have died between a network's object and its subnets."""
        names = [body["metadata"]["name"] for body in self._bodies()]
        await self._write(self._agent.store.forget_other_networks, names)

    async def report(self, failure: PodNetError | None = None) -> None:
        """Write every network's status; with what kept the last reconcile from its end."""
        for body in self._objects.list("PodNetwork"):
            name = body["metadata"]["name"]
            status = await self._write(self._status, body, failure)
            await self._objects.set_status(("PodNetwork", "", name), status)

    def resolve_with(self, agent: Agent, bodies: Sequence[Body]) -> None:
        """In the writer thread: as if `bodies` were applied, for an agent on other records."""
        known = {name_of(body): body for body in self._objects.list("PodNetwork")}
        known |= {name_of(body): body for body in bodies}
        for error in self._resolve_all(agent, list(known.values())).values():
            raise error

    def _resolve_all(self, agent: Agent, bodies: Sequence[Body]) -> dict[str, PodNetError]:
        """In the writer thread: the agent's networks; of the others, what is in their way.

        Those that have their subnets come first, and none of the others may have the same.
        """
        found: dict[str, Network] = {}
        errors: dict[str, PodNetError] = {}
        for body in sorted(bodies, key=partial(self._place, agent.store)):
            name = body["metadata"]["name"]
            try:
                found[name] = self._resolve(agent.store, body, list(found.values()))
            except PodNetError as error:
                errors[name] = error
        agent.node = self._machine[0]
        agent.networks = found
        with contextlib.suppress(Retryable):  # the lock is taken: the look that follows says so
            agent.dropping = agent.kernel.forward.dropping()
        return errors

    def _place(self, store: Store, body: Body) -> tuple[Any, ...]:
        """Where it stands in the row: whose subnets are an earlier one's has to choose others."""
        return (not _decided(store, body),)

    def _resolve(self, store: Store, body: Body, others: list[Network]) -> Network:
        node, routes = self._machine
        podnetwork = from_body(body, PodNetwork)
        name = podnetwork.metadata.name
        subnets = _decided(store, body)
        if not subnets:
            subnets = tuple(podnetwork.spec.subnets) or _chosen(name, routes, others)
            refuse_overlaps(name, subnets, routes, others)
            if any(subnet.version == 6 for subnet in subnets) and not node.ipv6:
                raise Retryable(
                    f"PodNetwork/{name} spec.subnets: this machine's kernel has IPv6 switched off"
                    f" (ipv6.disable=1): leave the IPv6 subnet out or boot without that option"
                )
            store.forget_network(name)
            store.facts.record_subnets(name, subnets)
        return resolve(podnetwork, subnets, subnets, node)

    def claims(self, network: Network, failure: PodNetError | None) -> list[Claim]:
        """In the writer thread: what is to be said of a network that is being built."""
        problems: list[PodNetError] = [*conflicts_of(self._agent.conflicts, network)]
        problems += [failure] if failure else []
        reason = problems[0].reason if problems else "Built"
        sentences = "; ".join(str(problem) for problem in problems)
        claims = [Claim("Ready", not problems, reason, sentences)]
        obstacles = self._agent.kernel.forward.obstacles([network.bridge])
        if obstacles:
            claims.append(Claim("Forwarding", False, "ForeignFirewall", "; ".join(obstacles)))
        try:
            self._agent.store.refuse_full(network)
        except Retryable as error:
            claims.append(Claim("AddressesAvailable", False, "NoFreeAddress", str(error)))
        return [*claims, *self.beside]

    def _status(self, body: Body, failure: PodNetError | None) -> Body:
        """In the writer thread."""
        name = body["metadata"]["name"]
        network = self._agent.networks.get(name)
        error = self._errors.get(name)
        claims = []
        status: Body = {}
        if network is None:
            reason = error.reason if error else PodNetworkMissing.reason
            claims.append(Claim("Ready", False, reason, str(error)))
        else:
            claims = self.claims(network, failure)
            status = {
                "subnets": [str(subnet) for subnet in network.subnets],
                "bridge": network.bridge,
                "mtu": network.pod_mtu,
                "addressesUsed": self._agent.store.usage(name),
                "addressesTotal": len(host_numbers(network.pod_cidrs))
                if network.pod_cidrs[0].version == 4
                else None,
            }
        before = body["status"].get("conditions", [])
        generation = body["metadata"]["generation"]
        status["conditions"] = conditions(claims, before, generation, timestamp())
        return status


def _decided(store: Store, body: Body) -> tuple[IPNetwork, ...]:
    """The recorded subnets; none where they were those of the `default` that made way."""
    recorded = store.facts.subnets(body["metadata"]["name"])
    given = tuple(from_body(body, PodNetwork).spec.subnets)
    return recorded if given in ((), recorded) else ()


def _chosen(
    name: str, routes: tuple[IPNetwork, ...], others: list[Network]
) -> tuple[IPNetwork, ...]:
    taken = [*routes, *(subnet for other in others for subnet in other.subnets)]
    pool = free_pool(taken)
    if pool is None:
        raise Retryable(
            f"PodNetwork/{name}: every default pool overlaps a route of this machine: give"
            f" spec.subnets"
        )
    return (pool,)


def refuse_overlaps(
    name: str,
    subnets: Sequence[IPNetwork],
    routes: Sequence[IPNetwork],
    others: Sequence[Network],
) -> None:
    """Retryable where a subnet is another network's, or a route's of this machine."""
    for subnet in subnets:
        for other in others:
            for theirs in other.subnets:
                if subnet.version == theirs.version and subnet.overlaps(theirs):
                    raise SubnetOverlaps(
                        f"PodNetwork/{name} spec.subnets: {subnet} overlaps {theirs} of"
                        f" {other.cause}: choose another range"
                    )
        for route in routes:
            if subnet.version == route.version and route.prefixlen and subnet.overlaps(route):
                raise SubnetOverlaps(
                    f"PodNetwork/{name} spec.subnets: {subnet} overlaps this machine's route to"
                    f" {route} (ip route): choose another range"
                )
