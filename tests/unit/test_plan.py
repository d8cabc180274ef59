"""The one decision: what is to be done to get from what is seen to what is wanted."""

import random
from collections.abc import Callable, Iterable
from dataclasses import replace
from ipaddress import ip_address, ip_interface, ip_network
from typing import get_args

import pytest

from podnet.attachment import PublishedPort
from podnet.commands import commands
from podnet.desired import attachment_objects, namespace_objects, network_objects, node_objects
from podnet.objects import (
    HOST,
    NOTHING,
    Address,
    Bridge,
    Element,
    Endpoint,
    ForwardAccept,
    Interface,
    KernelObject,
    Key,
    Namespace,
    Observed,
    Route,
    Ruleset,
    Seen,
    Shortcut,
    Sysctl,
    Veth,
)
from podnet.plan import Add, Change, Operation, Plan, Remove, as_seen, plan
from support import values
from support.values import DUAL, NETWORK, NODE, attachment, netns, sandboxed

POD = netns("web")

VETH = replace(values.VETH, alias="podnet x", cause="c")
# Every kind, right, and as it is found when somebody has changed it.
PAIRS: dict[str, tuple[KernelObject, KernelObject]] = {
    "sysctl": (
        Sysctl(name="net/ipv4/ip_forward", value="1", cause="c"),
        Sysctl(name="net/ipv4/ip_forward", value="0", before="0"),
    ),
    "bridge": (
        Bridge(name="podnet0", mac="02:42:ac:11:00:01", mtu=1500, alias="podnet x", cause="c"),
        Bridge(name="podnet0", mac="02:42:ac:11:00:01", mtu=1400, alias="podnet x"),
    ),
    "veth": (VETH, replace(VETH, up=False)),
    "interface": (
        Interface(netns=POD, ifname="eth0", mac="02:42:ac:11:00:02", mtu=1500, cause="c"),
        Interface(netns=POD, ifname="eth0", mac="02:42:ac:11:00:02", mtu=1400),
    ),
    "route": (
        Route(
            netns=POD,
            destination=ip_network("0.0.0.0/0"),
            gateway=ip_address("172.17.0.1"),
            ifname="eth0",
            cause="c",
        ),
        Route(netns=POD, destination=ip_network("0.0.0.0/0"), gateway=None, ifname="eth0"),
    ),
    "shortcut": (
        Shortcut(ifname="podnet0", version="b", cause="c"),
        Shortcut(ifname="podnet0", version="a"),
    ),
    "endpoint": (
        Endpoint(address=ip_address("10.1.1.2"), host_end="vethpn2", bridge="podnet0", cause="c"),
        Endpoint(address=ip_address("10.1.1.2"), host_end="vethpn1"),
    ),
    "ruleset": (Ruleset(version="new", cause="c"), Ruleset(version="old")),
    "element": (
        Element(container="pn_any4", match="tcp . 80", verdict="172.17.0.2 . 80", cause="c"),
        Element(container="pn_any4", match="tcp . 80", verdict="172.17.0.9 . 80"),
    ),
}
# Kinds that are all name: they are there or they are not.
NAMES: dict[str, KernelObject] = {
    "namespace": Namespace(path=POD, cause="c"),
    "address": Address(
        netns=POD, ifname="eth0", interface=ip_interface("172.17.0.2/16"), cause="c"
    ),
    "accept": ForwardAccept(
        command="iptables", chain="FORWARD", direction="-i", bridge="podnet0", cause="c"
    ),
}
KINDS = {name: pair[0] for name, pair in PAIRS.items()} | NAMES


def seen(*things: KernelObject, newest: int = 0, scope: frozenset[str] | None = None) -> Observed:
    found = {thing.key: Seen(thing, ours=True, ifindex=7) for thing in things}
    return Observed(found, newest, scope)  # type: ignore[arg-type]


def lines(found: Plan) -> list[str]:
    return [line for operation in found.operations for line in commands(operation)]


def verbs(found: Plan) -> list[tuple[str, str]]:
    return [(type(operation).__name__, operation.what.key[2]) for operation in found.operations]


def test_every_kind_of_object_is_tried_here() -> None:
    tried = {type(thing) for thing in KINDS.values()}
    assert tried == set(get_args(KernelObject))


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_absent_is_added(kind: str) -> None:
    assert plan([KINDS[kind]], NOTHING) == Plan((Add(KINDS[kind]),))


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_right_is_left_alone(kind: str) -> None:
    assert plan([KINDS[kind]], seen(KINDS[kind])) == Plan(())


@pytest.mark.parametrize("kind", KINDS)
def test_neither_cause_nor_place_makes_a_difference(kind: str) -> None:
    found = replace(KINDS[kind], cause="another", within=("link", HOST, "other"))
    assert plan([KINDS[kind]], seen(found)) == Plan(())


