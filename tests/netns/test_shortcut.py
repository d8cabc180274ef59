"""The shortcut: which packets meet no rule any more, and who must go on meeting them."""

import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest

from podnet.shortcut import ON_BRIDGE, ON_UPLINK
from support.host import until
from support.nodes import Node, Nodes
from support.traffic import Place, Stream, blocked, reach, serve, tcp

AGENT = Path(sys.executable).with_name("podnet-agent")
SERVICE, SERVICE_PORT = "10.96.0.10", 80
PAUSE = 1000.0
"""Milliseconds that a busy machine may stand still."""
SYN, ACK = 0x02, 0x10
HANDSHAKE = 4
"""Packets of a connection that rules may meet: SYN, SYN-ACK, and each sent again."""
LISTING = """
import sys
from podnet_agent.shortcuts import Shortcuts
for (kind, _, name), seen in Shortcuts().listing().items():
    if kind == sys.argv[1]:
        print(name, getattr(seen.what, sys.argv[2]))
"""
BOTH = {"podnet0": ON_BRIDGE, "eth0": ON_UPLINK}

SAME_PORT = """
import socket, sys
def asked(address, port):
    one = socket.socket()
    one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    one.bind(("", 40000))
    one.settimeout(5)
    one.connect((address, port))
    return one
def says(one):
    one.sendall(b"?x" + bytes([10]))
    line = one.recv(4096)
    assert line, "closed"
targets = [word.rsplit(":", 1) for word in sys.argv[1:]]
open_ = []
for address, port in targets:
    open_.append(asked(address, int(port)))
    for one in open_:
        says(one)
for one in open_:
    says(one)
"""
"""Ask each target from one and the same port; all connections stay open and go on."""

SEND_RAW = """
import socket, struct, sys
source, destination, sport, dport, flags = sys.argv[1], sys.argv[2], *map(int, sys.argv[3:])
segment = struct.pack("!HHIIBBHHH", sport, dport, 1, 1, 5 << 4, flags, 512, 0, 0)
addresses = socket.inet_aton(source) + socket.inet_aton(destination)
words = struct.unpack("!16H", addresses + struct.pack("!BBH", 0, 6, len(segment)) + segment)
total = sum(words)
total = (total >> 16) + (total & 0xFFFF)
checksum = ~(total + (total >> 16)) & 0xFFFF
segment = segment[:16] + struct.pack("!H", checksum) + segment[18:]
header = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20 + len(segment), 1, 0, 77, 6, 0,
                     socket.inet_aton(source), socket.inet_aton(destination))
raw = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)
raw.sendto(header + segment, (destination, 0))
"""
"""One TCP segment with a time to live of 77, in whoever's name."""


LARGE = """
import socket, sys
one = socket.create_connection((sys.argv[1], 80), timeout=5)
one.settimeout(5)
for _ in range(20):
    one.sendall(b"x" * 40000 + bytes([10]))
    left = 40001
    while left:
        piece = one.recv(65536)
        assert piece, "closed"
        left -= len(piece)
"""
"""Lines that fill every packet, there and back."""


@pytest.fixture(scope="module")
def cluster() -> Iterator[Nodes]:
    """Sandboxes web, near and blue (of another network) on node a, far on b; web publishes 8080.

    SERVICE is web, as kube-proxy would have it.
    """
    with Nodes() as cluster:
        api = cluster.api
        api.network("default", "10.1.0.0/16", "fd01::/48")
        api.network("other", "10.2.0.0/16")
        for number, node in enumerate("ab", start=1):
            api.share("default", node, f"10.1.{number}.0/24", f"fd01:0:0:{number}::/64")
            api.share("other", node, f"10.2.{number}.0/24")
            cluster.node(node, number)
        ports = [{"hostPort": 8080, "containerPort": 80, "protocol": "TCP"}]
        cluster.sandbox("web", "a", {"ports": ports})
        for name, node, network in (
            ("near", "a", "default"),
            ("far", "b", "default"),
            ("blue", "a", "other"),
        ):
            cluster.sandbox(name, node, network)
        translate = f"ip daddr {SERVICE} tcp dport {SERVICE_PORT} dnat to {cluster.ip('web')}:80"
        for node in cluster.nodes.values():
            hook = "type nat hook prerouting priority dstnat"
            node.host.run(["nft", f"table ip service {{ chain pre {{ {hook}; {translate}; }}; }}"])
        with serve(cluster.place("web"), 80, name="web"):
            yield cluster


