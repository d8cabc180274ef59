"""Which addresses a range has, in which order they are tried, what follows from one."""

from ipaddress import ip_address, ip_interface, ip_network
from itertools import islice, pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from podnet.addresses import (
    DEFAULT_POOLS,
    at,
    bridge_name,
    candidates,
    free_pool,
    gateway,
    host_numbers,
    mac_for,
)

V4 = ip_network("10.1.2.0/24")
V6 = ip_network("fd00:1:2::/64")


def test_default_pools_are_dockers_in_dockers_order() -> None:
    texts = [str(pool) for pool in DEFAULT_POOLS]
    assert texts[:4] == ["172.17.0.0/16", "172.18.0.0/16", "172.19.0.0/16", "172.20.0.0/16"]
    assert texts[14:17] == ["172.31.0.0/16", "192.168.0.0/20", "192.168.16.0/20"]
    assert texts[-1] == "192.168.240.0/20"
    assert len(texts) == 31
    assert not any(a.overlaps(b) for a, b in pairwise(DEFAULT_POOLS))


@pytest.mark.parametrize(
    ("taken", "pool"),
    [
        pytest.param([], "172.17.0.0/16", id="the first where nothing is taken"),
        pytest.param(["172.17.0.0/16"], "172.18.0.0/16", id="the next where the first is"),
        pytest.param(["172.17.9.8/32"], "172.18.0.0/16", id="not the first where a host of it is"),
        pytest.param(["172.16.0.0/12"], "192.168.0.0/20", id="none of those a wide route covers"),
        pytest.param(["0.0.0.0/0", "::/0"], "172.17.0.0/16", id="a default route takes nothing"),
        pytest.param(["fd00::/8"], "172.17.0.0/16", id="IPv6 takes nothing"),
        pytest.param(["172.16.0.0/12", "192.168.0.0/16"], None, id="none where all are taken"),
    ],
)
def test_free_pool_is(taken: list[str], pool: str | None) -> None:
    found = free_pool(ip_network(text) for text in taken)
    assert found == (ip_network(pool) if pool else None)


@pytest.mark.parametrize(
    ("cidrs", "first", "last", "count"),
    [
        pytest.param(["10.1.2.0/24"], "10.1.2.2/24", "10.1.2.254/24", 253, id="all but 3 of /24"),
        pytest.param(["10.1.2.0/30"], "10.1.2.2/30", "10.1.2.2/30", 1, id="one of /30"),
        pytest.param(["172.17.0.0/16"], "172.17.0.2/16", "172.17.255.254/16", 65533, id="/16"),
        pytest.param(["fd00::/126"], "fd00::2/126", "fd00::3/126", 2, id="IPv6 has no broadcast"),
        pytest.param(["10.1.2.0/29", "fd00::/64"], "10.1.2.2/29", "10.1.2.6/29", 5, id="dual"),
    ],
)
def test_pods_have(cidrs: list[str], first: str, last: str, count: int) -> None:
    networks = [ip_network(cidr) for cidr in cidrs]
    numbers = host_numbers(networks)
    assert (len(numbers), str(at(networks[0], numbers[0])), str(at(networks[0], numbers[-1]))) == (
        count,
        first,
        last,
    )


@pytest.mark.parametrize("cidr", ["10.1.2.0/31", "10.1.2.0/32", "fd00::/127", "fd00::/128"])
def test_a_range_without_room_for_a_pod_has_none(cidr: str) -> None:
    assert list(host_numbers([ip_network(cidr)])) == []
    assert list(candidates(host_numbers([ip_network(cidr)]), None)) == []


def test_no_range_has_no_number() -> None:
    assert list(host_numbers([])) == []


@pytest.mark.parametrize(
    ("after", "order"),
    [
        pytest.param(None, [2, 3, 4, 5, 6], id="from the first where none was given out"),
        pytest.param(3, [4, 5, 6, 2, 3], id="behind the last, then round"),
        pytest.param(6, [2, 3, 4, 5, 6], id="from the first behind the highest"),
        pytest.param(99, [2, 3, 4, 5, 6], id="from the first where the range has shrunk"),
        pytest.param(0, [2, 3, 4, 5, 6], id="from the first behind the network's own"),
    ],
)
def test_candidates_come(after: int | None, order: list[int]) -> None:
    assert list(candidates(range(2, 7), after)) == order


@given(st.integers(0, 40), st.none() | st.integers(-5, 50))
def test_every_candidate_comes_once(stop: int, after: int | None) -> None:
    numbers = range(2, stop)
    assert sorted(candidates(numbers, after)) == list(numbers)


def test_candidates_are_lazy() -> None:
    numbers = host_numbers([ip_network("fd00::/64")])
    assert list(islice(candidates(numbers, 2**63), 2)) == [2**63 + 1, 2**63 + 2]


@given(st.sampled_from([V4, V6]), st.integers(2, 250))
def test_an_address_has_its_number_and_its_networks_prefix(cidr: object, number: int) -> None:
    network = V4 if cidr is V4 else V6
    interface = at(network, number)
    assert interface == ip_interface(f"{network[number]}/{network.prefixlen}")
    assert interface.network == network


def test_the_gateway_is_the_first_host() -> None:
    assert gateway(V4) == ip_address("10.1.2.1")
    assert gateway(V6) == ip_address("fd00:1:2::1")


@pytest.mark.parametrize(
    ("address", "mac"),
    [
        ("172.17.0.2", "02:42:ac:11:00:02"),
        ("10.1.2.254", "02:42:0a:01:02:fe"),
        ("fd00:1:2::2", "02:42:c6:17:a5:24"),
    ],
)
def test_a_mac_follows_from_the_address(address: str, mac: str) -> None:
    assert mac_for(ip_address(address)) == mac


@given(st.ip_addresses())
def test_every_mac_is_unicast_and_locally_administered(address: object) -> None:
    first = int(mac_for(ip_address(str(address)))[:2], 16)
    assert first & 0b11 == 0b10


def test_a_bridge_is_named_after_its_network() -> None:
    assert bridge_name("default") == "podnet0"
    assert bridge_name("blue") == "pn-16477688c0"
    names = {bridge_name(f"net-{number}") for number in range(1000)}
    assert len(names) == 1000
    assert {len(name) for name in names} == {13}
