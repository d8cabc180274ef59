"""The uplink's MTU is the pods': a running agent follows one that changes (S25)."""

from collections.abc import Callable

import pytest

from support.bodies import FOREVER, network, sandbox
from support.host import Host, until
from support.podnet import Podnet
from support.runtime import started
from support.wire import connect

WITHIN = 10.0
"""Of a slow machine; less than half a round (keeper.RESYNC_SECONDS), which is not waited for."""


@pytest.fixture
def uplinked(make_host: Callable[..., Host]) -> Host:
    """A host whose way out is eth0, with an MTU of 1500."""
    host = make_host()
    connect(host, make_host("outside"))
    return host


def change_uplink(host: Host, mtu: int) -> None:
    host.run(["ip", "link", "set", "eth0", "mtu", str(mtu)])


def on_node(podnet: Podnet, name: str) -> tuple[int, int, int]:
    """MTU of a sandbox's bridge, of the pair's end at the node, and as the status has it."""
    (told,) = podnet.status(name)["interfaces"]
    links = podnet.host.links()
    return links[told["bridge"]]["mtu"], links[told["peer"]["name"]]["mtu"], told["mtu"]


def in_pod(podnet: Podnet, name: str) -> int:
    """MTU of the pair's end in the pod."""
    (link,) = podnet.host.ip_json("link", "show", "eth0", netns=podnet.place(name).netns)
    mtu: int = link["mtu"]
    return mtu


def test_bridges_and_pods_follow_it_but_where_a_network_has_its_own(uplinked: Host) -> None:
    """Also in pods, where nobody tells of a change."""
    podnet = Podnet(uplinked)
    podnet.agent()
    podnet.up(
        network("narrow", subnets=["10.9.0.0/16"], mtu=1300)
        + sandbox("web", FOREVER)
        + sandbox("apart", net={"podNetwork": "narrow"})
    )
    assert (on_node(podnet, "web"), in_pod(podnet, "web")) == ((1500,) * 3, 1500)
    for mtu in (1400, 9000):
        change_uplink(uplinked, mtu)
        until(lambda m=mtu: on_node(podnet, "web") == (m,) * 3, f"the node's {mtu}", WITHIN)
        until(lambda m=mtu: in_pod(podnet, "web") == m, f"the pod's {mtu}", WITHIN)
        assert podnet.json("get", "podnetwork", "default")["status"]["mtu"] == mtu
        podnet.run("explain", "web")  # ends with 0 where all is as it should be
    assert (on_node(podnet, "apart"), in_pod(podnet, "apart")) == ((1300,) * 3, 1300)
    podnet.up(sandbox("new"))
    assert (on_node(podnet, "new"), in_pod(podnet, "new")) == ((9000,) * 3, 9000)


def test_a_pod_of_cni_keeps_what_it_was_given_and_the_next_gets_the_new_one(uplinked: Host) -> None:
    """A plugin behind ours may have chosen it, so no agent ever changes it, not even a new one."""
    cni = started(uplinked)
    old = cni.pod("old")
    result = cni.add(old)
    (host_end,) = [name for name in uplinked.links() if name.startswith("vethpn")]
    change_uplink(uplinked, 1400)
    until(lambda: uplinked.links()["podnet0"]["mtu"] == 1400, "the bridge's", WITHIN)
    full = ("busybox", "ping", "-c", "1", "-W", "5", "-s", str(1500 - 28))  # less IPv4 and ICMP
    uplinked.run([*full, "172.17.0.1"], netns=old.netns)  # no end of its pair drops it
    new = cni.pod("new")
    cni.add(new)
    uplinked.run(["ip", "address", "flush", "dev", "eth0"], netns=old.netns)
    cni.podnet.restart()  # the first round comes at once
    until(lambda: old.interfaces()["eth0"]["addr_info"], "a look into it")
    assert [pod.interfaces()["eth0"]["mtu"] for pod in (old, new)] == [1500, 1400]
    assert uplinked.links()[host_end]["mtu"] == 1500
    uplinked.run([*full, "172.17.0.1"], netns=old.netns)
    cni.check(old, result)