@pytest.fixture(autouse=True)
def attached(cluster: Nodes) -> None:
    for node in cluster.nodes.values():
        until(lambda node=node: BOTH.items() <= shortcuts(node).items(), "the shortcuts")


def shortcuts(node: Node) -> dict[str, str]:
    """Version by interface."""
    return listing(node, "shortcut", "version")


def endpoints(node: Node) -> dict[str, str]:
    """Host end by address."""
    return listing(node, "endpoint", "host_end")


def listing(node: Node, kind: str, what: str) -> dict[str, str]:
    found = node.host.run([sys.executable, "-c", LISTING, kind, what]).stdout
    return dict(line.split(maxsplit=1) for line in found.splitlines())  # type: ignore[misc]


@contextmanager
def counting(place: Place, match: str, hook: str) -> Iterator[Callable[[], int]]:
    """How many packets have met a rule of somebody else's table there."""

    def met() -> int:
        (found,) = place.host.nft_json("list", "counter", "inet", "watch", "met", netns=place.netns)
        packets: int = found["counter"]["packets"]
        return packets

    table = "table inet watch"
    rules = f"{{ counter met {{}}; chain one {{ type filter hook {hook} priority 0; {match}"
    place.host.run(["nft", f"{table} {rules} counter name met; }}; }}"], netns=place.netns)
    try:
        yield met
    finally:
        place.host.run(["nft", f"delete {table}"], netns=place.netns)


def forwarded(node: Node) -> AbstractContextManager[Callable[[], int]]:
    """TCP packets that a rule of the node's is asked about."""
    return counting(Place(node.host), "meta l4proto tcp", "forward")


def arrived(
    place: Place, match: str = "meta l4proto tcp"
) -> AbstractContextManager[Callable[[], int]]:
    """TCP packets that a sandbox was sent."""
    return counting(place, match, "input")


def python(place: Place, code: str, *argv: object) -> None:
    place.host.python(code, *map(str, argv), netns=place.netns)


def look(node: Node) -> None:
    """Have the agent look at its node."""
    node.host.run(["nft", "delete element inet podnet pn_bridges { podnet0 }"])


def port_of(place: Place) -> str:
    """The client's, of the one connection that it has."""
    said = place.host.run(["ss", "-Htn", "state", "established"], netns=place.netns).stdout
    (line,) = said.splitlines()
    return line.split()[2].rpartition(":")[2]


# --- what goes past the rules ---


@pytest.mark.parametrize("family", [0, 1], ids=["IPv4", "IPv6"])
@pytest.mark.parametrize(
    ("name", "node"), [("near", "a"), ("far", "a"), ("far", "b")], ids=["near", "far", "far, there"]
)
def test_a_begun_connection_meets_no_rule(
    cluster: Nodes, name: str, node: str, family: int
) -> None:
    web = cluster.place("web")
    address = cluster.ip("web", family)
    with (
        forwarded(cluster.nodes[node]) as met,
        arrived(web) as came,
        Stream(cluster.place(name), address, 80) as stream,
    ):
        until(lambda: came() > 3 * HANDSHAKE, "some packets")
        assert 0 < met() <= HANDSHAKE
        stream.stop()["tcp"].check(PAUSE)


