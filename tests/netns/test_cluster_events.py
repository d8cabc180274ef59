"""What agents tell the API server: Events of a sandbox's course, a status when it differs."""

from support.host import until
from support.nodes import Nodes, node


def test_a_sandbox_s_course_is_told_once(cluster: Nodes) -> None:
    """Also by an agent that is started anew, which reads the status that the server has."""
    api, a = cluster.api, node(cluster, "a")
    cluster.sandbox("told", "a")
    until(lambda: api.events("told"), "an Event")
    interface = api.status("PodSandbox", "told")["interfaces"][0]
    addresses = ", ".join(interface["addresses"])
    attached = (
        "Attached",
        f"eth0 is on PodNetwork default: {addresses}, MAC {interface['mac']},"
        f" by {interface['peer']['name']} in podnet0",
    )
    assert api.events("told") == [attached]
    a.restart()
    api.repeat()
    cluster.sandbox("later", "a")  # behind all that the new agent had to say of the first
    until(lambda: api.events("later"), "the later one's")
    assert api.events("told") == [attached]
    api.sandbox("bad", "a", "nowhere")
    until(lambda: api.events("bad"), "the reason")
    (bad,) = api.events("bad")
    assert bad == tuple(api.condition("PodSandbox", "bad")[key] for key in ("reason", "message"))


def test_a_status_is_written_when_it_differs_and_only_then(pair: Nodes) -> None:
    api, a = pair.api, node(pair, "a")
    until(lambda: api.status("NodeSubnet", "default.a")["addressesUsed"] == 1, "the number", 15)
    before = len(api.writes())
    a.restart()
    api.repeat()
    api.cut()
    pair.sandbox("later", "b")
    mine = [path for path in api.writes()[before:] if "web" in path or "default.a" in path]
    assert mine == []
    right = api.status("PodSandbox", "web")
    api.set_status("PodSandbox", "web", {"phase": "Failed"})
    until(lambda: api.status("PodSandbox", "web")["phase"] == "Running", "it to be put right")
    assert api.status("PodSandbox", "web")["podIPs"] == right["podIPs"]
