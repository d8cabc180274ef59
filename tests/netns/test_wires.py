"""Interfaces given to running sandboxes from outside: `podnet attach` and `detach`."""

from collections.abc import Iterator
from typing import Any

import pytest

from support.bodies import FOREVER, network, sandbox
from support.host import Host, until
from support.podnet import Podnet
from support.traffic import icmp, reach, serve, tcp


@pytest.fixture
def podnet(machine: Podnet) -> Iterator[Podnet]:
    """The same, with a second network and no sandbox."""
    machine.up(network("second", subnets=["10.20.0.0/24"]))
    yield machine
    machine.clear()


def kernel(host: Host, netns: str | None = None) -> dict[str, Any]:
    """All that a namespace's network is made of, but for what takes its time to settle."""

    def lines(*command: str) -> list[str]:
        said = host.run(command, netns=netns).stdout.replace(" linkdown", "")
        return [line for line in said.splitlines() if "fe80::" not in line and "ff00::" not in line]

    settings = "cd /proc/sys/net; grep -rs . ipv4/conf ipv6/conf; true"
    return {
        "links": [
            (link["ifname"], link["ifindex"], link["address"], link["mtu"], "UP" in link["flags"])
            for link in host.ip_json("link", netns=netns)
        ],
        "addresses": lines("ip", "-o", "address"),
        "routes": lines("ip", "route", "show", "table", "all"),
        "IPv6 routes": lines("ip", "-6", "route", "show", "table", "all"),
        "rules": lines("nft", "--stateless", "list", "ruleset"),
        "settings": [line for line in lines("sh", "-c", settings) if "stable_secret" not in line],
    }


def test_an_interface_comes_and_goes_without_a_trace(podnet: Podnet) -> None:
    """What pipework did by hand: interface, address, route from outside; then as if never."""
    podnet.up(sandbox("bare", FOREVER, net="None") + sandbox("peer", net={"podNetwork": "second"}))
    netns = podnet.status("bare")["netns"]["path"]
    before = kernel(podnet.host, netns), kernel(podnet.host)
    words = ["--network=second", "--address=10.20.0.9", "--mac=02:00:00:00:00:09"]
    podnet.run("attach", "bare", *words, "--route=0.0.0.0/0")
    (link,) = podnet.host.ip_json("address", "show", "eth1", netns=netns)
    assert (link["address"], link["addr_info"][0]["local"]) == ("02:00:00:00:00:09", "10.20.0.9")
    (default,) = podnet.host.ip_json("route", "show", "default", netns=netns)
    assert default["gateway"] == "10.20.0.1"
    with serve(podnet.place("peer"), 80):
        assert reach(podnet.place("bare"), tcp(podnet.ip("peer"), 80)).peer == "10.20.0.9"
    podnet.run("detach", "bare", "--ifname=eth1")

    def undone() -> bool:  # the pair itself goes a moment later
        return (kernel(podnet.host, netns), kernel(podnet.host)) == before

    until(undone, "what was before", 2)
    assert podnet.status("bare")["interfaces"] == []
    assert podnet.run("exec", "bare", "--", "true").returncode == 0


def test_a_second_interface_beside_the_first(podnet: Podnet) -> None:
    podnet.up(sandbox("both") + sandbox("peer", net={"podNetwork": "second"}))
    podnet.run("attach", "both", "--network=second")
    podnet.run("wait", "psb/both", "--for=jsonpath={.status.interfaces[1].name}=eth1")
    eth0, eth1 = podnet.status("both")["interfaces"]
    assert (eth0["podNetwork"], eth1["podNetwork"]) == ("default", "second")
    outside = podnet.host.links()[eth1["peer"]["name"]]
    assert (outside["ifindex"], outside["link_index"]) == (eth1["peer"]["ifindex"], eth1["ifindex"])
    assert outside["master"] == eth1["bridge"] != eth0["bridge"]
    assert podnet.status("both")["podIPs"] == [{"ip": eth0["addresses"][0].partition("/")[0]}]
    here = podnet.place("both")
    reach(here, icmp("172.17.0.1"))
    reach(here, icmp(podnet.ip("peer")))
    podnet.restart()
    reach(here, icmp(podnet.ip("peer")))
    podnet.run("delete", "psb", "both")
    until(lambda: eth1["peer"]["name"] not in podnet.host.links(), "its deletion in the background")


@pytest.mark.parametrize(
    "net", ["Host", {"mode": "Container", "sandbox": "owner"}], ids=["host", "container"]
)
def test_a_borrowed_namespace_gets_no_interface(net: Any, podnet: Podnet) -> None:
    """Docker's sentence for `docker network connect`."""
    podnet.up(sandbox("owner") + sandbox("borrower", FOREVER, net=net))
    done = podnet.run("attach", "borrower", "--network=second", check=False)
    assert (done.returncode, done.stderr) == (
        1,
        "Error from server (Conflict): podsandbox borrower: container sharing network namespace"
        " with another container or host cannot be connected to any other network\n",
    )


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["attach", "web", "--network=second", "--ifname=eth0"], "interface eth0 of sandbox"),
        (["attach", "web", "--network=second", "--ifname=a/b"], "'a/b' is no interface name"),
        (["attach", "web", "--network=second", "--ifname=lo"], "lo"),
        (["attach", "web", "--network=nowhere"], "PodNetwork/nowhere is not on this node"),
        (["attach", "nobody", "--network=second"], '"nobody" not found'),
        (["attach", "web", "--network=second", "--address=10.20.0.1"], "is the gateway of"),
        (["attach", "web", "--network=second", "--address=10.20.0.300"], "is no address"),
        (["attach", "web", "--network=second", "--mac=01:00:00:00:00:01"], "is no MAC of one"),
        (["attach", "web", "--network=second", "--route=10.9.0.1/16"], "is no destination"),
        (["detach", "web", "--ifname=eth0"], "is podsandbox web's own interface"),
        (["detach", "web", "--ifname=eth7"], "has no interface eth7 from podnet"),
        (["detach", "nobody", "--ifname=eth1"], '"nobody" not found'),
    ],
)
def test_what_cannot_be_is_refused_and_changes_nothing(
    words: list[str], sentence: str, podnet: Podnet
) -> None:
    podnet.up(sandbox("web"))
    netns = podnet.status("web")["netns"]["path"]
    before = kernel(podnet.host, netns), kernel(podnet.host)
    done = podnet.run(*words, check=False)
    assert done.returncode == 1
    assert sentence in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert (kernel(podnet.host, netns), kernel(podnet.host)) == before


def test_a_network_stays_while_somebody_is_plugged_into_it(podnet: Podnet) -> None:
    podnet.up(sandbox("web"))
    podnet.run("attach", "web", "--network=second")
    done = podnet.run("delete", "pnet", "second", check=False)
    assert (done.returncode, done.stderr) == (
        1,
        "Error from server (Conflict): PodNetwork/second is in use by PodSandbox default/web:"
        " delete it first\n",
    )
    podnet.run("detach", "web", "--ifname=eth1")
    podnet.run("delete", "pnet", "second")
