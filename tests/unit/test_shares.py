"""Who gets which part of a network: never two of one range, and never another one than before."""

from ipaddress import ip_network

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, rule

from podnet.addresses import IPNetwork
from podnet.shares import (
    GONE_SECONDS,
    Assignment,
    Cut,
    Holding,
    Lack,
    Member,
    Share,
    assign,
    is_held,
)


def cidrs(*texts: str) -> tuple[IPNetwork, ...]:
    return tuple(map(ip_network, texts))


BLUE = Cut("blue", cidrs("10.8.0.0/16"), (24,))
DUAL = Cut("blue", cidrs("10.8.0.0/16", "fd00:8::/48"), (24, 64))
SMALL = Cut("blue", cidrs("10.8.0.0/23"), (24,))
LOCAL = Cut("blue", cidrs("10.8.0.0/16"))
FOLLOWS = Cut("default")


def members(*names: str) -> list[Member]:
    return [Member(name) for name in names]


def share(node: str, *texts: str, network: str = "blue") -> Share:
    return Share(network, node, cidrs(*texts))


def held(*shares: Share) -> list[Holding]:
    return [Holding(each) for each in shares]


def said(found: Assignment) -> dict[str, str]:
    """The shares as text, by node."""
    return {each.node: " ".join(map(str, each.pod_cidrs)) for each in found.shares}


def test_each_node_gets_the_next_part() -> None:
    found = assign([BLUE], members("w2", "w1"), [])
    assert said(found) == {"w1": "10.8.0.0/24", "w2": "10.8.1.0/24"}


def test_both_families_have_the_same_number() -> None:
    found = assign([DUAL], members("w1", "w2"), [])
    assert said(found)["w2"] == "10.8.1.0/24 fd00:8:0:1::/64"


def test_what_a_node_has_it_keeps_and_others_get_what_is_free() -> None:
    found = assign([BLUE], members("w1", "w2"), held(share("w2", "10.8.0.0/24")))
    assert said(found) == {"w1": "10.8.1.0/24", "w2": "10.8.0.0/24"}


def test_without_other_nodes_each_has_all() -> None:
    assert said(assign([LOCAL], members("w1", "w2"), [])) == {
        "w1": "10.8.0.0/16",
        "w2": "10.8.0.0/16",
    }


def test_a_network_without_subnets_follows_the_nodes_own_ranges() -> None:
    nodes = [Member("w1", cidrs("10.244.1.0/24", "fd00:244:1::/64")), Member("w2")]
    found = assign([FOLLOWS], nodes, [])
    assert said(found) == {"w1": "10.244.1.0/24 fd00:244:1::/64"}
    assert [(each.node, each.reason) for each in found.lacks] == [("w2", "NoPodCIDRs")]


def test_a_node_that_comes_back_with_another_range_gets_that() -> None:
    """S23: it was deleted, and kube-controller-manager gave it another one."""
    old = held(share("w1", "10.244.1.0/24", network="default"))
    found = assign([FOLLOWS], [Member("w1", cidrs("10.244.7.0/24"))], old)
    assert said(found) == {"w1": "10.244.7.0/24"}


def test_a_node_that_is_gone_makes_way_for_one_that_has_its_range() -> None:
    gone = Holding(share("w1", "10.244.1.0/24", network="default"), 3, gone_seconds=1.0)
    found = assign([FOLLOWS], [Member("w2", cidrs("10.244.1.0/24"))], [gone])
    assert said(found) == {"w2": "10.244.1.0/24"}
    assert found.lacks == ()


def test_two_nodes_of_one_range_are_told() -> None:
    nodes = [Member("w1", cidrs("10.244.1.0/24")), Member("w2", cidrs("10.244.1.0/24"))]
    found = assign([FOLLOWS], nodes, [])
    assert said(found) == {"w1": "10.244.1.0/24"}
    assert [(each.node, each.reason) for each in found.lacks] == [("w2", "PodCIDRsOverlap")]


