"""Who gets which address and port, and what is said to those who do not."""

from collections.abc import Iterator
from dataclasses import replace
from ipaddress import ip_address, ip_network
from pathlib import Path

import pytest

from podnet.attachment import PublishedPort
from podnet.errors import Conflict, Retryable
from podnet.network import Network
from podnet_agent import claims
from podnet_agent.claims import QUARANTINE_SECONDS
from podnet_agent.store import Store
from support.values import DUAL, NETWORK, V6, ips, reserve

SMALL = replace(NETWORK, pod_cidrs=(ip_network("10.0.0.0/29"),))  # five pods: .2 to .6


class Clock:
    """Time that passes when told to."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(claims, "time", clock)
    return clock


@pytest.fixture
def store(clock: Clock) -> Iterator[Store]:
    store = Store(":memory:")
    yield store
    store.close()


# Addresses.


def test_addresses_are_given_out_in_turn(store: Store, clock: Clock) -> None:
    """S9: a released address is the last to come again."""
    first, second = reserve(store, SMALL, "a"), reserve(store, SMALL, "b")
    store.release(first.number)
    clock.now += QUARANTINE_SECONDS + 1
    later = [reserve(store, SMALL, name) for name in "cdef"]
    assert [ips(each) for each in (first, second, *later)] == [
        ["10.0.0.2"],
        ["10.0.0.3"],
        ["10.0.0.4"],
        ["10.0.0.5"],
        ["10.0.0.6"],
        ["10.0.0.2"],
    ]


def test_turns_go_on_after_a_restart(tmp_path: Path, clock: Clock) -> None:
    path = str(tmp_path / "store.db")
    store = Store(path)
    for name in "ab":
        reserve(store, SMALL, name)
    store.release(2)
    store.close()
    again = Store(path)
    assert ips(reserve(again, SMALL, "c")) == ["10.0.0.4"]
    again.close()


def test_networks_have_turns_of_their_own(store: Store) -> None:
    other = replace(SMALL, name="blue")
    found = [ips(reserve(store, each, n)) for each, n in ((SMALL, "a"), (other, "b"), (SMALL, "c"))]
    assert found == [["10.0.0.2"], ["10.0.0.2"], ["10.0.0.3"]]
    assert (store.usage("default"), store.usage("blue")) == (2, 1)


@pytest.mark.parametrize(
    ("seconds", "free"),
    [
        pytest.param(0.0, False, id="not at once"),
        pytest.param(QUARANTINE_SECONDS - 1.0, False, id="not a second before"),
        pytest.param(QUARANTINE_SECONDS + 1.0, True, id="but a second after"),
    ],
)
def test_a_released_address_rests(store: Store, clock: Clock, seconds: float, free: bool) -> None:
    """S9"""
    tiny = replace(NETWORK, pod_cidrs=(ip_network("10.0.0.0/30"),))
    store.release(reserve(store, tiny, "a").number)
    clock.now += seconds
    if free:
        assert ips(reserve(store, tiny, "b")) == ["10.0.0.2"]
    else:
        with pytest.raises(Retryable, match="no free address"):
            reserve(store, tiny, "b")
        assert store.records() == ()


def test_an_address_that_is_asked_for_need_not_rest(store: Store) -> None:
    """It comes with the MAC it had, so that nobody's cache is wrong."""
    first = reserve(store, SMALL, "a", addresses=(ip_address("10.0.0.5"),))
    store.release(first.number)
    again = reserve(store, SMALL, "b", addresses=(ip_address("10.0.0.5"),))
    assert (ips(again), again.mac) == (["10.0.0.5"], first.mac)


def test_a_sandbox_made_anew_has_its_address_again(store: Store) -> None:
    """Of an exhausted network as well; another sandbox would have to wait."""
    made = [reserve(store, SMALL, name) for name in "abcde"]
    store.release(made[1].number)
    with pytest.raises(Retryable, match="no free address"):
        reserve(store, SMALL, "f")
    assert ips(reserve(store, SMALL, "b")) == ips(made[1])
    store.release(made[2].number)
    fixed = (ip_address(ips(made[2])[0]),)
    assert ips(reserve(store, SMALL, "c", addresses=fixed)) == ips(made[2])


