"""What pods' traffic costs on one node and between two, beside bridges and routes without rules."""

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from bench import caller, contenders
from bench.caller import Pod
from bench.contenders import Contender
from bench.row import Row
from support.host import Host
from support.nodes import Nodes
from support.traffic import Place
from support.wire import Switch

SOURCE = Path(__file__).with_name("traffic.c")
ROUNDS, SECONDS = 30, 0.4
WAYS = {
    "machine": "from pod to pod on one machine, where they ask for each other on the bridge",
    "node": "from pod to pod on a cluster's node, which routes between them",
    "nodes": "from pod to pod between two nodes",
}
NOT_PODNET = {
    "machine": "two veth pairs on a bridge",
    "node": "two veth pairs on a bridge",
    "nodes": "bridges, and a route on each node",
}


@dataclass(frozen=True)
class Way:
    """From one pod to another."""

    client: Place
    server: Place
    address: str


@dataclass
class Cost:
    """Of one way: megabytes for each second of processor time, and seconds of one request."""

    megabytes: list[float] = field(default_factory=list)
    requests: list[float] = field(default_factory=list)


def podnet(stack: ExitStack) -> dict[str, Way]:
    """Pods with all the rules that podnet has."""
    return {"machine": _machine(stack), **_cluster(stack)}


def _machine(stack: ExitStack) -> Way:
    """Two pods that CNI attached."""
    host = stack.enter_context(Host("machine"))
    contenders.start_agent(host)
    with tempfile.TemporaryDirectory() as folder:
        one = Contender(host, caller.build(Path(folder)), contenders.podnet())
        pods = [Pod(1), Pod(2)]
        one.make_namespaces(pods)
        one.add(pods)
    client, server = (Place(host, f"/run/netns/{pod.netns}") for pod in pods)
    return Way(client, server, one.address(pods[1]))


def _cluster(stack: ExitStack) -> dict[str, Way]:
    """Three pods on two nodes."""
    nodes = stack.enter_context(Nodes())
    nodes.api.network("default", "10.1.0.0/16")
    for number, name in enumerate(("a", "b"), start=1):
        nodes.api.share("default", name, f"10.1.{number}.0/24")
        nodes.node(name, number)
    for name, node in ("client", "a"), ("near", "a"), ("far", "b"):
        nodes.sandbox(name, node)
    client = nodes.place("client")
    return {
        way: Way(client, nodes.place(name), nodes.ip(name))
        for way, name in (("node", "near"), ("nodes", "far"))
    }


def raw(stack: ExitStack) -> dict[str, Way]:
    """The same without podnet: what the kernel's own parts cost."""
    switch = Switch(stack.enter_context(Host("outside")))
    places = {}
    for number, pods in (1, ("client", "near")), (2, ("far",)):
        host = stack.enter_context(Host(f"raw{number}"))
        switch.plug(host, number)
        host.sysctl("net/ipv4/ip_forward", 1)
        lines = [
            "link add br0 type bridge",
            f"address add 10.2.{number}.1/24 dev br0",
            "link set br0 up",
            f"route add 10.2.{3 - number}.0/24 via 192.0.2.{3 - number}",
        ]
        for pod in pods:
            lines += [
                f"netns add {pod}",
                f"link add {pod} numtxqueues 1 numrxqueues 1 master br0 up type veth"
                f" peer name eth0 netns {pod} numtxqueues 1 numrxqueues 1",
            ]
            places[pod] = Place(host, f"/run/netns/{pod}")
        host.run(["ip", "-batch", "-"], input="\n".join(lines))
        for last, pod in enumerate(pods, start=2):
            inside = f"address add 10.2.{number}.{last}/24 dev eth0\nlink set eth0 up\n"
            inside += f"route add default via 10.2.{number}.1\n"
            host.run(["ip", "-netns", pod, "-batch", "-"], input=inside)
    near = Way(places["client"], places["near"], "10.2.1.3")
    return {
        "machine": near,
        "node": near,
        "nodes": Way(places["client"], places["far"], "10.2.2.2"),
    }


def measure(rounds: int | None) -> Iterator[Row]:
    """In turns; who begins alternates. A round before that counts for nothing."""
    with ExitStack() as stack:
        program = Path(stack.enter_context(tempfile.TemporaryDirectory()), "traffic")
        subprocess.run(["gcc", "-O2", "-Wall", "-pthread", "-o", program, SOURCE], check=True)
        both = [podnet(stack), raw(stack)]
        costs = {way: (Cost(), Cost()) for way in WAYS}
        for turn in range((rounds or ROUNDS) + 1):
            for way in WAYS:
                for side in (0, 1) if turn % 2 else (1, 0):
                    cost = costs[way][side] if turn else Cost()
                    _send(program, both[side][way], cost)
            if turn % 10 == 0:
                print(f"  {turn} rounds", file=sys.stderr)
    for way, what in WAYS.items():
        ours, peer = costs[way]
        yield Row(
            name=f"cni-{way}-bytes",
            what=f"megabytes for each second of processor time, {what}",
            against=f"{NOT_PODNET[way]}, without rules",
            ours=ours.megabytes,
            peer=peer.megabytes,
            goal=0.95,
            worst=0.90,
            unit="MB/s",
            more=True,
        )
        yield Row(
            name=f"cni-{way}-request",
            what=f"one byte there and one back, {what}",
            against=f"{NOT_PODNET[way]}, without rules",
            ours=ours.requests,
            peer=peer.requests,
            goal=1.08,
            worst=1.15,
        )


def _send(program: Path, way: Way, cost: Cost) -> None:
    """The program has its places as descriptors: they lie in the files of two hosts."""
    ends = []
    try:
        for place in (way.client, way.server):
            assert place.netns is not None
            ends.append(os.open(place.host.path(place.netns), os.O_RDONLY))
        argv = [program, *map(str, ends), way.address, str(SECONDS)]
        done = subprocess.run(argv, pass_fds=ends, capture_output=True, text=True, check=True)
    finally:
        for end in ends:
            os.close(end)
    sent, used, request = done.stdout.split()
    cost.megabytes.append(int(sent) / 1e6 / float(used))
    cost.requests.append(int(request) / 1e9)