def test_where_nothing_is_left_a_node_lacks_its_share() -> None:
    found = assign([SMALL], members("w1", "w2", "w3"), [])
    assert list(said(found)) == ["w1", "w2"]
    (lack,) = found.lacks
    assert lack == Lack(
        "blue",
        "w3",
        "SubnetExhausted",
        "10.8.0.0/23 has 2 shares of /24, all of them taken, so node w3 has none: delete"
        " NodeSubnets of nodes that are off for good, or make a PodNetwork with a larger subnet",
    )


@pytest.mark.parametrize(
    ("used", "gone", "stays"),
    [
        pytest.param(0, None, True, id="it is there"),
        pytest.param(0, GONE_SECONDS - 1, True, id="gone for a moment"),
        pytest.param(0, GONE_SECONDS, False, id="gone for good"),
        pytest.param(1, 1e6, True, id="gone with pods that may run"),
    ],
)
def test_a_share_is_held_until_its_node_is_gone_for_good(
    used: int, gone: float | None, stays: bool
) -> None:
    holding = Holding(share("w1", "10.8.0.0/24"), used, gone)
    assert is_held(holding) is stays
    found = assign([BLUE], members("w2"), [holding])
    assert said(found)["w2"] == ("10.8.1.0/24" if stays else "10.8.0.0/24")


@pytest.mark.parametrize(
    "wrong",
    [
        pytest.param(("10.9.0.0/24",), id="of another subnet"),
        pytest.param(("10.8.0.0/25",), id="of another size"),
        pytest.param(("10.8.0.0/24", "fd00:8::/64"), id="of another family as well"),
        pytest.param(("fd00:8::/64",), id="of another family"),
    ],
)
def test_a_share_that_is_none_of_this_network_is_replaced(wrong: tuple[str, ...]) -> None:
    """A network was deleted and made anew with another subnet."""
    assert said(assign([BLUE], members("w1"), held(share("w1", *wrong)))) == {"w1": "10.8.0.0/24"}


def test_of_two_shares_of_one_range_the_older_stays() -> None:
    """S38: two operators wrote at once."""
    both = held(share("w2", "10.8.0.0/24"), share("w1", "10.8.0.0/24"))
    assert said(assign([BLUE], members("w1", "w2"), both)) == {
        "w1": "10.8.1.0/24",
        "w2": "10.8.0.0/24",
    }


def test_what_was_there_until_now_comes_back_where_it_was() -> None:
    """A person deleted NodeSubnets, or the CRD, while pods run."""
    before = [share("w1", "10.8.5.0/24"), share("w2", "10.8.1.0/24"), share("w9", "10.8.0.0/24")]
    found = assign([BLUE], members("w1", "w2", "w3"), [], before)
    assert said(found) == {"w1": "10.8.5.0/24", "w2": "10.8.1.0/24", "w3": "10.8.0.0/24"}


def test_what_was_there_is_not_taken_from_who_has_it_now() -> None:
    found = assign(
        [BLUE],
        members("w1", "w2"),
        held(share("w2", "10.8.5.0/24")),
        [share("w1", "10.8.5.0/24")],
    )
    assert said(found) == {"w1": "10.8.0.0/24", "w2": "10.8.5.0/24"}


def test_a_network_that_may_not_grow_keeps_what_it_has() -> None:
    """S11: it overlaps something; pods that run keep their addresses."""
    cut = Cut(BLUE.network, BLUE.subnets, BLUE.prefix_lengths, grows=False)
    found = assign([cut], members("w1", "w2"), held(share("w2", "10.8.3.0/24")))
    assert (said(found), found.lacks) == ({"w2": "10.8.3.0/24"}, ())


def test_a_network_that_is_gone_has_no_shares() -> None:
    assert assign([], members("w1"), held(share("w1", "10.8.0.0/24"))) == Assignment(())