def test_an_exhausted_network_says_so_and_recovers(store: Store, clock: Clock) -> None:
    """S8"""
    made = [reserve(store, SMALL, name) for name in "abcde"]
    assert len({ips(each)[0] for each in made}) == 5
    with pytest.raises(Retryable) as error:
        reserve(store, SMALL, "f")
    assert str(error.value) == (
        "PodSandbox/default/f: PodNetwork/default has no free address in 10.0.0.0/29: delete"
        " sandboxes (an address rests 30 s) or use another network"
    )
    assert len(store.records()) == 5 and store.usage("default") == 5
    store.release(made[3].number)
    with pytest.raises(Retryable):  # it rests: nobody could be served yet
        store.refuse_full(SMALL)
    clock.now += QUARANTINE_SECONDS + 1
    store.refuse_full(SMALL)
    assert ips(reserve(store, SMALL, "f")) == ips(made[3])


def test_a_wide_range_is_gone_through_once_and_no_further(store: Store) -> None:
    """65 533 candidates, all but the last taken: the one that is free is found."""
    numbers = ((b"default", n.to_bytes(16, "big"), 0) for n in range(2, 65534))
    store._db._connection.executemany(
        "INSERT INTO address VALUES (?, ?, ?, NULL, NULL)",
        ((name.decode(), host, number) for name, host, number in numbers),
    )
    assert ips(reserve(store, NETWORK, "last")) == ["172.17.255.254"]
    with pytest.raises(Retryable, match="no free address"):
        reserve(store, NETWORK, "none")


def test_one_that_comes_and_goes_costs_the_same_among_thousands(store: Store) -> None:
    """Whether they are attached or their addresses rest, where pods come and go fast."""
    ticks = 0

    def tick() -> int:
        nonlocal ticks
        ticks += 1
        return 0

    def steps(name: str) -> int:
        """What SQLite does for one, in its virtual machine's steps."""
        nonlocal ticks
        ticks = 0
        store._db._connection.set_progress_handler(tick, 1)
        made = reserve(store, NETWORK, name)
        store.complete(made.number)
        store.abandon(made.number)
        store.release(made.number)
        store._db._connection.set_progress_handler(None, 1)
        return ticks

    steps("first")
    alone = steps("alone")
    for number in range(4000):
        made = reserve(store, NETWORK, f"s{number}")
        if number % 2:
            store.release(made.number)
    assert steps("among") < 1.2 * alone


def test_a_network_without_room_for_a_pod_has_no_free_address(store: Store) -> None:
    with pytest.raises(Retryable, match="no free address"):
        reserve(store, replace(NETWORK, pod_cidrs=(ip_network("10.0.0.0/32"),)), "a")


def test_both_families_share_one_number_and_so_one_mac(store: Store) -> None:
    made = [reserve(store, DUAL, name) for name in "ab"]
    assert [ips(each) for each in made] == [
        ["172.17.0.2", "fd00:17::2"],
        ["172.17.0.3", "fd00:17::3"],
    ]
    assert [each.mac for each in made] == ["02:42:ac:11:00:02", "02:42:ac:11:00:03"]


def test_ipv6_alone_has_more_numbers_than_can_be_listed(store: Store) -> None:
    network = replace(NETWORK, subnets=(V6,), pod_cidrs=(V6,))
    far = ("fd00:17::ffff:ffff:ffff:fffe", "fd00:17::ffff:ffff:ffff:ffff")
    assert ips(reserve(store, network, "a")) == ["fd00:17::2"]
    for text in far:
        assert ips(reserve(store, network, text, addresses=(ip_address(text),))) == [text]
    with pytest.raises(Conflict, match=f"{far[0]} is taken by PodSandbox/default/{far[0]}"):
        reserve(store, network, "b", addresses=(ip_address(far[0]),))
    assert ips(reserve(store, network, "b")) == ["fd00:17::3"]


@pytest.mark.parametrize(
    ("network", "fixed", "words"),
    [
        (NETWORK, "10.0.0.1", "lies outside PodNetwork/default, whose range is 172.17.0.0/16"),
        (NETWORK, "fd00:17::2", "PodNetwork/default has no IPv6 subnet"),
        (NETWORK, "172.17.0.0", "is the network address of 172.17.0.0/16: choose another"),
        (NETWORK, "172.17.0.1", "is the gateway of PodNetwork/default, on the bridge"),
        (NETWORK, "172.17.255.255", "is the broadcast address of 172.17.0.0/16"),
        (DUAL, "fd00:17::", "is the network address of fd00:17::/64"),
        (DUAL, "fd00:17::1", "is the gateway of PodNetwork/default"),
        (NETWORK, "172.17.0.2", "is taken by PodSandbox/default/first"),
        (DUAL, "fd00:17::2", "is taken by PodSandbox/default/first (host number 2 of"),
    ],
)
def test_a_fixed_address_is_refused(store: Store, network: Network, fixed: str, words: str) -> None:
    """S12"""
    reserve(store, DUAL, "first")
    before = store.records()
    with pytest.raises(Conflict) as error:
        reserve(store, network, "second", addresses=(ip_address(fixed),))
    assert str(error.value).startswith(
        f"PodSandbox/default/second spec.network.addresses: {fixed} "
    ) or str(error.value).startswith(f"PodSandbox/default/second spec.network.addresses: {fixed}:")
    assert words in str(error.value)
    assert store.records() == before and store.usage("default") == 1


