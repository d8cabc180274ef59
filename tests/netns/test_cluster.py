"""Nodes of a cluster, each with an agent on one API server, and what may happen to them."""

import json

from support.host import until
from support.nodes import PAUSE, V4, V6, Node, Nodes, namespaces, node
from support.runtime import Runtime, codes
from support.traffic import Place, Stream, icmp, reach, serve, tcp, uninterrupted


def renumber(node: Node, old: str, new: str) -> None:
    """Give the node another address; its default route goes along with the old one."""
    node.host.run(
        ["ip", "-batch", "-"],
        input=f"address delete {old}/24 dev eth0\naddress add {new}/24 dev eth0\n"
        "route add default via 192.0.2.254\n",
    )


# --- other nodes ---


def test_a_node_that_joins_and_leaves_is_followed(cluster: Nodes) -> None:
    """S23: routes come and go; nobody else writes anything because of it."""
    a = node(cluster, "a")
    cluster.api.share("default", "c", V4.format(3), V6.format(3))
    cluster.api.set_status(
        "NodeSubnet", "default.c", {"nodeAddresses": ["192.0.2.3", "2001:db8:0:2::3"]}
    )
    a.follows(V4.format(3), "192.0.2.3")
    a.follows(V6.format(3), "2001:db8:0:2::3")
    until(
        lambda: cluster.api.condition("NodeSubnet", "default.a", "Reachable")["status"] == "True",
        "every node to be reachable",
    )
    before = len(cluster.api.writes())
    for count in range(20):
        cluster.api.set_status(
            "NodeSubnet",
            "default.c",
            {"nodeAddresses": ["192.0.2.3", "2001:db8:0:2::3"], "addressesUsed": count},
        )
    cluster.api.delete("NodeSubnet", "default.c")
    a.follows(V4.format(3), None)
    a.follows(V6.format(3), None)
    assert len(cluster.api.writes()) == before


def test_a_node_whose_address_changes_is_followed(pair: Nodes) -> None:
    """S23, S40: docker restart renumbers kind's nodes; here while the agent runs."""
    a, b = node(pair, "a"), node(pair, "b")
    renumber(b, "192.0.2.2", "192.0.2.77")
    a.follows(V4.format(2), "192.0.2.77")
    reach(pair.place("client"), icmp(pair.ip("web")))
    renumber(b, "192.0.2.77", "192.0.2.2")
    a.follows(V4.format(2), "192.0.2.2")
    reach(pair.place("client"), icmp(pair.ip("web")))


def test_an_uplink_whose_mtu_changes_is_followed(pair: Nodes) -> None:
    """S25: by the bridge, by both ends of a sandbox's pair, and by what its status says."""
    a, web = node(pair, "a"), pair.place("web")

    def mtus() -> set[int]:
        (told,) = pair.api.status("PodSandbox", "web")["interfaces"]
        links = a.host.links()
        ends = (links[told["bridge"]]["mtu"], links[told["peer"]["name"]]["mtu"])
        (inside,) = a.host.ip_json("link", "show", "eth0", netns=web.netns)
        return {*ends, inside["mtu"], told["mtu"]}

    assert mtus() == {1500}
    for mtu in (1400, 1500):
        a.host.run(["ip", "link", "set", "eth0", "mtu", str(mtu)])
        until(lambda m=mtu: mtus() == {m}, f"all to have {mtu}", 20)
        reach(pair.place("client"), icmp(pair.ip("web")))


def test_a_share_that_moves_takes_its_sandboxes_along(pair: Nodes) -> None:
    """S23: the node joined again with other addresses; sandboxes there are built anew."""
    a, before = node(pair, "a"), pair.api.status("PodSandbox", "client")["netns"]
    pair.api.delete("NodeSubnet", "default.b")
    pair.api.share("default", "b", V4.format(9), V6.format(9))
    a.follows(V4.format(9), "192.0.2.2")
    a.follows(V4.format(2), None)
    until(lambda: pair.ip("client").startswith("10.1.9."), "the sandbox to have another address")
    assert pair.api.status("PodSandbox", "client")["netns"] != before
    with serve(pair.place("web"), 80):
        assert reach(pair.place("client"), tcp(pair.ip("web"), 80)).peer == pair.ip("client")
    pair.delete("client")
    pair.api.delete("NodeSubnet", "default.b")
    pair.api.share("default", "b", V4.format(2), V6.format(2))
    a.follows(V4.format(2), "192.0.2.2")


