"""Published ports are held for their pods, and what was led to a pod that is gone is forgotten."""

import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import ip_address
from pathlib import Path

import pytest
from pyroute2 import NFCTSocket

from podnet.attachment import PublishedPort
from podnet.errors import Conflict, Retryable
from podnet.objects import Netns
from podnet_agent.agent import Agent
from podnet_agent.conntrack import Conntrack
from podnet_agent.namespaces import entered
from podnet_agent.ports import Ports
from podnet_agent.store import Store
from support.host import Host, until
from support.node import Node
from support.traffic import Place, reach, serve, udp
from support.values import DUAL, NETWORK, NODE, request

TAKE = """
import socket, sys, time
kind, address, port, listens = sys.argv[1:]
family = socket.AF_INET6 if ":" in address else socket.AF_INET
taken = socket.socket(family, socket.SOCK_STREAM if kind == "tcp" else socket.SOCK_DGRAM)
taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
if family == socket.AF_INET6:
    taken.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
taken.bind((address, int(port)))
if listens == "yes":
    taken.listen()
print("taken", flush=True)
time.sleep(60)
"""
"""Another program, as most of them do it."""
ASK = """
import socket, sys
asking = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
asking.bind(("", 5555))
asking.settimeout(0.02)
address, port = sys.argv[1], int(sys.argv[2])
for wanted in sys.stdin:
    answer = b""
    while wanted.strip().encode() not in answer:
        try:
            asking.sendto(b"?x", (address, port))
            answer = asking.recv(2048)
        except OSError:
            answer = b"nobody"
    print(wanted.strip(), flush=True)
"""
"""One flow of datagrams, until the server that is named on standard input answers, or nobody."""


@pytest.fixture
def ports(host: Host) -> Iterator[Ports]:
    """Of the host's network namespace, in which the test's thread is meanwhile."""
    with entered(Netns(str(host.netns_path))):
        yield Ports()