@pytest.mark.parametrize(
    ("fixed", "given"),
    [
        pytest.param([], ["172.17.0.2", "fd00:17::2"], id="none: both chosen"),
        pytest.param(["172.17.0.9"], ["172.17.0.9", "fd00:17::9"], id="IPv4: IPv6 follows"),
        pytest.param(["fd00:17::a"], ["172.17.0.10", "fd00:17::a"], id="IPv6: IPv4 follows"),
        pytest.param(["fd00:17::7", "172.17.0.9"], ["172.17.0.9", "fd00:17::7"], id="both"),
        pytest.param(["172.17.255.254"], ["172.17.255.254", "fd00:17::fffe"], id="the last"),
    ],
)
def test_a_fixed_address_brings(store: Store, fixed: list[str], given: list[str]) -> None:
    made = reserve(store, DUAL, "a", addresses=tuple(ip_address(text) for text in fixed))
    assert ips(made) == given
    assert store.usage("default") == max(1, len(fixed))


@pytest.mark.parametrize(
    ("fixed", "other"),
    [
        pytest.param("fd00:17::1:0:0:1", "172.17.0.9", id="beyond the range"),
        pytest.param("fd00:17::ffff", "172.17.0.9", id="the broadcast address"),
    ],
)
def test_an_address_without_a_twin_comes_with_another(store: Store, fixed: str, other: str) -> None:
    """One number serves both families: where IPv4 has no such number, one must be given."""
    with pytest.raises(Conflict, match=f"{fixed} has no IPv4 address .*: give an IPv4 address too"):
        reserve(store, DUAL, "a", addresses=(ip_address(fixed),))
    assert store.records() == () and store.usage("default") == 0
    both = (ip_address(fixed), ip_address(other))
    assert ips(reserve(store, DUAL, "a", addresses=both)) == [other, fixed]


# Ports.


def port(text: str) -> PublishedPort:
    """`80`, `80/udp` or `192.0.2.1:80/udp`."""
    rest, _, protocol = text.partition("/")
    host_ip, _, number = rest.rpartition("@")
    return PublishedPort(
        int(number), 80, "udp" if protocol else "tcp", ip_address(host_ip) if host_ip else None
    )


@pytest.mark.parametrize(
    ("held", "asked", "free"),
    [
        ("80", "80", False),
        ("80", "81", True),
        ("80", "80/udp", True),
        ("80", "192.0.2.1@80", False),
        ("192.0.2.1@80", "80", False),
        ("192.0.2.1@80", "192.0.2.1@80", False),
        ("192.0.2.1@80", "192.0.2.2@80", True),
        ("192.0.2.1@80", "192.0.2.1@80/udp", True),
        ("2001:db8::1@80", "192.0.2.1@80", True),
        ("2001:db8::1@80", "80", False),
    ],
)
def test_a_port_is_given_out_once(store: Store, held: str, asked: str, free: bool) -> None:
    """S16: the same port on two addresses, or of two protocols, is two ports."""
    first = reserve(store, NETWORK, "first", ports=(port(held),))
    if free:
        reserve(store, NETWORK, "second", ports=(port(asked),))
        return
    with pytest.raises(Conflict) as error:
        reserve(store, NETWORK, "second", ports=(port(asked),))
    assert str(error.value) == (
        "PodSandbox/default/second spec.network.ports: host port 80/tcp is published by"
        " PodSandbox/default/first already: choose another hostPort or hostIP"
    )
    assert len(store.records()) == 1 and store.usage("default") == 1
    store.release(first.number)
    reserve(store, NETWORK, "second", ports=(port(asked),))


def test_one_sandbox_cannot_publish_a_port_twice(store: Store) -> None:
    with pytest.raises(Conflict, match="published by PodSandbox/default/a already"):
        reserve(store, NETWORK, "a", ports=(port("80"), port("192.0.2.1@80")))
    assert store.records() == () and store.usage("default") == 0
    reserve(store, NETWORK, "a", ports=(port("80"), port("80/udp")))
