"""What the operator would write and say, from objects as the API server has them."""

import itertools
from typing import Any

import pytest

from podnet.shares import GONE_SECONDS
from podnet_operator.client import Resource
from podnet_operator.decisions import (
    AdoptShare,
    Decisions,
    DropShare,
    HoldNetwork,
    MakeShare,
    PlaceSandbox,
    World,
    decide,
)
from podnet_operator.facts import NETWORKS, NODES, SANDBOXES, SERVICES, SHARES, Facts, parse
from podnet_operator.reports import network_reports, sandbox_reports, share_reports

NOW = "2026-01-02T00:00:00Z"
_versions = itertools.count(1)


def facts(resource: Resource, name: str, **fields: Any) -> Any:
    meta = {
        "name": name,
        "uid": f"uid-{name}",
        "resourceVersion": str(next(_versions)),
        "creationTimestamp": "2026-01-01T00:00:00Z",
        "generation": 1,
        **fields.pop("metadata", {}),
    }
    found: Facts = parse(resource, {"metadata": meta, **fields})
    return found


def network(name: str = "blue", *subnets: str, **fields: Any) -> Any:
    spec = {"backend": {"type": "HostGateway"}, **fields.pop("spec", {})}
    return facts(
        NETWORKS, name, spec=spec | ({"subnets": list(subnets)} if subnets else {}), **fields
    )


def share(of: str, node: str, *cidrs: str, owner: str = "", ready: str = "", **status: Any) -> Any:
    spec = {"podNetwork": of, "nodeName": node, "podCIDRs": list(cidrs)}
    if ready:
        condition = {"type": "Ready", "status": ready, "reason": "R", "message": f"is {ready}"}
        status["conditions"] = [condition]
    meta = {"ownerReferences": [{"uid": owner or f"uid-{of}"}]}
    return facts(SHARES, f"{of}.{node}", spec=spec, status=status, metadata=meta)


def node(name: str, number: int = 1, *, ready: bool = True, **spec: Any) -> Any:
    status = {
        "addresses": [{"type": "InternalIP", "address": f"192.168.5.{number}"}],
        "conditions": [{"type": "Ready", "status": str(ready)}],
    }
    return facts(NODES, name, spec={"podCIDRs": [f"10.244.{number}.0/24"], **spec}, status=status)


def sandbox(name: str, node_name: str = "", **fields: Any) -> Any:
    meta = {"namespace": "default", **fields.pop("metadata", {})}
    status = fields.pop("status", {})
    spec = {"network": {"mode": "Bridge", **fields}} | (
        {"nodeName": node_name} if node_name else {}
    )
    return facts(SANDBOXES, name, spec=spec, metadata=meta, status=status)


def said(world: World) -> dict[str, tuple[str, str]]:
    """Reason and message of each network's condition Ready."""
    return {
        report.network.id.name: (each["reason"], each["message"])
        for report in network_reports(world, decide(world), NOW)
        for each in report.status["conditions"]
        if each["type"] == "Ready"
    }


def kinds(found: Decisions) -> list[str]:
    return [type(write).__name__ for write in found.writes]


BLUE = network("blue", "10.8.0.0/16")


def test_a_share_is_made_for_each_node() -> None:
    (write,) = decide(World(networks=(BLUE,), nodes=(node("w1"),))).writes
    assert isinstance(write, MakeShare)
    assert (write.share.network, write.share.node) == ("blue", "w1")
    assert (str(write.share.pod_cidrs[0]), write.owner) == ("10.8.0.0/24", BLUE)


def test_what_is_right_is_left() -> None:
    world = World((BLUE,), (share("blue", "w1", "10.8.3.0/24"),), nodes=(node("w1"),))
    assert decide(world).writes == ()


@pytest.mark.parametrize(
    "wrong",
    [
        pytest.param(share("blue", "w1", "10.9.0.0/24"), id="of another subnet"),
        pytest.param(share("gone", "w1", "10.8.0.0/24"), id="of no network"),
    ],
)
def test_what_is_wrong_is_dropped_first(wrong: Any) -> None:
    found = decide(World((BLUE,), (wrong,), nodes=(node("w1"),)))
    assert found.writes[0] == DropShare(wrong)


def test_a_share_is_made_anew_only_when_the_old_one_is_gone() -> None:
    """Both have one name."""
    world = World((BLUE,), (share("blue", "w1", "10.9.0.0/24"),), nodes=(node("w1"),))
    assert kinds(decide(world)) == ["DropShare"]


def test_shares_of_a_network_made_anew_get_their_new_owner() -> None:
    old = share("blue", "w1", "10.8.0.0/24", owner="uid-of-the-old-one")
    assert decide(World((BLUE,), (old,), nodes=(node("w1"),))).writes == (AdoptShare(old, BLUE),)


