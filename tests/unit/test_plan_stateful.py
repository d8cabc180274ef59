"""Plans carried out, in whole or in part, against a kernel that is a dict with the kernel's rules.

Networks and sandboxes come, change and go; somebody damages what is there or puts own things in
its place; plans are cut off after any operation. Another plan always leads to what is wanted.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from ipaddress import ip_network
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from podnet.addresses import at
from podnet.attachment import Attachment, PublishedPort
from podnet.desired import (
    DroppingChain,
    NodeState,
    Sandboxed,
    attachment_objects,
    bridge_key,
    desired,
    namespace_objects,
    residue,
)
from podnet.network import Network
from podnet.objects import (
    HOST,
    NOTHING,
    Address,
    Bridge,
    Element,
    Interface,
    KernelObject,
    Key,
    Namespace,
    Netns,
    Observed,
    Route,
    Ruleset,
    Seen,
    Sysctl,
    Veth,
)
from podnet.plan import Change, Operation, Remove, as_seen, plan
from podnet.ruleset import TABLE, VERSION
from support.values import DUAL, NETWORK, NODE, attachment, netns, sandboxed

FOUND = "as found"
"""Every setting's value before podnet came."""
FOREIGN = "a stranger's"
NAMES = ["a", "b", "c"]
SUBNET = ip_network("10.9.0.0/16")
NETWORKS = {
    "default": DUAL,
    "other": replace(
        NETWORK, name="other", bridge="pn-other", subnets=(SUBNET,), pod_cidrs=(SUBNET,)
    ),
}
CHANGES: dict[str, Any] = {
    "bridge": "pn-renamed",
    "pod_mtu": 1400,
    "isolated": False,
    "masquerade": False,
    "hairpin": True,
}
DAMAGES: dict[type, dict[str, Any]] = {
    Bridge: {"mtu": 1300},
    Veth: {"up": False},
    Interface: {"mtu": 1300},
    Route: {"gateway": None},
    Ruleset: {"version": "another"},
    Element: {"verdict": "192.0.2.1 . 1"},
    Sysctl: {"value": "damaged"},
}


@dataclass
class Kernel:
    """What is there. What can't be done is an AssertionError: the plan was in a wrong order."""

    objects: dict[Key, KernelObject] = field(default_factory=dict)
    foreign: set[Key] = field(default_factory=set)

    def apply(self, operations: Iterable[Operation], *, seen: bool = True) -> None:
        """Carry them out in their order. What was `seen` before is there when its turn comes."""
        for operation in operations:
            thing = operation.what
            assert thing.key not in self.foreign, f"not ours: {operation}"
            if isinstance(operation, Remove):
                assert thing.key in self.objects or not seen, f"gone already: {operation}"
                self.remove(thing)  # a setting of the node is as it was found
            elif isinstance(thing, Sysctl):
                self._needs(thing)
                self.objects[thing.key] = thing
            elif isinstance(operation, Change):
                assert thing.key in self.objects, f"not there: {operation}"
                if isinstance(thing, Ruleset):
                    self.remove(thing)
                self._needs(thing)
                self.objects[thing.key] = thing
            else:
                assert thing.key not in self.objects, f"there already: {operation}"
                self._needs(thing)
                self.objects[thing.key] = thing

    def remove(self, thing: KernelObject) -> None:
        """It goes, and what can't be without it."""
        there = self.objects.pop(thing.key, None)
        if isinstance(there, Namespace):
            inside = [each for each in self.objects.values() if _is_in(each, there.path)]
            for each in inside:
                self.remove(each)
            self.foreign -= {key for key in self.foreign if key[1] == there.path}
        if isinstance(there, Bridge):
            for key, each in self.objects.items():
                if isinstance(each, Veth) and each.bridge == there.name:
                    self.objects[key] = replace(each, bridge="")
        if isinstance(there, Interface):  # it goes down
            self._drop(lambda each: isinstance(each, Route) and _of(each, there))
        self._drop(lambda each: each.within == thing.key)

    def _drop(self, goes: Callable[[KernelObject], bool]) -> None:
        for key in [key for key, each in self.objects.items() if goes(each)]:
            del self.objects[key]

    def _needs(self, thing: KernelObject) -> None:
        """What must be there first."""
        if thing.netns != HOST:
            assert ("namespace", HOST, thing.netns) in self.objects, thing
        if thing.within is not None:
            assert thing.within in self.objects, f"{thing.within} for {thing}"
        match thing:
            case Veth():
                assert ("link", HOST, thing.bridge) in self.objects, thing
                assert ("namespace", HOST, thing.pod_netns) in self.objects, thing
            case Route() if not thing.unreachable:
                assert ("interface", thing.netns, thing.ifname) in self.objects, thing

    def look(self, wanted: Sequence[KernelObject], scope: frozenset[Netns] | None) -> Observed:
        """As observe.py sees it: settings that are wanted or differ, elements of a right table."""
        keys = {thing.key for thing in wanted}
        table = self.objects.get(TABLE)
        right = isinstance(table, Ruleset) and table.version == VERSION
        seen = {key: Seen(FOREIGN, ours=False) for key in self.foreign & keys}
        for key, thing in self.objects.items():
            if isinstance(thing, Sysctl) or (isinstance(thing, Element) and not right):
                continue
            in_pod = thing.netns != HOST and isinstance(thing, Address | Interface)
            if key in keys or not in_pod:
                seen[key] = Seen(thing, ours=True)
        seen |= {thing.key: Seen(thing, ours=True) for thing in self._settings(wanted)}
        if scope is not None:
            seen = {key: found for key, found in seen.items() if key[1] in scope}
        return Observed(seen, 1 << 30, scope)

    def _settings(self, wanted: Sequence[KernelObject]) -> Iterator[Sysctl]:
        """Of the node as of what is there; each knows what stood there before podnet."""
        for thing in wanted:
            if isinstance(thing, Sysctl) and thing.key not in self.objects:
                in_place = thing.netns == HOST or ("namespace", HOST, thing.netns) in self.objects
                if in_place and (thing.within is None or thing.within in self.objects):
                    yield replace(thing, value=FOUND, before=FOUND)
        keys = {thing.key for thing in wanted}
        for thing in self.objects.values():
            if isinstance(thing, Sysctl) and (thing.key in keys or thing.within is None):
                yield replace(thing, before=FOUND)