def test_a_share_that_moves_waits_for_a_runtimes_pods(pair: Nodes) -> None:
    """S23: a Pod is given no other address as long as it is there, and its node says so."""
    b = node(pair, "b")
    runtime = Runtime(b)
    pod, late = runtime.pod(), runtime.pod("late")
    (address,) = (each["address"] for each in runtime.add(pod)["ips"] if ":" not in each["address"])
    pair.api.delete("NodeSubnet", "default.b")
    pair.api.share("default", "b", V4.format(9), V6.format(9))

    def said() -> bool:
        found = pair.api.condition("NodeSubnet", "default.b")
        return found.get("reason") == "ShareMoved" and "Pod/default/web have" in found["message"]

    for _ in range(2):
        until(said, "the share to wait")
        assert codes([runtime.status, lambda: runtime.add(late)]) == [50, 11]
        with serve(pair.place("client"), 80):
            seen = reach(pod.place, tcp(pair.ip("client"), 80)).peer
            assert f"{seen}/32" == address
        b.restart()
    runtime.delete(pod)
    until(lambda: pair.ip("client").startswith("10.1.9."), "the sandbox to have another address")
    until(lambda: codes([runtime.status]) == [0], "Pods to be attached again")
    assert any(each["address"].startswith("10.1.9.") for each in runtime.add(late)["ips"])
    runtime.delete(late)
    pair.delete("client")
    pair.api.delete("NodeSubnet", "default.b")
    pair.api.share("default", "b", V4.format(2), V6.format(2))
    node(pair, "a").follows(V4.format(2), "192.0.2.2")


def test_a_share_that_is_full_says_so(cluster: Nodes) -> None:
    """S8: for whom a Pod is refused, and for who watches the cluster."""
    a = node(cluster, "a")
    cluster.api.network("tiny", "10.9.0.0/24")
    cluster.api.share("tiny", "a", "10.9.0.0/30")
    cluster.api.wait_ready("NodeSubnet", "tiny.a")
    runtime, config = Runtime(a), {"podNetwork": "tiny"}
    pods = runtime.pods(4)
    refused = codes([lambda pod=pod: runtime.add(pod, **config) for pod in pods])
    assert refused in ([0, 11, 11, 11], [0, 0, 11, 11])
    assert codes([lambda: runtime.status(**config), runtime.status]) == [50, 0]

    def said() -> str:
        found = cluster.api.condition("NodeSubnet", "tiny.a", "AddressesAvailable")
        return str(found.get("message", "")) if found.get("status") == "False" else ""

    sentence = until(said, "a condition of the share", 20)
    assert sentence.startswith("PodNetwork/tiny has no free address in 10.9.0.0/30: delete")
    assert cluster.api.condition("NodeSubnet", "default.a", "AddressesAvailable") == {}
    assert cluster.api.condition("NodeSubnet", "tiny.a")["status"] == "True"
    for pod in pods:
        runtime.delete(pod, **config)
    runtime.end(*pods)
    cluster.api.delete("NodeSubnet", "tiny.a")
    cluster.api.delete("PodNetwork", "tiny")


def test_a_node_on_another_link_is_refused_with_a_sentence(cluster: Nodes) -> None:
    a = node(cluster, "a")
    cluster.api.share("default", "c", V4.format(3))
    cluster.api.set_status("NodeSubnet", "default.c", {"nodeAddresses": ["203.0.113.3", "?"]})

    def refused() -> bool:
        found = cluster.api.condition("NodeSubnet", "default.a", "Reachable")
        return found.get("reason") == "NotOnLink" and "node c (203.0.113.3)" in found["message"]

    until(refused, "the condition to say so")
    a.follows(V4.format(3), "unreachable")
    cluster.api.delete("NodeSubnet", "default.c")
    a.follows(V4.format(3), None)
    until(
        lambda: cluster.api.condition("NodeSubnet", "default.a", "Reachable")["status"] == "True",
        "every node to be reachable again",
    )


