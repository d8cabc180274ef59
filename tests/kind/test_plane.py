"""The flat plane: PodSandboxes of all nodes reach each other, and all else, as they should."""

import json
import secrets

import pytest

from support.cluster import BUSYBOX, Cluster
from support.host import until
from support.plane import Body, address, container_address, gone, internal, pair_of

WHO_ASKS = """mkdir -p /tmp/cgi-bin
printf '#!/bin/sh\\necho; echo "$REMOTE_ADDR"\\n' > /tmp/cgi-bin/who
chmod +x /tmp/cgi-bin/who
exec httpd -f -p 8080 -h /tmp"""
"""A server that says whom it sees."""
LINK = ("ip", "-json", "link", "show")


@pytest.fixture
def pair(deployed: Cluster, namespace: str) -> tuple[Body, Body]:
    """A sandbox on each worker, which say at port 8080 whom they see."""
    first, second = pair_of(deployed, namespace, ("sh", "-ec", WHO_ASKS))
    return first, second


def seen_in(answer: str) -> str:
    """The IPv4 address that the server saw; it listens for both families."""
    return answer.split()[-1].strip("[]").removeprefix("::ffff:")


def test_sandboxes_of_two_nodes_see_each_others_addresses(
    deployed: Cluster, pair: tuple[Body, Body]
) -> None:
    for here, there in (pair, reversed(pair)):
        ping = deployed.inside(here, "ping", "-c", "1", "-W", "2", address(there))
        assert "1 packets received" in ping
        ask = ("nc", "-w", "5", address(there), "8080")
        answer = deployed.inside(here, *ask, stdin="GET /cgi-bin/who HTTP/1.0\r\n\r\n")
        assert seen_in(answer) == address(here)


def test_a_sandbox_reaches_services_and_their_names(
    deployed: Cluster, pair: tuple[Body, Body]
) -> None:
    here, _ = pair
    service = deployed.get("service", "kubernetes")["spec"]["clusterIP"]
    deployed.inside(here, "nc", "-w", "5", service, "443")  # fails if nobody answers
    resolver = deployed.get("service", "kube-dns", "--namespace=kube-system")["spec"]["clusterIP"]
    name = "kubernetes.default.svc.cluster.local"
    assert service in deployed.inside(here, "nslookup", "-type=a", name, resolver)


def test_a_sandbox_reaches_every_node(deployed: Cluster, pair: tuple[Body, Body]) -> None:
    here, _ = pair
    for node in deployed.nodes():
        deployed.inside(here, "nc", "-w", "5", internal(node), "10250")  # its kubelet


def test_a_sandbox_reaches_what_is_outside_by_its_nodes_address(
    deployed: Cluster, pair: tuple[Body, Body]
) -> None:
    here, _ = pair
    name = f"podnet-test-{secrets.token_hex(3)}"
    command = ("--rm", f"--name={name}", "--network=kind", BUSYBOX, "sh", "-ec", WHO_ASKS)
    deployed.in_cluster("docker", "run", "--detach", *command)
    try:
        ask = ("nc", "-w", "5", container_address(deployed, name), "8080")

        def answer() -> str:  # it may be starting
            request = "GET /cgi-bin/who HTTP/1.0\r\n\r\n"
            return deployed.inside(here, *ask, stdin=request, check=False)

        seen = seen_in(until(answer, "an answer from outside", 20))
        assert seen == internal(deployed.get(f"node/{here['spec']['nodeName']}"))
    finally:
        deployed.in_cluster("docker", "rm", "--force", name)


def test_the_mtu_is_the_uplinks_and_a_packet_of_that_size_gets_through(
    deployed: Cluster, pair: tuple[Body, Body]
) -> None:
    """S25: the routes between nodes take nothing away."""
    here, there = pair
    (uplink,) = json.loads(deployed.node(here["spec"]["nodeName"], *LINK, "eth0"))
    (interface,) = here["status"]["interfaces"]
    assert interface["mtu"] == uplink["mtu"]
    (inside,) = json.loads(deployed.inside_netns(here, *LINK, interface["name"]))
    assert inside["mtu"] == uplink["mtu"]
    whole = ("-s", str(uplink["mtu"] - 28))  # of an IPv4 and an ICMP header
    ping = deployed.inside(here, "ping", "-c", "1", "-W", "5", *whole, address(there))
    assert "1 packets received" in ping
    fields = deployed.inside_netns(there, "cat", "/proc/net/snmp").split("Ip:")[1:3]
    fields = [each.partition("\n")[0].split() for each in fields]
    statistics = dict(zip(*fields, strict=True))
    assert statistics["ReasmReqds"] == "0"  # it came in one piece


def test_pods_and_sandboxes_reach_each_other(
    deployed: Cluster, namespace: str, pair: tuple[Body, Body]
) -> None:
    here, _ = pair
    inside = ("--namespace", namespace)
    deployed.kubectl(
        "run", "client", *inside, f"--image={BUSYBOX}", "--command", "--", "sleep", "1d"
    )
    deployed.kubectl("wait", *inside, "--for=condition=Ready", "pod/client", "--timeout=120s")
    url = f"http://{address(here)}:8080/cgi-bin/who"
    seen = deployed.kubectl("exec", *inside, "client", "--", "wget", "-q", "-O", "-", url)
    assert seen_in(seen) == deployed.get("pod", "client", *inside)["status"]["podIP"]


def test_all_that_was_made_for_a_sandbox_goes_with_it(
    deployed: Cluster, namespace: str, pair: tuple[Body, Body]
) -> None:
    deployed.kubectl("delete", "psb", "--all", "--namespace", namespace, "--timeout=120s")
    gone(deployed, *pair, seconds=5)
