"""S10: the records break or are lost while Pods run, and are made anew of kernel and libcni."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from support.cri import Cnitool, Cri, namespace
from support.host import until
from support.leaks import RESULTS, STORE, traces, until_same
from support.nodes import Nodes
from support.podnet import Podnet
from support.runtime import Pod, Refused, Runtime
from support.traffic import Place, Stream, icmp, reach, serve, tcp, uninterrupted


@pytest.fixture
def podnet(cri: Cri) -> Podnet:
    """podnet is its network."""
    return cri.with_podnet()


def lose(store: Path) -> None:
    """The file is not there."""
    store.unlink()


def cut(store: Path) -> None:
    """As after a power cut."""
    store.write_bytes(store.read_bytes()[:5000])


def empty(store: Path) -> None:
    """Its name is all that is left."""
    store.write_bytes(b"")


def overwrite(store: Path) -> None:
    """It is no database any more."""
    store.write_bytes(b"x" * 8192)


def break_records(podnet: Podnet, how: Callable[[Path], None]) -> None:
    """With what SQLite keeps beside the file; the agent has ended before."""
    store = podnet.host.path(STORE)
    for suffix in ("-wal", "-shm"):
        store.with_name(store.name + suffix).unlink(missing_ok=True)
    how(store)


@pytest.mark.parametrize("how", [lose, cut, empty, overwrite])
def test_running_pods_do_not_notice_that_records_were_lost(
    cri: Cri, podnet: Podnet, how: Callable[[Path], None]
) -> None:
    """S10: what there is, is what there was: links, addresses, ports, records; nothing is lost."""
    web, client = cri.run("web", (8080, 80)), cri.run("client")
    before = traces(cri.host)
    links = cri.host.links()
    with serve(web.place, 81), Stream(client.place, web.ip, 81) as stream:
        podnet.kill()
        break_records(podnet, how)
        podnet.agent()
        until_same(cri.host, before)
        uninterrupted(stream)
    indexes = {name: link["ifindex"] for name, link in links.items()}
    assert {name: link["ifindex"] for name, link in cri.host.links().items()} == indexes
    assert podnet.log().count("its record was lost, and is made anew") == 2
    assert podnet.request("GET", "/leaks")[1]["leaks"] == []
    assert cri.fetch(client, "172.17.0.1:8080") == "web"
    others = [cri.run(f"other-{number}", alone=True).ip for number in range(3)]
    assert len({web.ip, client.ip, *others}) == 5
    cri.remove(*(key for key in cri.pods() if key not in (web.id, client.id)))
    until_same(cri.host, before)
    cri.remove(web.id, client.id)
    assert podnet.request("GET", "/attachments")[1]["items"] == []
    podnet.run("wait", "pnet/default", "--for=jsonpath={.status.addressesUsed}=0", "--timeout=15s")


def test_what_was_asked_for_is_recalled(cri: Cri, podnet: Podnet) -> None:
    """S10: address, MAC and ports; the tool that asked may CHECK, and take it away."""
    tool = Cnitool(cri.host, "podnet")
    here, there = (namespace(cri.host, name) for name in ("here", "there"))
    before = traces(cri.host)
    ports = [{"hostPort": 8080, "containerPort": 80}]
    wanted = {"ips": ["172.17.9.9/16"], "mac": "02:00:00:00:09:09", "portMappings": ports}
    tool.add(here, **wanted)
    tool.add(there)
    _, listed = podnet.request("GET", "/attachments")
    podnet.kill()
    break_records(podnet, lose)
    podnet.agent()
    assert podnet.request("GET", "/attachments") == (200, listed)
    taken = tool.run("add", namespace(cri.host, "late"), check=False, **wanted)
    assert "172.17.9.9 is taken by" in taken.stderr
    tool.run("check", here, **wanted)
    with serve(Place(cri.host, here), 80, name="here"):
        assert reach(Place(cri.host, there), tcp("172.17.0.1", 8080)).server == "here"
    tool.run("del", here, **wanted)
    tool.run("gc", there)
    until_same(cri.host, before | {"namespaces": traces(cri.host)["namespaces"]})


def test_what_is_gone_is_not_recalled(cri: Cri, podnet: Podnet) -> None:
    """S1, S10: files of libcni outlive a boot; another link, or another namespace, is another's."""
    tool = Cnitool(cri.host, "podnet")
    kept, ended, moved, foreign = (namespace(cri.host, f"tool{number}") for number in range(4))
    for netns in (kept, ended, moved, foreign):
        tool.add(netns)
    podnet.kill()
    break_records(podnet, lose)
    cri.host.run(["ip", "netns", "delete", "tool1"])
    cri.host.run(["ip", "link", "delete", "eth0"], netns=foreign)
    cri.host.run(["ip", "link", "add", "eth0", "type", "veth"], netns=foreign)
    cri.host.run(["ip", "link", "set", "eth0", "name", "eth9"], netns=moved)
    cri.host.path(f"{RESULTS}/podnet-garbage-eth0").write_text("{")
    podnet.agent()
    (left,) = podnet.request("GET", "/attachments")[1]["items"]
    assert left["netns"] == kept
    until(lambda: len([name for name in cri.host.links() if "vethpn" in name]) == 1, "no other")
    reach(Place(cri.host, kept), icmp("172.17.0.1"))
    for netns in (kept, ended, moved):
        tool.run("del", netns)
    assert podnet.request("GET", "/attachments")[1]["items"] == []


def test_a_node_of_a_cluster_recalls_them_while_the_api_server_is_away() -> None:
    """S10, S37: of both families; what no runtime remembers goes, and its number with it."""
    with Nodes() as cluster:
        cluster.api.network("default", "10.1.0.0/16", "fd01::/48")
        cluster.api.share("default", "a", "10.1.1.0/24", "fd01:0:0:1::/64")
        a = cluster.node("a", 1)
        cni = Runtime(a)
        pod, other, forgotten = cni.pods(3)
        result = until(lambda: added(cni, pod), "the node to have its share")
        cni.remember(pod, result)
        cni.remember(other, cni.add(other))
        last = cni.add(forgotten)["interfaces"][1]["name"]
        before = cni.attachments()[:2]
        disk = a.host.path("/var/lib/podnet/cluster.json")
        until(lambda: disk.exists() and "NodeSubnet" in disk.read_text(), "it to be on the disk")
        a.kill()
        break_records(a, overwrite)
        cluster.api.stop()
        a.agent()
        assert cni.attachments() == before
        cni.swept()
        cni.check(pod, result)
        for each in result["ips"]:
            reach(other.place, icmp(each["address"].split("/")[0]))
        new = cni.pod("new")
        assert cni.add(new)["interfaces"][1]["name"] > last
        for each in (pod, other, new, forgotten):
            cni.delete(each)
        cni.is_empty()


def added(cni: Runtime, pod: Pod) -> dict[str, Any] | None:
    """The result, once the node has a share to give from."""
    try:
        return cni.add(pod)
    except Refused:
        return None
