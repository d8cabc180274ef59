"""Where a PodSandbox runs."""

import pytest

from podnet.placement import Candidate, Guest, Place, places

READY = [Candidate("w1", ready=True), Candidate("w2", ready=True)]


def guest(name: str, node: str | None = None, joins: str | None = None) -> Guest:
    return Guest(("default", name), node, joins)


def nodes_of(guests: list[Guest], nodes: list[Candidate]) -> dict[str, str | None]:
    return {name[1]: place.node for name, place in places(guests, nodes).items()}


def test_a_sandbox_goes_where_the_fewest_are() -> None:
    guests = [guest("a", "w1"), guest("b", "w1"), guest("c", "w2"), guest("new")]
    assert nodes_of(guests, READY)["new"] == "w2"


def test_many_at_once_are_spread() -> None:
    guests = [guest(f"new{number}") for number in range(10)]
    found = list(nodes_of(guests, READY).values())
    assert (found.count("w1"), found.count("w2")) == (5, 5)


@pytest.mark.parametrize(
    "unfit",
    [
        pytest.param(Candidate("w1", ready=False), id="not ready"),
        pytest.param(Candidate("w1", ready=True, schedulable=False), id="cordoned or tainted"),
    ],
)
def test_a_node_that_takes_nothing_is_left_out(unfit: Candidate) -> None:
    guests = [guest("a", "w2"), guest("new")]
    assert nodes_of(guests, [unfit, READY[1]])["new"] == "w2"


def test_who_has_a_node_keeps_it_ready_or_not() -> None:
    guests = [guest("a", "w1")]
    assert places(guests, [Candidate("w1", ready=False)]) == {("default", "a"): Place("w1")}


def test_who_joins_another_goes_where_that_is() -> None:
    guests = [guest("side", joins="web"), guest("web", "w2"), guest("x", "w2")]
    assert nodes_of(guests, READY)["side"] == "w2"


def test_who_joins_another_goes_along_with_it() -> None:
    """A chain of them, none placed yet, the last one named first."""
    guests = [guest("c", joins="b"), guest("b", joins="a"), guest("a")]
    assert nodes_of(guests, READY) == {"a": "w1", "b": "w1", "c": "w1"}


def test_a_namesake_in_another_namespace_is_not_joined() -> None:
    guests = [guest("side", joins="web"), Guest(("other", "web"), "w2")]
    assert places(guests, READY)["default", "side"].reason == "JoinedMissing"


@pytest.mark.parametrize(
    ("guests", "nodes", "reason", "message"),
    [
        pytest.param(
            [guest("it")],
            [],
            "NoNode",
            "there is no node: uncordon or add a node, or write spec.nodeName",
            id="no node",
        ),
        pytest.param(
            [guest("it")],
            [Candidate("w1", ready=False), Candidate("w2", ready=True, schedulable=False)],
            "NoNode",
            "of 2 nodes 1 are ready, and those take no new sandboxes: uncordon or add a node, or"
            " write spec.nodeName",
            id="no fit node",
        ),
        pytest.param(
            [guest("it", "w9")],
            READY,
            "NodeGone",
            "node w9 is not there: bring it back, or delete the PodSandbox",
            id="its node is gone",
        ),
        pytest.param(
            [guest("it", joins="web")],
            READY,
            "JoinedMissing",
            "PodSandbox web, which is to be joined, is not there: make it",
            id="nobody to join",
        ),
        pytest.param(
            [guest("it", "w1", joins="web"), guest("web", "w2")],
            READY,
            "JoinedElsewhere",
            "PodSandbox web, which is joined, is on node w2, not on w1: delete this one and leave"
            " spec.nodeName out",
            id="joins one on another node",
        ),
        pytest.param(
            [guest("it", joins="b"), guest("b", joins="it")],
            READY,
            "JoinsItself",
            "joins a sandbox that joins this one: let one of them join another sandbox",
            id="a ring",
        ),
        pytest.param(
            [guest("it", joins="web"), guest("web")],
            [],
            "JoinedUnplaced",
            "PodSandbox web, which is joined, has no node: there is no node: uncordon or add a"
            " node, or write spec.nodeName",
            id="the joined one has no place",
        ),
    ],
)
def test_who_has_no_place_is_told_why(
    guests: list[Guest], nodes: list[Candidate], reason: str, message: str
) -> None:
    place = places(guests, nodes)["default", "it"]
    assert (place.reason, place.message) == (reason, message)
