"""Kinds, or podnet itself, are deleted under running agents; an agent that is only told to end."""

import json
from functools import partial

from podnet.addresses import bridge_name
from support.apiserver import ACCOUNT, PLURALS, ApiServer
from support.host import until
from support.leaks import traces, until_same
from support.nodes import PAUSE, V4, V6, Node, Nodes, namespaces, node
from support.runtime import Runtime, ports
from support.traffic import Stream, icmp, reach, serve, uninterrupted

# --- kinds ---


def test_deleted_kinds_are_an_outage(pair: Nodes) -> None:
    """The CRDs are deleted under running agents: what is attached stays and keeps talking."""
    api, a = pair.api, node(pair, "a")
    pair.sandbox("near", "a")
    before = namespaces(a)
    with serve(pair.place("web"), 80):
        near = Stream(pair.place("near"), pair.ip("web"), 80)
        far = Stream(pair.place("client"), pair.ip("web"), 80)
        with near, far:
            drop_kinds(api, a)
            a.restart()
            assert namespaces(a) == before
            assert a.routes()[V4.format(2)] == "192.0.2.2"
            uninterrupted(far, PAUSE)
            restore_network(api)
            uninterrupted(near, PAUSE)
    a.follows(V4.format(2), "192.0.2.2")
    api.restore_kind("podsandboxes")
    for name, there in (("web", "a"), ("client", "b")):
        pair.sandbox(name, there)
    reach(pair.place("client"), icmp(pair.ip("web")))
    until(lambda: len(namespaces(a)) == 1, "those that nobody wants any more to be gone")


def drop_kinds(api: ApiServer, a: Node) -> None:
    """The CRDs are deleted, and the agent has noticed each."""
    begin = len(a.log())
    for plural in PLURALS.values():
        api.drop_kind(plural)
    for plural in PLURALS.values():
        words = f"gives up {plural}"
        until(partial(lambda words: words in a.log()[begin:], words), f"a log with: {words}")


def restore_network(api: ApiServer) -> None:
    """The network `default` is there again, with the shares it had."""
    for plural in ("podnetworks", "nodesubnets"):
        api.restore_kind(plural)
    api.network("default", "10.1.0.0/16", "fd01::/48")
    for number, name in enumerate("ab", start=1):
        api.share("default", name, V4.format(number), V6.format(number))
    for name in "ab":
        api.wait_ready("NodeSubnet", f"default.{name}", 40)


def test_a_runtimes_pod_is_deleted_though_its_network_has_no_kind_any_more(pair: Nodes) -> None:
    """S33: nobody can say what the network was; DEL takes all that ADD made."""
    api, a = pair.api, node(pair, "a")
    cni = Runtime(a)
    pod, other = cni.pods(2)
    before = traces(a.host)
    cni.add(pod, **ports((8080, 80)))
    cni.add(other)
    drop_kinds(api, a)
    cni.delete(other)
    a.restart()
    cni.delete(pod, **ports((8080, 80)))
    cni.delete(pod)
    until_same(a.host, before)
    cni.end(pod, other)
    restore_network(api)
    api.restore_kind("podsandboxes")
    for name, there in (("web", "a"), ("client", "b")):
        pair.sandbox(name, there)


def test_what_goes_with_its_kind_is_not_taken_down(pair: Nodes) -> None:
    """A network that a finalizer holds, while its kind waits for that."""
    api, a = pair.api, node(pair, "a")
    api.put("PodNetwork", "idle", {"subnets": ["10.3.0.0/16"]}, finalizers=["podnet.dev/in-use"])
    api.share("idle", "a", "10.3.1.0/24")
    bridge = bridge_name("idle")
    until(lambda: bridge in a.host.links(), "the bridge")
    api.drop_kind("podnetworks")
    until(lambda: "gives up podnetworks" in a.log(), "the agent to notice")
    a.restart()
    api.cut()
    api.put("PodNetwork", "idle", {"subnets": ["10.3.0.0/16"]})  # its finalizer is gone
    pair.sandbox("new", "a")
    assert bridge in a.host.links()
    api.restore_kind("podnetworks")
    api.network("default", "10.1.0.0/16", "fd01::/48")
    until(lambda: bridge not in a.host.links(), "the server's word to count again", 20)


# --- podnet itself ---


def test_an_agent_that_is_told_to_end_leaves_all_as_it_is(pair: Nodes) -> None:
    """Restart, upgrade, a node that shuts down; also where nobody can say whether podnet goes."""
    api, a = pair.api, node(pair, "a")
    with serve(pair.place("web"), 80), Stream(pair.place("client"), pair.ip("web"), 80) as stream:
        a.stop()
        a.agent()
        api.stop()
        a.stop()
        assert namespaces(a) != []
        a.agent()
        api.start()
        api.accept_only("nobody has this one")
        a.stop()
        uninterrupted(stream, PAUSE)
    api.accept_only(a.host.path(f"{ACCOUNT}/token").read_text())
    a.agent()
    until(lambda: api.watches("podsandboxes") == 2, "both agents to follow again", 15)


def test_an_agent_whose_installation_is_deleted_leaves_nothing(pair: Nodes) -> None:
    """Its rights went in the same moment: what it heard before counts."""
    api, a = pair.api, node(pair, "a")
    until(lambda: api.watches("serviceaccounts") == 2, "the agents to follow", 15)
    api.delete_podnet()
    a.stop()
    api.restore_podnet()
    assert namespaces(a) == []
    assert a.routes() == {}
    assert set(a.host.links()) == {"lo", "eth0"}
    assert "podnet" not in json.dumps(a.host.nft_json())
    assert not a.host.path("/run/podnet").exists()
    a.agent()
    api.wait_ready("PodSandbox", "web")