def test_it_would_meet_rules_without(cluster: Nodes) -> None:
    """The counter counts."""
    a, web = cluster.nodes["a"], cluster.place("web")
    with forwarded(a) as met, Stream(cluster.place("near"), cluster.ip("web"), 80) as stream:
        a.host.run([AGENT, "shortcut", "--remove", "podnet0"])
        until(lambda: met() > 3 * HANDSHAKE, "packets that meet a rule")
        stream.stop()["tcp"].check(PAUSE)
    assert web.host is a.host
    a.host.run([AGENT, "shortcut", "--neighbours", "podnet0"])


def test_what_others_refuse_to_begin_does_not_begin(cluster: Nodes) -> None:
    """A firewall beside ours, of networking policies for instance."""
    a, near = cluster.nodes["a"], cluster.place("near")
    a.host.run(
        [
            "nft",
            "table inet others { chain one { type filter hook forward priority 0;"
            f" ip saddr {cluster.ip('near')} tcp dport 80 drop; }}; }}",
        ]
    )
    try:
        blocked(near, tcp(cluster.ip("web"), 80), beside=tcp(cluster.ip("web", 1), 80))
    finally:
        a.host.run(["nft", "delete table inet others"])
    reach(near, tcp(cluster.ip("web"), 80))


# --- what must be translated ---


@pytest.mark.parametrize("name", ["near", "far"])
def test_a_service_and_its_pod_are_asked_from_one_port(cluster: Nodes, name: str) -> None:
    """S16: of connections that differ in the address asked alone, each gets its own answers.

    One after the other, in every order, and side by side: where both would be the same to the
    server, the node gives one of them another port.
    """
    place, web, a = cluster.place(name), f"{cluster.ip('web')}:80", cluster.nodes["a"].address
    service = f"{SERVICE}:{SERVICE_PORT}"
    for targets in ([web], [service], [web], [f"{a}:8080"], [service, web], [web, service]):
        python(place, SAME_PORT, *targets)
    assert reach(place, tcp(SERVICE, SERVICE_PORT)).peer == cluster.ip(name)


# --- who may send in whose name ---


def test_nobody_behind_another_bridge_sends_into_a_begun_connection(cluster: Nodes) -> None:
    """S41: a sandbox of another network in the name of one that has a connection."""
    web, near, blue = (cluster.place(name) for name in ("web", "near", "blue"))
    with Stream(near, cluster.ip("web"), 80) as stream:
        words = (cluster.ip("near"), cluster.ip("web"), port_of(near), 80, ACK)
        with arrived(web, "ip ttl 77") as came:
            python(near, SEND_RAW, *words)
            until(lambda: came() == 1, "its own to arrive")
            python(blue, SEND_RAW, *words)
            python(near, SEND_RAW, *words)
            until(lambda: came() == 2, "its second to arrive")
        stream.stop()["tcp"].check(PAUSE)


def test_no_forged_answer_takes_a_connection_off(cluster: Nodes) -> None:
    """A SYN-ACK from behind another bridge begins nothing and ends nothing."""
    near, blue, a = cluster.place("near"), cluster.place("blue"), cluster.nodes["a"]
    with forwarded(a) as met, Stream(near, cluster.ip("web"), 80) as stream:
        port = port_of(near)
        python(blue, SEND_RAW, cluster.ip("web"), cluster.ip("near"), 80, port, SYN | ACK)
        with arrived(cluster.place("web")) as came:
            until(lambda: came() > 3 * HANDSHAKE, "some packets")
        assert met() <= HANDSHAKE
        stream.stop()["tcp"].check(PAUSE)


# --- that it stays ---


def test_a_begun_connection_outlives_the_agent_and_another_program(cluster: Nodes) -> None:
    """A new release's program takes the old one's connections over."""
    a, web = cluster.nodes["a"], cluster.place("web")
    with forwarded(a) as met, Stream(cluster.place("near"), cluster.ip("web"), 80) as stream:
        a.restart()
        a.host.run([AGENT, "shortcut", "--neighbours", "podnet0"])
        with arrived(web) as came:
            until(lambda: came() > 3 * HANDSHAKE, "some packets")
        assert met() <= HANDSHAKE
        stream.stop()["tcp"].check(PAUSE)