@pytest.mark.parametrize("kind", PAIRS)
def test_what_is_ours_and_different_is_changed(kind: str) -> None:
    right, damaged = PAIRS[kind]
    assert plan([right], seen(damaged)) == Plan((Change(right, damaged),))


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_someone_elses_is_a_conflict_and_untouched(kind: str) -> None:
    thing = KINDS[kind]
    found = Observed({thing.key: Seen("a stranger", ours=False, ifindex=4)})
    planned = plan([thing], found)
    assert planned.operations == ()
    (conflict,) = planned.conflicts
    where = f" in {thing.netns}" if thing.netns else ""
    assert str(conflict) == (
        f"{thing.key[0]} {thing.key[2]}{where} exists and is not podnet's (a stranger);"
        f" c wants it: remove it or choose another name"
    )


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_ours_and_not_wanted_is_removed(kind: str) -> None:
    assert plan([], seen(KINDS[kind])) == Plan((Remove(KINDS[kind]),))


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_someone_elses_and_not_wanted_is_not_minded(kind: str) -> None:
    thing = KINDS[kind]
    for what in (thing, "a stranger"):
        assert plan([], Observed({thing.key: Seen(what, ours=False)})) == Plan(())


@pytest.mark.parametrize("kind", KINDS)
def test_what_was_made_is_undone_by_the_same_plan(kind: str) -> None:
    assert plan([], as_seen([KINDS[kind]])) == Plan((Remove(KINDS[kind]),))


# Order.


def everything() -> list[KernelObject]:
    ports = (PublishedPort(80, 80),)
    return [
        *node_objects([DUAL], NODE),
        *network_objects(DUAL),
        *(thing for name in ("a", "b") for thing in namespace_objects(sandboxed(name))),
        *attachment_objects(DUAL, attachment(1, "172.17.0.2/16", "fd00:17::2/64", name="a")),
        *attachment_objects(
            DUAL, attachment(2, "172.17.0.3/16", "fd00:17::3/64", name="b", ports=ports)
        ),
        ForwardAccept(command="iptables", chain="FORWARD", direction="-i", bridge="podnet0"),
    ]


def first(found: Plan, wanted: Callable[[KernelObject], bool]) -> int:
    return next(n for n, operation in enumerate(found.operations) if wanted(operation.what))


def last(found: Plan, wanted: Callable[[KernelObject], bool]) -> int:
    count = len(found.operations)
    return count - 1 - first(Plan(found.operations[::-1]), wanted)


def of(*kinds: type) -> Callable[[KernelObject], bool]:
    return lambda thing: isinstance(thing, kinds)


def in_pods(thing: KernelObject) -> bool:
    return thing.netns != HOST


def test_what_lets_traffic_in_comes_last_and_goes_first() -> None:
    lets_in = of(Element, Ruleset, ForwardAccept)
    made = plan(everything(), NOTHING)
    assert first(made, lets_in) > last(made, lambda thing: not lets_in(thing))
    gone = plan([], as_seen(everything()))
    assert last(gone, lets_in) < first(gone, lambda thing: not lets_in(thing))


def test_the_table_comes_before_its_elements() -> None:
    made = plan(everything(), NOTHING)
    assert last(made, of(Ruleset)) < first(made, of(Element))


def test_namespaces_come_first_then_the_nodes_links_then_pods() -> None:
    made = plan(everything(), NOTHING)
    assert last(made, of(Namespace)) < first(made, of(Bridge)) < first(made, of(Veth))
    assert last(made, of(Veth)) < first(made, in_pods)
    up = next(n for n, line in enumerate(lines(made)) if line == "ip link set podnet0 up")
    addressed = next(n for n, line in enumerate(lines(made)) if "172.17.0.1/16" in line)
    assert addressed < up


def test_each_pod_is_done_in_one_go() -> None:
    made = plan(everything(), NOTHING)
    places = [operation.what.netns for operation in made.operations if in_pods(operation.what)]
    assert places == sorted(places)
    assert len(set(places)) == 2


def test_inside_a_pod_settings_then_addresses_then_up_then_routes() -> None:
    made = plan(attachment_objects(NETWORK, attachment()), NOTHING)
    kinds = [type(operation.what) for operation in made.operations]
    assert kinds == [Veth, Sysctl, Sysctl, Address, Interface, Route]


def test_equal_input_gives_equal_output_in_any_order() -> None:
    chance = random.Random(7)
    expected = plan(everything(), NOTHING)
    objects = everything()
    for _ in range(20):
        chance.shuffle(objects)
        assert plan(objects, NOTHING) == expected
        assert plan([], as_seen(objects)) == plan([], as_seen(everything()))


def test_it_is_gone_in_the_opposite_order() -> None:
    loose = [thing for thing in everything() if thing.within is None]
    made = [operation.what for operation in plan(loose, NOTHING).operations]
    gone = [operation.what for operation in plan([], as_seen(loose)).operations]
    assert gone == made[::-1]


# What goes along, and what comes again.