@pytest.mark.parametrize(
    ("gone", "used", "kept"),
    [
        pytest.param(GONE_SECONDS - 1, 0, True, id="for a moment"),
        pytest.param(GONE_SECONDS, 0, False, id="for good"),
        pytest.param(1e6, 2, True, id="with pods"),
    ],
)
def test_a_node_that_is_gone_keeps_its_share_for_a_while(
    gone: float, used: int, kept: bool
) -> None:
    old = share("blue", "w1", "10.8.0.0/24", addressesUsed=used)
    found = decide(World((BLUE,), (old,), gone_seconds={"w1": gone}))
    assert ("DropShare" not in kinds(found)) is kept


def test_shares_of_a_network_that_is_no_longer_valid_stay() -> None:
    """A stricter CRD came after it."""
    odd = network("blue", "10.8.0.0/16", spec={"unknown": 1})
    world = World((odd,), (share("blue", "w1", "10.8.0.0/24"),), nodes=(node("w1"), node("w2", 2)))
    assert decide(world).writes == ()
    reason, message = said(world)["blue"]
    assert reason == "Invalid"
    assert "spec.unknown" in message


def test_a_network_in_use_is_held_and_one_that_is_not_is_let_go() -> None:
    used = World((BLUE,), sandboxes=(sandbox("web", "w1", podNetwork="blue"),))
    assert decide(used).writes == (HoldNetwork(BLUE, ("podnet.dev/in-use",)),)
    held = network("blue", metadata={"finalizers": ["other", "podnet.dev/in-use"]})
    assert decide(World((held,))).writes == (HoldNetwork(held, ("other",)),)


def test_addresses_of_pods_hold_a_network_too() -> None:
    old = share("blue", "w1", "10.8.0.0/24", addressesUsed=1)
    assert kinds(decide(World((BLUE,), (old,), nodes=(node("w1"),)))) == ["HoldNetwork"]


def test_a_network_that_is_deleted_gets_no_finalizer_and_no_share() -> None:
    """The API server would refuse the one; the other would be taken away at once."""
    going = network("blue", "10.8.0.0/16", metadata={"deletionTimestamp": NOW})
    world = World(
        (going,), nodes=(node("w1"),), sandboxes=(sandbox("web", "w1", podNetwork="blue"),)
    )
    assert decide(world).writes == ()


def test_who_is_being_deleted_is_not_placed() -> None:
    world = World(
        nodes=(node("w1"),),
        sandboxes=(sandbox("web", metadata={"deletionTimestamp": NOW}), sandbox("db")),
    )
    (write,) = decide(world).writes
    assert isinstance(write, PlaceSandbox)
    assert (write.sandbox.id.name, write.node) == ("db", "w1")


@pytest.mark.parametrize(
    ("world", "reason", "words"),
    [
        pytest.param(
            World((network("bare"),), nodes=(node("w1"),)),
            "SubnetRequired",
            "only PodNetwork/default follows the nodes' own ranges",
            id="no subnets",
        ),
        pytest.param(
            World(
                (BLUE,), services=(facts(SERVICES, "kubernetes", spec={"cidrs": ["10.8.0.0/20"]}),)
            ),
            "CIDROverlap",
            "10.8.0.0/16 overlaps 10.8.0.0/20 of ServiceCIDR/kubernetes",
            id="over the Services",
        ),
        pytest.param(
            World((network("blue", "192.168.0.0/16"),), nodes=(node("w1"),)),
            "CIDROverlap",
            "192.168.0.0/16 overlaps 192.168.5.1/32 of node w1",
            id="over a node",
        ),
        pytest.param(
            World((network("default"), network("blue", "10.244.0.0/16")), nodes=(node("w1"),)),
            "CIDROverlap",
            "of node w1, which PodNetwork/default follows",
            id="over the network that follows the nodes",
        ),
        pytest.param(
            World(
                (BLUE,), (share("blue", "w1", "10.8.0.0/24"),), nodes=(node("w1"), node("w2", 2))
            ),
            "Assigning",
            "no share yet for w2",
            id="on its way",
        ),
        pytest.param(
            World((BLUE,), (share("blue", "w1", "10.8.0.0/24"),), nodes=(node("w1"),)),
            "NodesPending",
            "no word yet from the agent of w1",
            id="no word from an agent",
        ),
        pytest.param(
            World(
                (BLUE,), (share("blue", "w1", "10.8.0.0/24", ready="False"),), nodes=(node("w1"),)
            ),
            "NodeNotReady",
            "node w1: is False",
            id="a node that can't",
        ),
        pytest.param(
            World(
                (BLUE,), (share("blue", "w1", "10.8.0.0/24", ready="True"),), nodes=(node("w1"),)
            ),
            "Assigned",
            "1 node has a share",
            id="all is well",
        ),
        pytest.param(
            World((BLUE,), (share("blue", "w1", "10.8.0.0/24"),), nodes=(node("w1", ready=False),)),
            "Assigned",
            "",
            id="a node that is down says nothing",
        ),
    ],
)
def test_a_network_says_how_it_is(world: World, reason: str, words: str) -> None:
    found = said(world)["blue" if "blue" in said(world) else "bare"]
    assert found[0] == reason
    assert words in found[1]