# --- objects ---


def test_two_of_one_name_one_after_the_other(cluster: Nodes) -> None:
    """The first one is taken down, whole, before the second one is built."""
    cluster.sandbox("web", "a")
    first = cluster.api.status("PodSandbox", "web")
    cluster.api.delete("PodSandbox", "web")
    cluster.sandbox("web", "a")
    second = cluster.api.status("PodSandbox", "web")
    assert first["sandboxID"] != second["sandboxID"]
    host = node(cluster, "a").host
    until(lambda: len(namespaces(node(cluster, "a"))) == 1, "one namespace")
    until(lambda: sum(name.startswith("vethpn") for name in host.links()) == 1, "one pair")


def test_what_is_held_by_a_finalizer_is_taken_down_and_stays_so(cluster: Nodes) -> None:
    cluster.api.sandbox("held", "a", finalizers=["example.org/held"])
    status = cluster.api.wait_ready("PodSandbox", "held")
    cluster.api.delete("PodSandbox", "held")
    host = node(cluster, "a").host
    until(lambda: not host.path(status["netns"]["path"]).exists(), "it to be taken down")
    cluster.api.repeat()
    cluster.api.forget()
    cluster.api.cut()
    cluster.sandbox("other", "a")
    assert len(namespaces(node(cluster, "a"))) == 1
    cluster.api.sandbox("held", "a")  # its finalizers are gone
    cluster.api.delete("PodSandbox", "held")


def test_a_network_in_use_stays_until_the_last_sandbox_goes(cluster: Nodes) -> None:
    api, host = cluster.api, node(cluster, "a").host
    api.network("blue", "10.3.0.0/16")
    api.share("blue", "a", "10.3.1.0/24")
    cluster.sandbox("one", "a", "blue")
    cluster.sandbox("two", "a", "blue")
    bridge = api.status("PodSandbox", "one")["interfaces"][0]["bridge"]
    api.delete("PodNetwork", "blue")
    api.delete("NodeSubnet", "blue.a")
    a = node(cluster, "a")
    until(lambda: "deletionTimestamp" in a.json("get", "pnet", "blue")["metadata"], "a to know")
    api.sandbox("three", "a", "blue")
    until(
        lambda: "was deleted" in api.condition("PodSandbox", "three").get("message", ""),
        "the third one to be refused",
    )
    a.restart()
    with serve(cluster.place("one"), 80):
        assert reach(cluster.place("two"), tcp(cluster.ip("one"), 80)).peer == cluster.ip("two")
    for name in ("one", "two"):
        assert api.condition("PodSandbox", name)["status"] == "True"
    for name in ("one", "two", "three"):
        cluster.delete(name)
    until(lambda: bridge not in host.links(), "the bridge to be gone")


def test_a_network_that_is_made_anew_begins_anew(cluster: Nodes) -> None:
    """As on one machine: no address of the one before rests in it."""
    api, a = cluster.api, node(cluster, "a")
    addresses = []
    for _ in range(2):
        api.network("anew", "10.4.0.0/16")
        api.share("anew", "a", "10.4.1.0/24")
        cluster.sandbox("first", "a", "anew")
        addresses.append(cluster.ip("first"))
        cluster.delete("first")
        api.delete("PodNetwork", "anew")
        api.delete("NodeSubnet", "anew.a")
        until(lambda: "anew" not in a.run("get", "pnet").stdout, "a to know")
    assert addresses == ["10.4.1.2", "10.4.1.2"]


def test_the_socket_writes_no_objects(cluster: Nodes) -> None:
    done = node(cluster, "a").apply('{"apiVersion": "podnet.dev/v1alpha1"}', check=False)
    assert done.returncode == 1
    assert "kubectl apply" in done.stderr


