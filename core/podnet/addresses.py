"""Addresses: which exist in a range, in which order they are tried, what follows from one.

Choosing is here and pure; claiming is the store's, whose UNIQUE column has the last word.
"""

from collections.abc import Iterable, Iterator
from hashlib import sha256
from ipaddress import (
    IPv4Address,
    IPv4Interface,
    IPv4Network,
    IPv6Address,
    IPv6Interface,
    IPv6Network,
)

IPAddress = IPv4Address | IPv6Address
IPNetwork = IPv4Network | IPv6Network
IPInterface = IPv4Interface | IPv6Interface

FIRST_POD = 2
"""Host number of the first pod: 0 is the network's own address, 1 the bridge's (the gateway)."""


def _pools() -> Iterator[IPv4Network]:
    for second in (17, 18, 19):
        yield IPv4Network(f"172.{second}.0.0/16")
    for wide in ("172.20.0.0/14", "172.24.0.0/14", "172.28.0.0/14"):
        yield from IPv4Network(wide).subnets(new_prefix=16)
    yield from IPv4Network("192.168.0.0/16").subnets(new_prefix=20)


DEFAULT_POOLS: tuple[IPv4Network, ...] = tuple(_pools())
"""Where a network without subnets finds one, in this order: Docker's predefined local pools
(moby, libnetwork/ipamutils/utils.go)."""


def free_pool(taken: Iterable[IPNetwork]) -> IPv4Network | None:
    """The first default pool that overlaps none of `taken` (routes, other networks), if any."""
    others = [network for network in taken if network.version == 4 and network.prefixlen]
    for pool in DEFAULT_POOLS:
        if not any(pool.overlaps(other) for other in others):
            return pool
    return None


def gateway(pod_cidr: IPNetwork) -> IPAddress:
    """The first host address; the bridge carries it."""
    return pod_cidr.network_address + 1


def host_numbers(pod_cidrs: Iterable[IPNetwork]) -> range:
    """The host numbers that every one of the CIDRs has for a pod.

    One number serves both families of a network, so an IPv4 address always comes with the same
    IPv6 address and the same MAC. IPv4 keeps its last address for broadcast.
    """
    ends = [cidr.num_addresses - (1 if cidr.version == 4 else 0) for cidr in pod_cidrs]
    return range(FIRST_POD, min(ends, default=FIRST_POD))


def candidates(numbers: range, after: int | None) -> Iterator[int]:
    """Every host number once, round robin behind `after`. Lazy: nothing taken is ever listed."""
    start = numbers.start if after is None or after + 1 not in numbers else after + 1
    yield from range(start, numbers.stop)
    yield from range(numbers.start, start)


def at(pod_cidr: IPNetwork, number: int) -> IPInterface:
    """The address with that host number, with the CIDR's prefix length."""
    kind = IPv4Interface if pod_cidr.version == 4 else IPv6Interface
    return kind((int(pod_cidr.network_address) + number, pod_cidr.prefixlen))


def mac_for(address: IPAddress) -> str:
    """02:42 and the four bytes of the IPv4 address: Docker's rule up to release 27.

    An IPv6 address has too many bytes: four of its hash serve.
    """
    low = address.packed if address.version == 4 else sha256(address.packed).digest()[:4]
    return "02:42:" + low.hex(":")


def bridge_name(network: str) -> str:
    """`podnet0` for the network `default`; `pn-` and a hash for others (15 bytes at most)."""
    return "podnet0" if network == "default" else f"pn-{sha256(network.encode()).hexdigest()[:10]}"