def test_what_is_missing_or_old_is_put_right(cluster: Nodes) -> None:
    a = cluster.nodes["a"]
    a.host.run([AGENT, "shortcut", "--remove", "podnet0"])
    a.host.run([AGENT, "shortcut", "--neighbours", "eth0"])
    look(a)
    until(lambda: BOTH.items() <= shortcuts(a).items(), "both as they should be")


def test_endpoints_are_of_the_pods_that_are_there_and_put_right(cluster: Nodes) -> None:
    a, web = cluster.nodes["a"], cluster.ip("web")
    right = endpoints(a)
    assert set(right) == {
        each["ip"]
        for name in ("web", "near", "blue")
        for each in cluster.api.status("PodSandbox", name)["podIPs"]
    }
    another = cluster.sandbox("another", "a")
    both = {each["ip"] for each in cluster.api.status("PodSandbox", "another")["podIPs"]}
    assert set(endpoints(a)) == set(right) | both and another in both
    cluster.delete("another")
    assert endpoints(a) == right
    a.host.run([AGENT, "endpoint", web, right[cluster.ip("near")]])
    a.host.run([AGENT, "endpoint", "10.1.1.77", right[web]])
    a.host.run([AGENT, "endpoint", "--remove", cluster.ip("web", 1)])
    look(a)
    until(lambda: endpoints(a) == right, "them to be put right")


@pytest.mark.parametrize("name", ["near", "far"])
def test_a_pod_without_an_endpoint_is_reached_by_the_routing_table(
    cluster: Nodes, name: str
) -> None:
    a, web = cluster.nodes["a"], cluster.ip("web")
    host_end = endpoints(a)[web]
    with forwarded(a) as met, Stream(cluster.place(name), web, 80) as stream:
        with arrived(cluster.place("web")) as came:
            until(lambda: came() > 3 * HANDSHAKE, "some packets")
            a.host.run([AGENT, "endpoint", "--remove", web])
            before = came()
            until(lambda: came() > before + 3 * HANDSHAKE, "packets by the bridge")
        assert met() <= HANDSHAKE
        stream.stop()["tcp"].check(PAUSE)
    a.host.run([AGENT, "endpoint", web, host_end])


def test_large_packets_on_a_narrow_way_are_left_to_the_stack(cluster: Nodes) -> None:
    """It tells the sender; a program would only lose them."""
    far, web, eth0 = cluster.place("far"), cluster.place("web"), cluster.nodes["a"].host
    eth0.run(["ip", "link", "set", "eth0", "mtu", "1400"])
    try:
        python(far, LARGE, cluster.ip("web"))
        assert web.netns
    finally:
        eth0.run(["ip", "link", "set", "eth0", "mtu", "1500"])


def test_nothing_is_left_when_podnet_goes() -> None:
    with Nodes() as cluster:
        cluster.api.network("default", "10.1.0.0/16")
        cluster.api.share("default", "a", "10.1.1.0/24")
        a = cluster.node("a", 1)
        cluster.api.wait_ready("NodeSubnet", "default.a")
        assert shortcuts(a) == BOTH
        cluster.api.delete_podnet()
        a.stop()
        assert shortcuts(a) == {}


def test_where_bridged_frames_pass_nft_there_is_none() -> None:
    """What enters by the bridge is translated already there."""
    with Nodes() as cluster:
        cluster.api.network("default", "10.1.0.0/16")
        cluster.api.share("default", "a", "10.1.1.0/24")
        a = cluster.node("a", 1, bridge_nf=True)
        cluster.api.wait_ready("NodeSubnet", "default.a")
        assert shortcuts(a) == {}