def test_a_node_shows_what_networks_and_shares_are_there(pair: Nodes) -> None:
    here = node(pair, "a")

    def shown() -> list[str]:
        return here.run("get", "podnetwork", "default", "--no-headers").stdout.split()

    until(lambda: shown()[3] == "True", "the network to be ready on this node")
    assert shown()[2] == "podnet0"
    assert "default.a" in here.run("get", "nodesubnets").stdout
    assert here.run("status", check=False).stdout.startswith("agent ")


# --- the API server ---


def test_streams_that_break_lose_nothing(cluster: Nodes) -> None:
    """S38: cut in the middle, history forgotten (410), everything told twice, a renewed token."""
    api = cluster.api
    for number, trouble in enumerate((api.cut, api.forget, api.repeat, api.cut)):
        trouble()
        if trouble == api.forget:
            api.cut()
        cluster.sandbox(f"s{number}", "a")
    folder = "/run/secrets/kubernetes.io/serviceaccount/token"
    for each in cluster.nodes.values():
        each.host.path(folder).write_text("renewed")
    api.accept_only("renewed")
    api.cut()
    cluster.sandbox("s4", "b")
    api.delete("PodSandbox", "s0")
    api.refuse(500, 5)
    api.cut()
    until(lambda: len(namespaces(node(cluster, "a"))) == 3, "one to be gone")


def test_an_outage_changes_nothing_that_runs(pair: Nodes) -> None:
    """S37: and an agent that is restarted in one goes on, what changed meanwhile is made up for."""
    api, a = pair.api, node(pair, "a")
    doomed = pair.sandbox("doomed", "a")
    doomed_path = api.status("PodSandbox", "doomed")["netns"]["path"]
    pair.sandbox("twice", "a")
    twice = api.status("PodSandbox", "twice")["sandboxID"]
    with serve(pair.place("web"), 80), Stream(pair.place("client"), pair.ip("web"), 80) as stream:
        api.stop()
        a.restart()
        reach(pair.place("client"), icmp(doomed))
        api.delete("PodSandbox", "doomed")
        api.delete("PodSandbox", "twice")
        api.sandbox("twice", "a")
        api.sandbox("late", "a")
        assert a.host.path(doomed_path).exists()
        api.start()
        api.wait_ready("PodSandbox", "late")
        until(lambda: api.status("PodSandbox", "twice").get("sandboxID", twice) != twice, "it anew")
        until(lambda: not a.host.path(doomed_path).exists(), "the deleted one to be gone")
        uninterrupted(stream, PAUSE)


def test_a_node_boots_without_the_api_server(pair: Nodes) -> None:
    """S37: from what it knew last; its sandboxes reach the other node."""
    api, a = pair.api, node(pair, "a")
    web = api.get("PodSandbox", "web")
    assert web is not None

    def uids_on_disk() -> list[str]:
        kept = json.loads(a.host.path("/var/lib/podnet/cluster.json").read_text())
        return [each["metadata"]["uid"] for each in kept["objects"] if each["kind"] == "PodSandbox"]

    until(lambda: uids_on_disk() == [web["metadata"]["uid"]], "the sandbox to be on disk")
    api.stop()
    a.wipe()
    a.agent()
    (name,) = until(lambda: namespaces(a), "the sandbox", 10)
    a.follows(V4.format(2), "192.0.2.2")
    reach(Place(a.host, f"/run/netns/{name}"), icmp(pair.ip("client")))
    api.start()
    assert api.wait_ready("PodSandbox", "web")["sandboxID"] in name


def test_a_broken_cache_is_no_obstacle(cluster: Nodes) -> None:
    """S10: a file cut short by a power failure, or another node's."""
    a = node(cluster, "a")
    for text in ('{"node": "a", "obj', '{"node": "z", "objects": []}', ""):
        a.wipe()
        a.host.path("/var/lib/podnet/cluster.json").write_text(text)
        a.agent()
        a.follows(V4.format(2), "192.0.2.2")
    cluster.sandbox("web", "a")
