"""What podnet takes over from the machine: uplink, MTU, routes, what its kernel does."""

import shlex
import time
from collections.abc import Callable

import pytest

from podnet.addresses import IPNetwork
from podnet.network import Node as Machine
from podnet.objects import Netns
from podnet_agent import machine
from podnet_agent.namespaces import entered
from support.host import Host
from support.node import Node
from support.values import DUAL
from support.wire import connect


def read(host: Host) -> Machine:
    """What is read of a host."""
    with entered(Netns(str(host.netns_path))):
        return machine.read_node()


def routes(host: Host) -> set[str]:
    """Where the host has routes to."""
    with entered(Netns(str(host.netns_path))):
        found: tuple[IPNetwork, ...] = machine.routes()
    return {str(destination) for destination in found if not destination.is_link_local}


def do(host: Host, *commands: str) -> None:
    """Run commands on a host."""
    for command in commands:
        host.run(shlex.split(command))


def test_a_machine_without_a_default_route_has_no_uplink(host: Host) -> None:
    assert read(host) == Machine(
        uplink=None,
        underlay_mtu=None,
        ipv6=True,
        bridge_netfilter=False,
        accepts_ra=False,
        shortcuts=True,
    )
    assert routes(host) == set()


def test_whether_bridged_frames_pass_the_firewall(make_host: Callable[..., Host]) -> None:
    """S18: br_netfilter on and off."""
    assert read(make_host("with", bridge_nf=True)).bridge_netfilter
    assert not read(make_host("without")).bridge_netfilter


@pytest.mark.parametrize(
    ("commands", "uplink"),
    [
        pytest.param((), ("eth0", 1500), id="one default route"),
        pytest.param(("ip link set eth0 mtu 9000",), ("eth0", 9000), id="large frames"),
        pytest.param(
            ("ip route add default via 198.51.100.2 metric 10",),
            ("eth0", 1500),
            id="a second one with a higher metric",
        ),
        pytest.param(
            (
                "ip route del default",
                "ip route add default via 192.0.2.2 metric 20",
                "ip route add default via 198.51.100.2 metric 10",
            ),
            ("eth1", 1400),
            id="a second one with a lower metric",
        ),
        pytest.param(
            (
                "ip route del default",
                "ip route add default nexthop via 198.51.100.2 nexthop via 192.0.2.2",
            ),
            ("eth1", 1400),
            id="one with two next hops",
        ),
        pytest.param(
            ("ip route del default", "ip route add unreachable default"),
            ("eth0", 1500),
            id="none but IPv6's",
        ),
        pytest.param(
            ("ip route del default", "ip -6 route del default"), (None, None), id="none at all"
        ),
        pytest.param(
            (
                "ip route del default",
                "ip -6 route del default",
                "ip route add default via 192.0.2.2 table 100",
            ),
            (None, None),
            id="one that rules choose",
        ),
    ],
)
def test_the_uplink_is_where_the_default_route_leads(
    make_host: Callable[..., Host], commands: tuple[str, ...], uplink: tuple[str | None, int | None]
) -> None:
    """S25: its MTU is what the pods' follows."""
    host, outside = make_host(), make_host("outside")
    connect(host, outside)
    connect(
        host,
        outside,
        ipv4="198.51.100.0/24",
        ipv6="2001:db8:0:3::/64",
        ifnames=("eth1", "eth1"),
        default=False,
    )
    do(host, "ip link set eth1 mtu 1400", *commands)
    found = read(host)
    assert (found.uplink, found.underlay_mtu) == uplink


@pytest.mark.parametrize(
    ("settings", "accepts"),
    [
        pytest.param({"accept_ra": 1, "forwarding": 0}, True, id="a host as it comes"),
        pytest.param({"accept_ra": 2, "forwarding": 1}, True, id="a router that was told to"),
        pytest.param({"accept_ra": 1, "forwarding": 1}, False, id="a router"),
        pytest.param({"accept_ra": 0, "forwarding": 0}, False, id="another program does it"),
    ],
)
def test_whether_routes_come_from_advertisements(
    make_host: Callable[..., Host], settings: dict[str, int], accepts: bool
) -> None:
    """S27: forwarding ends the kernel's acceptance of routers, unless it is told otherwise."""
    host = make_host()
    connect(host, make_host("outside"))
    for name, value in settings.items():
        host.sysctl(f"net/ipv6/conf/eth0/{name}", value)
    assert read(host).accepts_ra == accepts


def test_a_route_from_an_advertisement_is_not_to_expire(make_host: Callable[..., Host]) -> None:
    """Somebody set accept_ra back to 1 on a node that forwards: it is wanted to be 2."""
    host = make_host()
    connect(host, make_host("outside"))
    do(
        host,
        "sysctl -qw net.ipv6.conf.eth0.forwarding=1 net.ipv6.conf.eth0.accept_ra=1",
        "ip -6 route replace default via 2001:db8:0:2::2 proto ra",
    )
    assert read(host).accepts_ra


def test_routes_are_all_but_the_default_and_our_own(make_host: Callable[..., Host]) -> None:
    """A network's subnet may lie on none of them, but on what it was itself."""
    host = make_host()
    connect(host, make_host("outside"))
    node = Node(host)
    node.networks(DUAL)
    node.attach("web", DUAL)
    do(
        host,
        "ip link add docker0 type bridge",
        "ip link set docker0 up",
        "ip address add 172.18.0.1/16 dev docker0",
        "ip route add 10.8.0.0/16 via 192.0.2.2",
        "ip route add blackhole 10.9.0.0/16",
        "ip route add 10.10.0.0/16 dev eth0 table 100",
    )
    assert routes(host) == {
        "192.0.2.0/24",
        "2001:db8:0:2::/64",
        "172.18.0.0/16",
        "10.8.0.0/16",
        "10.9.0.0/16",
    }


def test_reading_takes_no_time_worth_mentioning(make_host: Callable[..., Host]) -> None:
    """It happens before every reconcile, in the loop; many links do not make it longer."""
    host = make_host()
    connect(host, make_host("outside"))
    lines = [f"link add va{n} up type veth peer name vb{n}\n" for n in range(300)]
    host.run(["ip", "-batch", "-"], input="".join(lines))
    seconds = []
    for _ in range(10):
        start = time.perf_counter()
        assert read(host).uplink == "eth0"
        assert "192.0.2.0/24" in routes(host)
        seconds.append(time.perf_counter() - start)
    assert min(seconds) < 0.002