def test_ranges_of_nodes_may_be_of_any_size_and_overlap_none() -> None:
    nodes = [
        Member("w1", cidrs("10.244.4.0/24")),
        Member("w2", cidrs("10.244.0.0/22")),
        Member("w3", cidrs("10.244.4.128/25")),
        Member("w4", cidrs("10.244.5.0/24", "fd00::/64")),
        Member("w5", cidrs("10.0.0.0/8")),
        Member("w6", cidrs("10.245.0.0/24", "fd00::/60")),
    ]
    found = assign([FOLLOWS], nodes, [])
    assert list(said(found)) == ["w1", "w2", "w4"]
    assert [lack.node for lack in found.lacks] == ["w3", "w5", "w6"]


def test_a_thousand_nodes_of_a_wide_network_take_no_time() -> None:
    wide = Cut("wide", cidrs("fd00::/16"), (126,))
    found = assign([wide], members(*(f"n{number:04}" for number in range(1000))), [])
    assert len({each.pod_cidrs for each in found.shares}) == 1000


class Cluster(RuleBasedStateMachine):
    """Nodes come, go and return, for moments or for good; pods come and go on them."""

    nodes = Bundle("nodes")

    def __init__(self) -> None:
        super().__init__()
        self.present: set[str] = set()
        self.gone: dict[str, float] = {}
        self.used: dict[str, int] = {}
        self.shares: tuple[Share, ...] = ()
        self.lacks: tuple[Lack, ...] = ()
        self.cut = Cut("blue", cidrs("10.8.0.0/22", "fd00:8::/60"), (24, 64))

    @rule(target=nodes, name=st.sampled_from([f"w{number}" for number in range(7)]))
    def comes(self, name: str) -> str:
        self.present.add(name)
        self.gone.pop(name, None)
        self.decide()
        return name

    @rule(name=consumes(nodes))
    def goes(self, name: str) -> None:
        self.present.discard(name)
        self.gone.setdefault(name, 0.0)
        self.decide()

    @rule(name=nodes, pods=st.integers(0, 3))
    def runs(self, name: str, pods: int) -> None:
        self.used[name] = pods
        self.decide()

    @rule(seconds=st.sampled_from([1.0, GONE_SECONDS]))
    def time_passes(self, seconds: float) -> None:
        self.gone = {name: since + seconds for name, since in self.gone.items()}
        self.decide()

    @rule(order=st.randoms(use_true_random=False))
    def is_decided_again(self, order: object) -> None:
        """After a restart: the same from the same objects, in whatever order they are listed."""
        before = self.shares
        self.decide()
        assert self.shares == before

    def decide(self) -> None:
        holdings = [
            Holding(each, self.used.get(each.node, 0), self.gone.get(each.node))
            for each in self.shares
        ]
        before = {each.node: each for each in self.shares}
        found = assign([self.cut], [Member(name) for name in self.present], holdings)
        for each in found.shares:
            assert each.node not in before or before[each.node] == each
        self.shares, self.lacks = found.shares, found.lacks

    @invariant()
    def no_two_overlap(self) -> None:
        ranges = [cidr for each in self.shares for cidr in each.pod_cidrs]
        for number, one in enumerate(ranges):
            for other in ranges[:number]:
                assert one.version != other.version or not one.overlaps(other)

    @invariant()
    def every_node_has_one_or_is_told(self) -> None:
        have = {each.node for each in self.shares}
        lack = {each.node for each in self.lacks}
        assert self.present <= have | lack
        assert not have & lack
        assert not lack or len(have) == 4

    @invariant()
    def nobody_is_kept_for_nothing(self) -> None:
        for each in self.shares:
            gone = self.gone.get(each.node, 0.0)
            assert (
                each.node in self.present or gone < GONE_SECONDS or self.used.get(each.node, 0) > 0
            )


Cluster.TestCase.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
TestCluster = Cluster.TestCase