def test_of_two_networks_that_overlap_the_one_with_pods_stays() -> None:
    young = network("young", "10.8.0.0/16", metadata={"creationTimestamp": "2026-01-03T00:00:00Z"})
    world = World((BLUE, young), (share("young", "w1", "10.8.0.0/24"),), nodes=(node("w1"),))
    assert list(decide(world).refused) == ["blue"]


def test_numbers_alone_can_wait_and_tell_nobody() -> None:
    first = World((BLUE,), (share("blue", "w1", "10.8.0.0/24", ready="True"),), nodes=(node("w1"),))
    (report,) = network_reports(first, decide(first), NOW)
    assert not report.only_counts
    assert report.said is not None
    assert (report.said.reason, report.said.warning) == ("Assigned", False)
    settled = network("blue", "10.8.0.0/16", status=report.status)
    used = share("blue", "w1", "10.8.0.0/24", ready="True", addressesUsed=3)
    world = World((settled,), (used,), nodes=(node("w1"),))
    (report,) = network_reports(world, decide(world), "2026-01-03T00:00:00Z")
    assert (report.only_counts, report.said) == (True, None)
    assert (report.status["addressesUsed"], report.status["addressesTotal"]) == (3, 253)
    assert report.status["conditions"][0]["lastTransitionTime"] == NOW
    rested = network("blue", "10.8.0.0/16", status=report.status)
    world = World((rested,), (used,), nodes=(node("w1"),))
    assert list(network_reports(world, decide(world), NOW)) == []


@pytest.mark.parametrize(
    ("used", "reason", "words"),
    [
        pytest.param(0, "NodeGone", "is freed 300 s after it went", id="without pods"),
        pytest.param(2, "HeldForPods", "kubectl delete nodesubnet blue.w1", id="with pods"),
    ],
)
def test_a_share_says_that_its_node_is_gone_and_when_it_is_back(
    used: int, reason: str, words: str
) -> None:
    cidr = "10.8.0.0/24"
    gone = {"w1": 5.0}
    world = World((BLUE,), (share("blue", "w1", cidr, addressesUsed=used),), gone_seconds=gone)
    (report,) = share_reports(world, NOW)
    (condition,) = report.status["conditions"]
    assert (condition["status"], condition["reason"]) == ("False", reason)
    assert words in condition["message"]
    assert report.said is not None and report.said.warning
    told = share("blue", "w1", cidr, addressesUsed=used, conditions=[condition])
    assert list(share_reports(World((BLUE,), (told,), gone_seconds=gone), "later")) == []
    back = World((BLUE,), (told,), nodes=(node("w1"),))
    (report,) = share_reports(back, "2026-01-03T00:00:00Z")
    assert report.status["conditions"][0]["status"] == "True"


def test_nothing_is_said_of_a_node_that_was_always_there() -> None:
    world = World((BLUE,), (share("blue", "w1", "10.8.0.0/24"),), nodes=(node("w1"),))
    assert list(share_reports(world, NOW)) == []


def test_a_sandbox_without_a_place_is_told_once_and_again_when_it_has_one() -> None:
    world = World(sandboxes=(sandbox("web"),))
    (report,) = sandbox_reports(world, decide(world), NOW)
    assert report.status["phase"] == "Pending"
    assert report.said is not None and report.said.warning
    told = sandbox("web", status=report.status)
    world = World(sandboxes=(told,))
    assert list(sandbox_reports(world, decide(world), "later")) == []
    placed = sandbox("web", "w1", status=report.status)
    world = World(sandboxes=(placed,), nodes=(node("w1"),))
    (report,) = sandbox_reports(world, decide(world), NOW)
    assert [(each["type"], each["status"]) for each in report.status["conditions"]] == [
        ("Scheduled", "True")
    ]


def test_a_sandbox_that_was_placed_at_once_is_told_nothing() -> None:
    """It would be a write more for each of them."""
    world = World(sandboxes=(sandbox("web", "w1"),), nodes=(node("w1"),))
    assert list(sandbox_reports(world, decide(world), NOW)) == []


def test_a_node_that_is_gone_is_told_at_its_sandboxes() -> None:
    world = World(sandboxes=(sandbox("web", "w9"),), nodes=(node("w1"),))
    (report,) = sandbox_reports(world, decide(world), NOW)
    assert "phase" not in report.status
    assert report.status["conditions"][0]["reason"] == "NodeGone"