def _is_in(thing: KernelObject, place: Netns) -> bool:
    return thing.netns == place or (isinstance(thing, Veth) and thing.pod_netns == place)


def _of(route: Route, interface: Interface) -> bool:
    return (route.netns, route.ifname) == (interface.netns, interface.ifname)


class Planned(RuleBasedStateMachine):
    """A node, and what is wanted of it."""

    def __init__(self) -> None:
        super().__init__()
        self.kernel = Kernel()
        self.networks: dict[str, Network] = {}
        self.attachments: dict[str, Attachment] = {}
        self.namespaces: dict[str, Sandboxed] = {}
        self.dropping: tuple[DroppingChain, ...] = ()
        self.number = 0

    def wanted(self) -> list[KernelObject]:
        return list(
            desired(
                NodeState(
                    NODE,
                    tuple(self.networks.values()),
                    tuple(self.namespaces.values()),
                    tuple(self.attachments.values()),
                    self.dropping,
                )
            )
        )

    @initialize()
    def begin(self) -> None:
        self.networks = dict(NETWORKS)
        self.repair()

    # What is wanted.

    @rule(name=st.sampled_from(list(NETWORKS)), data=st.data())
    def have_network(self, name: str, data: st.DataObject) -> None:
        chosen = data.draw(st.sets(st.sampled_from(list(CHANGES)), max_size=2))
        self.networks[name] = replace(
            NETWORKS[name],
            **{each: CHANGES[each] for each in chosen if each != "bridge" or name == "default"},
        )

    @rule(name=st.sampled_from(list(NETWORKS)))
    def lose_network(self, name: str) -> None:
        self.networks.pop(name, None)

    @rule(drops=st.booleans())
    def foreign_firewall(self, drops: bool) -> None:
        self.dropping = (DroppingChain("iptables", "FORWARD"),) if drops else ()

    @precondition(lambda self: self.networks and len(self.attachments) < len(NAMES))
    @rule(with_ports=st.booleans(), data=st.data())
    def attach(self, with_ports: bool, data: st.DataObject) -> None:
        """As Agent.attach: nothing is looked at; a crash on the way is undone by the record."""
        name = data.draw(st.sampled_from([each for each in NAMES if each not in self.attachments]))
        network = data.draw(st.sampled_from(sorted(self.networks)))
        self.repair()
        if not self.is_built(network):
            return
        self.number += 1
        made = self.attachment(self.number, name, self.networks[network], with_ports)
        place = sandboxed(name)
        objects = [*namespace_objects(place), *attachment_objects(self.networks[network], made)]
        operations = plan(objects, NOTHING).operations
        before = dict(self.kernel.objects)
        count = data.draw(st.just(len(operations)) | st.integers(0, len(operations)))
        self.kernel.apply(operations[:count])
        if count == len(operations):
            self.attachments[name], self.namespaces[name] = made, place
            return
        self.undo(made, place, data)
        assert self.kernel.objects == before, "something is left"

    def is_built(self, network: str) -> bool:
        """What attaching takes for granted."""
        bridge = self.networks.get(network)
        table = self.kernel.objects.get(TABLE)
        right = isinstance(table, Ruleset) and table.version == VERSION
        return bool(bridge and right and bridge_key(bridge) in self.kernel.objects)

    @staticmethod
    def attachment(number: int, name: str, network: Network, with_ports: bool) -> Attachment:
        texts = [str(at(cidr, number + 1)) for cidr in network.pod_cidrs]
        ports = (PublishedPort(8000 + number, 80), PublishedPort(8000 + number, 53, "udp"))
        return attachment(
            number, *texts, name=name, network=network.name, ports=ports if with_ports else ()
        )

    def undo(self, made: Attachment, place: Sandboxed, data: st.DataObject) -> None:
        """As Agent.demolish, begun by an agent that died on the way."""
        for objects in (list(residue(made)), list(namespace_objects(place))):
            operations = plan((), as_seen(objects)).operations
            some = operations[: data.draw(st.integers(0, len(operations)))]
            self.kernel.apply(some, seen=False)
            self.kernel.apply(operations, seen=False)

    @precondition(lambda self: self.attachments)
    @rule(data=st.data())
    def demolish(self, data: st.DataObject) -> None:
        name = data.draw(st.sampled_from(sorted(self.attachments)))
        made, place = self.attachments.pop(name), self.namespaces.pop(name)
        self.undo(made, place, data)
        mine = {each.key for each in port_elements(made)} | {("link", HOST, made.host_end)}
        assert not mine & set(self.kernel.objects)
        assert not [key for key in self.kernel.objects if key[1] == place.path]

    @precondition(lambda self: self.attachments)
    @rule(data=st.data())
    def forget(self, data: st.DataObject) -> None:
        """Its records are gone and not what was made: what a broken store leaves."""
        name = data.draw(st.sampled_from(sorted(self.attachments)))
        del self.attachments[name], self.namespaces[name]
        self.repair()  # its name may come again, its number does not

    # What others do.

    @precondition(lambda self: self.kernel.objects)
    @rule(data=st.data())
    def delete_something(self, data: st.DataObject) -> None:
        key = data.draw(st.sampled_from(sorted(self.kernel.objects)))
        self.kernel.remove(self.kernel.objects[key])

    @precondition(lambda self: self.kernel.objects)
    @rule(data=st.data())
    def change_something(self, data: st.DataObject) -> None:
        key = data.draw(st.sampled_from(sorted(self.kernel.objects)))
        thing = self.kernel.objects[key]
        self.kernel.objects[key] = replace(thing, **DAMAGES.get(type(thing), {}))

    @rule(data=st.data())
    def put_something_foreign(self, data: st.DataObject) -> None:
        """In the place of a bridge, or of the pod end of a pair: ours goes first."""
        places: dict[Key, Key] = {
            bridge_key(network): bridge_key(network) for network in self.networks.values()
        }
        places |= {
            ("interface", made.request.netns, made.request.ifname): ("link", HOST, made.host_end)
            for made in self.attachments.values()
            if ("namespace", HOST, made.request.netns) in self.kernel.objects
        }
        if places:
            place = data.draw(st.sampled_from(sorted(places)))
            if places[place] in self.kernel.objects:
                self.kernel.remove(self.kernel.objects[places[place]])
            self.kernel.foreign.add(place)

    @precondition(lambda self: self.kernel.foreign)
    @rule()
    def take_foreign_things_away(self) -> None:
        self.kernel.foreign.clear()

    # What is done about it.

    @rule(data=st.data())
    def repair_in_part(self, data: st.DataObject) -> None:
        """An agent that looks at the node and some pods dies in the middle."""
        pods = data.draw(st.sets(st.sampled_from(NAMES)))
        there = {
            netns(name) for name in pods if ("namespace", HOST, netns(name)) in self.kernel.objects
        }
        there |= {key[1] for key in self.kernel.foreign}  # else the kernel would refuse (EEXIST)
        wanted = self.wanted()
        operations = plan(wanted, self.kernel.look(wanted, frozenset({HOST, *there}))).operations
        self.kernel.apply(operations[: data.draw(st.integers(0, len(operations)))])

    @rule()
    def repair(self) -> None:
        """Once is enough, and what is there then is what is wanted and nothing else of ours."""
        wanted = self.wanted()
        self.kernel.apply(plan(wanted, self.kernel.look(wanted, None)).operations)
        again = plan(wanted, self.kernel.look(wanted, None))
        assert again.operations == ()
        blocked = self.kernel.foreign & {thing.key for thing in wanted}
        assert len(again.conflicts) == len(blocked)
        there = self.kernel.objects
        ours = {key: thing for key, thing in there.items() if not is_as_found(thing)}
        if not blocked:
            assert ours == {thing.key: thing for thing in wanted}
        else:
            assert ours.keys() <= {thing.key for thing in wanted}

    def teardown(self) -> None:
        """Nothing is wanted any more, and nothing of ours is left."""
        self.repair()
        foreign = set(self.kernel.foreign)
        self.kernel.apply(plan((), self.kernel.look((), None)).operations)
        assert [thing for thing in self.kernel.objects.values() if not is_as_found(thing)] == []
        assert {key for key in foreign if key[1] == HOST} <= self.kernel.foreign


def is_as_found(thing: KernelObject) -> bool:
    return isinstance(thing, Sysctl) and thing.value == FOUND


def port_elements(made: Attachment) -> list[KernelObject]:
    return [thing for thing in residue(made) if isinstance(thing, Element)]


Planned.TestCase.settings = settings(max_examples=80, stateful_step_count=40, deadline=None)
TestPlanned = Planned.TestCase