def test_what_goes_along_with_something_else_is_not_removed_by_itself() -> None:
    gone = plan([], as_seen(everything()))
    assert not [op for op in gone.operations if isinstance(op.what, Address | Route | Interface)]
    assert {op.what.key for op in gone.operations if isinstance(op.what, Veth)} == {
        ("link", HOST, "vethpn1"),
        ("link", HOST, "vethpn2"),
    }


def test_what_hangs_on_something_that_stays_is_removed_by_itself() -> None:
    objects = list(attachment_objects(NETWORK, attachment()))
    wanted = [thing for thing in objects if not isinstance(thing, Route)]
    assert lines(plan(wanted, seen(*objects))) == [
        "ip -n podnet-web route delete default via 172.17.0.1 dev eth0 proto 142"
    ]


def damaged(lost: KernelObject, *, scope: Iterable[str]) -> Plan:
    """The plan after `lost` and all that hung on it went; only `scope` was looked at."""
    gone = {lost.key}
    objects = [*namespace_objects(sandboxed()), *attachment_objects(NETWORK, attachment())]
    for thing in objects:
        if thing.within in gone or (isinstance(thing, Veth) and thing.pod_netns == lost.key[2]):
            gone.add(thing.key)
    looked = frozenset(scope)
    left = [thing for thing in objects if thing.key not in gone and thing.netns in looked]
    return plan(objects, seen(*left, scope=looked))


def test_a_pair_that_was_lost_comes_again_with_all_that_hung_on_it() -> None:
    (veth,) = [x for x in attachment_objects(NETWORK, attachment()) if isinstance(x, Veth)]
    repaired = damaged(veth, scope={HOST})
    assert lines(repaired) == lines(plan(attachment_objects(NETWORK, attachment()), NOTHING))


def test_so_it_does_where_it_was_lost_between_the_looks_at_pod_and_node() -> None:
    objects = list(attachment_objects(NETWORK, attachment()))
    inside = [thing for thing in objects if thing.netns == POD]
    assert inside
    repaired = plan(objects, seen(*inside, scope=frozenset({HOST, POD})))
    assert lines(repaired) == lines(plan(objects, NOTHING))


def test_a_namespace_that_was_lost_comes_again_with_its_pair() -> None:
    repaired = damaged(Namespace(path=POD), scope={HOST})
    whole = [*namespace_objects(sandboxed()), *attachment_objects(NETWORK, attachment())]
    assert lines(repaired) == lines(plan(whole, NOTHING))


def test_what_was_not_looked_at_is_not_touched() -> None:
    objects = [*namespace_objects(sandboxed()), *attachment_objects(NETWORK, attachment())]
    outside = [thing for thing in objects if thing.netns == HOST]
    assert plan(objects, seen(*outside, scope=frozenset({HOST}))) == Plan(())


def test_a_pod_that_was_looked_at_is_repaired() -> None:
    objects = [*namespace_objects(sandboxed()), *attachment_objects(NETWORK, attachment())]
    left = [thing for thing in objects if not isinstance(thing, Route)]
    planned = plan(objects, seen(*left, scope=frozenset({HOST, POD})))
    assert verbs(planned) == [("Add", "0.0.0.0/0")]


def test_nothing_is_put_into_a_foreign_bridge_nor_built_upon_it() -> None:
    wanted = [
        *network_objects(NETWORK),
        *namespace_objects(sandboxed()),
        *attachment_objects(NETWORK, attachment()),
    ]
    bridge: Key = ("link", HOST, "podnet0")
    found = plan(wanted, Observed({bridge: Seen("a link of kind bridge, index 7", ours=False)}))
    assert [str(each).partition(" (")[0] for each in found.conflicts] == [
        "link podnet0 exists and is not podnet's"
    ]
    only = [each.what for each in found.operations]
    assert set(only) == set(namespace_objects(sandboxed()))


def test_nothing_is_put_into_a_foreign_interface_of_a_pod() -> None:
    wanted = [*network_objects(NETWORK), *attachment_objects(NETWORK, attachment())]
    eth0: Key = ("interface", netns("web"), "eth0")
    found = plan(wanted, Observed({eth0: Seen("a link of kind bridge, index 7", ours=False)}))
    assert len(found.conflicts) == 1
    assert {each.what for each in found.operations} == set(network_objects(NETWORK))


def test_a_changed_pair_does_not_add_what_hangs_on_it() -> None:
    objects = list(attachment_objects(NETWORK, attachment()))
    found = [replace(x, up=False) if isinstance(x, Veth) else x for x in objects]
    host = [thing for thing in found if thing.netns == HOST]
    planned = plan(objects, seen(*host, scope=frozenset({HOST})))
    assert verbs(planned) == [("Change", "vethpn1a")]


@pytest.mark.parametrize("operation", [Add, Remove])
def test_operations_compare_by_what_they_do(operation: type[Add] | type[Remove]) -> None:
    thing = NAMES["namespace"]
    same: Operation = operation(replace(thing, cause="other"))
    assert operation(thing) == same


def test_no_two_kinds_share_a_key() -> None:
    keys: list[Key] = [thing.key for thing in KINDS.values()]
    assert len(set(keys)) == len(keys)