@contextmanager
def taken(host: Host, *args: str) -> Iterator[int]:
    """By another program; its process id, as the machine counts. AssertionError if it could not."""
    program = host.popen(
        [sys.executable, "-IS", "-c", TAKE, *args],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        said = program.stdout.readline()
        assert said == "taken\n", program.stderr.read()
        yield program.pid
    finally:
        program.kill()
        program.communicate()


ADDRESSES = ["0.0.0.0", "127.0.0.1", "::", "::1"]


@pytest.mark.parametrize("address", ADDRESSES)
@pytest.mark.parametrize("kind", ["tcp", "udp"])
def test_a_held_port_cannot_be_taken(host: Host, ports: Ports, kind: str, address: str) -> None:
    port = PublishedPort(8080, 80, kind)  # type: ignore[arg-type]
    ports.hold(1, [port])
    with pytest.raises(AssertionError, match="Address already in use"):  # noqa: SIM117
        with taken(host, kind, address, "8080", "yes" if kind == "tcp" else "no"):
            pass
    ports.release(1)
    with taken(host, kind, address, "8080", "yes" if kind == "tcp" else "no"):
        pass


@pytest.mark.parametrize("address", ADDRESSES)
@pytest.mark.parametrize(("kind", "listens"), [("tcp", "yes"), ("tcp", "no"), ("udp", "no")])
def test_a_taken_port_names_its_holder_and_nothing_is_held(
    host: Host, ports: Ports, kind: str, listens: str, address: str
) -> None:
    """S16: the port is already bound on the host."""
    wanted = [PublishedPort(8079, 80), PublishedPort(8080, 80, kind)]  # type: ignore[arg-type]
    with taken(host, kind, address, "8080", listens) as pid:
        holder = f"{Path(f'/proc/{pid}/comm').read_text().strip()} (process {pid})"
        if (kind, listens) == ("tcp", "no"):  # /proc/net/tcp does not have it
            holder = "another process"
        with pytest.raises(Conflict) as caught:
            ports.hold(1, wanted)
        assert str(caught.value) == (
            f"port 8080/{kind} of this machine is taken by {holder}: end that or choose"
            f" another hostPort"
        )
    with taken(host, "tcp", "0.0.0.0", "8079", "yes"):
        pass
    ports.hold(1, wanted)


def test_ports_of_different_addresses_and_protocols_are_different(ports: Ports) -> None:
    """S16: two pods, the same number."""
    one, other = ip_address("127.0.0.1"), ip_address("::1")
    ports.hold(1, [PublishedPort(80, 80, host_ip=one)])
    ports.hold(2, [PublishedPort(80, 80, host_ip=other)])
    ports.hold(3, [PublishedPort(80, 80, "udp")])
    with pytest.raises(Conflict, match="port 80/tcp of this machine is taken by"):
        ports.hold(4, [PublishedPort(80, 80)])
    ports.release(1)
    ports.release(2)
    ports.hold(4, [PublishedPort(80, 80)])


def test_an_address_the_machine_does_not_have_may_still_come(ports: Ports) -> None:
    port = PublishedPort(80, 80, host_ip=ip_address("192.0.2.9"))
    with pytest.raises(Retryable, match=r"no interface .* address 192\.0\.2\.9: add it or choose"):
        ports.hold(1, [port])


def test_connections_of_a_program_that_ended_pass(ports: Ports) -> None:
    """The side that closes first keeps the port for a minute (TIME_WAIT)."""
    with socket.create_server(("127.0.0.1", 8080)) as server:
        client = socket.create_connection(("127.0.0.1", 8080))
        server.accept()[0].close()
        client.recv(1)
        client.close()
    with pytest.raises(Retryable, match="8080/tcp is still in use by connections of a program"):
        ports.hold(1, [PublishedPort(8080, 80)])


def test_holding_twice_and_releasing_what_is_not_held_is_nothing(ports: Ports) -> None:
    ports.hold(1, [PublishedPort(80, 80)])
    ports.hold(1, [PublishedPort(80, 80)])
    ports.release(1)
    ports.release(1)
    ports.release(7)
    ports.hold(2, [PublishedPort(80, 80)])


class Idle:
    """All that a start asks of the kernel where nothing is to be undone."""

    def sweep(self) -> None:
        """Nothing waits."""


def test_a_port_that_was_taken_while_no_agent_ran_does_not_keep_the_next_from_starting(
    host: Host, ports: Ports, caplog: pytest.LogCaptureFixture
) -> None:
    """What it publishes is led to the pod all the same; the holder is told."""
    store = Store(":memory:")
    for name, port in (("web", 8080), ("db", 8081)):
        store.complete(
            store.reserve(NETWORK, request(name, ports=(PublishedPort(port, 80),))).number
        )
    with taken(host, "tcp", "0.0.0.0", "8080", "yes") as pid:
        Agent(store, Idle(), ports, NODE).recover()  # type: ignore[arg-type]
    assert "PodSandbox/default/web: port 8080/tcp of this machine is taken by" in caplog.text
    assert f"(process {pid})" in caplog.text
    with pytest.raises(AssertionError, match="Address already in use"):  # noqa: SIM117
        with taken(host, "tcp", "0.0.0.0", "8081", "yes"):
            pass


# --- flows ---


class Flow:
    """One flow of UDP from a place to a port, with which it goes on all the time."""

    def __init__(self, place: Place, address: str, port: int) -> None:
        self._process = place.host.popen(
            [sys.executable, "-IS", "-c", ASK, address, str(port)],
            netns=place.netns,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def answers(self, name: str) -> None:
        """Return once that server answers, `nobody` where none does."""
        self._process.stdin.write(f"{name}\n")
        self._process.stdin.flush()
        assert self._process.stdout.readline() == f"{name}\n"


@pytest.mark.parametrize("where", ["node", "client"])
def test_a_flow_to_a_published_port_follows_it_to_another_pod(host: Host, where: str) -> None:
    """S16: the pod is replaced while a client sends all the time; S17: nothing stale shadows."""
    node = Node(host)
    node.networks(DUAL)
    node.attach("client", DUAL)
    flow = Flow(
        Place(host, "/run/netns/podnet-client" if where == "client" else None), "172.17.0.1", 53
    )
    flow.answers("nobody")  # the flow is there before the port is published
    for name in ("old", "new"):
        node.attach(name, DUAL, ports=(PublishedPort(53, 5353, "udp"),))
        with serve(Place(host, f"/run/netns/podnet-{name}"), 5353, name=name):
            flow.answers(name)
        node.detach(name)
        flow.answers("nobody")


def test_the_flows_of_others_are_left_alone(host: Host) -> None:
    """To that port of another machine, to another port of the same pod."""
    node = Node(host)
    node.networks(DUAL)
    node.attach("client", DUAL)
    web = PublishedPort(54, 5353, "udp")
    node.attach("web", DUAL, ports=(web,))
    asking = Place(host)
    with (
        serve(Place(host, "/run/netns/podnet-web"), 5353, name="web"),
        entered(Netns(str(host.netns_path))),
    ):
        conntrack = Conntrack()
        for family, address in ((socket.AF_INET, "172.17.0.1"), (socket.AF_INET6, "fd00:17::1")):
            reach(asking, udp(address, 54))
            (flow,) = conntrack.flows(family, {54})
            assert flow.translated
            assert flow.destination == (ip_address(address).packed, 54)
            with NFCTSocket(nfgen_family=family) as theirs:
                found = [entry for entry in theirs.dump() if _destination(entry) == (address, 54)]
            assert len(found) == 1
            assert conntrack.flows(family, {54, 55}) == [flow]
        before = conntrack.flows(socket.AF_INET, {54})
        node.attach("other", DUAL, ports=(PublishedPort(53, 5353, "udp"),))
        node.detach("other")
        assert conntrack.flows(socket.AF_INET, {54}) == before
        node.detach("web")
        until(lambda: not conntrack.flows(socket.AF_INET, {54}), "the flow forgotten")


def _destination(entry: object) -> tuple[str, int]:
    original = entry.get_attr("CTA_TUPLE_ORIG")  # type: ignore[attr-defined]
    addresses, proto = original.get_attr("CTA_TUPLE_IP"), original.get_attr("CTA_TUPLE_PROTO")
    address = addresses.get_attr("CTA_IP_V4_DST") or addresses.get_attr("CTA_IP_V6_DST")
    return address, proto.get_attr("CTA_PROTO_DST_PORT")
