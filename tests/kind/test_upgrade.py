"""Upgrading podnet under load: agents and operator come and go, traffic and containers go on."""

import secrets
from collections.abc import Iterator

import pytest

from support.cluster import Cluster
from support.cluster_traffic import place, probes
from support.host import until
from support.plane import Body, podnetwork, shares
from support.traffic import Flow, Stream, serve
from support.upgrading import EVENTS

PAUSE = 5000.0
"""Milliseconds that a busy machine may stand still: what is lost counts."""


def shown(name: str, flows: dict[str, Flow]) -> str:
    """A line of what was measured."""
    words = (
        f"{kind}: {flow.sent} sent, {flow.lost} lost, longest gap {flow.longest_gap:.0f} ms"
        f" (sender's own {flow.longest_pause:.0f} ms)"
        for kind, flow in flows.items()
    )
    return f"{name}: {'; '.join(words)}"


def processes(cluster: Cluster, sandbox: Body) -> list[tuple[int, str]]:
    """First processes of its containers: pid as of its status, and when the kernel began it."""
    here = ("--namespace", sandbox["metadata"]["namespace"])
    now = cluster.get("psb", sandbox["metadata"]["name"], *here)
    found = []
    for each in now["status"]["containers"]:
        stat = cluster.node(now["spec"]["nodeName"], "cat", f"/proc/{each['pid']}/stat")
        found.append((each["pid"], stat.rpartition(")")[2].split()[19]))
    return found


def cut(cluster: Cluster) -> dict[str, tuple[str, Body]]:
    """Every share: which object it is, and what it says."""
    items = cluster.get("nodesubnets")["items"]
    return {each["metadata"]["name"]: (each["metadata"]["uid"], each["spec"]) for each in items}


@pytest.fixture
def steady(deployed: Cluster) -> Iterator[str]:
    """A network whose shares are the operator's own choice; those of `default` are the nodes'."""
    name = f"test-{secrets.token_hex(3)}"
    deployed.apply(podnetwork(name, "10.81.0.0/16"))
    until(lambda: len(shares(deployed, name)) == len(deployed.nodes()), "its shares", 40)
    yield name
    deployed.kubectl("delete", "podnetwork", name, "--wait=false")


@pytest.mark.timeout(900)
@pytest.mark.usefixtures("steady")
def test_no_packet_is_lost_and_no_connection_reset(
    deployed: Cluster,
    namespace: str,
    pair: tuple[Body, Body],
    capsys: pytest.CaptureFixture[str],
) -> None:
    """S30. A thousand datagrams a second and a TCP connection, from one node to the other.

    And every share stays the object that it was.
    """
    here, there = pair
    before_all = cut(deployed)
    address = there["status"]["podIPs"][0]["ip"]
    before = [processes(deployed, each) for each in pair]
    lines, flows = [], {}
    try:
        with probes(deployed, namespace, *deployed.workers()), serve(place(there), 8080):
            for name, happens in EVENTS.items():
                with Stream(place(here), address, 8080) as stream:
                    happens(deployed)
                    flows[name] = stream.stop()
                lines.append(shown(name, flows[name]))
    finally:
        with capsys.disabled():
            print("", *lines, sep="\n")
        deployed.deploy()
    for each in flows.values():
        for flow in each.values():
            flow.check(PAUSE)
    assert [processes(deployed, each) for each in pair] == before
    assert cut(deployed) == before_all


def test_the_probe_sees_a_loss(deployed: Cluster, namespace: str, pair: tuple[Body, Body]) -> None:
    """What the test above counts would be counted."""
    here, there = pair
    address = there["status"]["podIPs"][0]["ip"]
    peer = there["status"]["interfaces"][0]["peer"]["name"]
    with (
        probes(deployed, namespace, *deployed.workers()),
        serve(place(there), 8080),
        Stream(place(here), address, 8080) as stream,
    ):
        shut = f"ip link set {peer} down; sleep 0.2; ip link set {peer} up"
        deployed.node(there["spec"]["nodeName"], "bash", "-c", shut)
        assert stream.stop()["udp"].lost > 0
