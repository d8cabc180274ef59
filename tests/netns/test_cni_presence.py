"""When containerd has podnet, when another, and when an agent that stands still: by the drivers."""

import json
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from support import cri as node
from support.cri import AGENT, CONFIGURATIONS, PROGRAMS, Cnitool, Cri, namespace
from support.host import HostError, until
from support.leaks import traces, until_same
from support.manifests import manifest
from support.podnet import Podnet, hours_later
from support.runtime import Runtime
from support.shim import release
from support.traffic import icmp, reach
from support.watch import Watch

CONFLIST = "10-podnet.conflist"
FOREIGN = "05-other.conflist"
ROUNDS = 5
SECOND_MS = 20
"""Of the program that stands for podnet-cni where an agent is waited for: 90 s are 1.8."""
WAITED_SECONDS = 90 * SECOND_MS / 1000


def refusal(cri: Cri, name: str, attempt: int = 0) -> str:
    """What containerd says to a Pod that it can't make."""
    with pytest.raises(HostError) as raised:
        cri.run(name, attempt=attempt, alone=True)
    return str(raised.value)


# --- the configuration appears (S31) ---


def taken(podnet: Podnet) -> Callable[[], None]:
    """Something foreign has the bridge's name; what takes it away."""
    podnet.host.run(["ip", "link", "add", "podnet0", "type", "veth", "peer", "other"])
    podnet.agent()

    def remedy() -> None:
        podnet.host.run(["ip", "link", "delete", "podnet0"])

    return remedy


def full(podnet: Podnet) -> Callable[[], None]:
    """The network's five addresses are given out; what gives them back."""
    other = Podnet(podnet.host)
    other.agent()
    other.apply(manifest(json.dumps({"subnets": ["10.7.0.0/29"]}), "PodNetwork", "default"))
    runtime = Runtime(other)
    pods = runtime.pods(5)
    for pod in pods:
        runtime.add(pod)
    other.kill()
    podnet.agent()

    def remedy() -> None:
        for pod in pods:
            runtime.delete(pod)
        hours_later(podnet)

    return remedy


@pytest.mark.parametrize("obstacle", [taken, full])
def test_the_configuration_is_there_once_a_pod_can_be_made_and_not_before(
    cri: Cri, obstacle: Callable[[Podnet], Callable[[], None]]
) -> None:
    """S31: containerd refuses Pods until then, makes the first one then, and from then on knows."""
    podnet = Podnet(cri.host, AGENT)
    with Watch(cri.host.path(CONFIGURATIONS)) as seen:
        remedy = obstacle(podnet)
        until(lambda: "is written once Pods can be attached" in podnet.log(), "it to say why")
        assert "cni plugin not initialized" in refusal(cri, "early")
        assert (seen.appeared(CONFLIST), cri.is_ready()) == (0, False)
        assert cri.host.path(f"{PROGRAMS}/podnet-cni").exists()
        remedy()
        until(cri.is_ready, f"containerd to have a network\n{podnet.log()}", 10)
        assert seen.appeared(CONFLIST) == 1
        cri.remove(cri.run("first", alone=True).id)
        podnet.stop()
        assert "agent does not answer" in refusal(cri, "late")
        assert (seen.vanished(CONFLIST), cri.is_ready()) == (0, True)
        podnet.agent()
        cri.run("late", attempt=1, alone=True)


def test_the_moment_it_is_there_a_pod_can_be_attached(cri: Cri) -> None:
    """S31: the agent that was just started, asked by the tool as soon as the name is there."""
    tool, netns = Cnitool(cri.host, "podnet"), namespace(cri.host, "tool")
    podnet = Podnet(cri.host, AGENT)
    conflist = cri.host.path(f"{CONFIGURATIONS}/{CONFLIST}")
    for _ in range(ROUNDS):
        with Watch(conflist.parent) as seen:
            podnet.agent()
            until(lambda seen=seen: seen.appeared(CONFLIST), f"it to appear\n{podnet.log()}")
            tool.add(netns)
            tool.run("del", netns)
        podnet.kill()
        conflist.unlink()


def test_a_folder_that_was_deleted_is_made_anew_and_containerd_told_by_a_restart(cri: Cri) -> None:
    """S31: containerd 1.x goes on watching the folder that is gone."""
    podnet = cri.with_podnet()
    kept = cri.run("kept", alone=True)
    cri.host.run(["rm", "-r", CONFIGURATIONS])
    podnet.restart()  # else within ten seconds
    until(cri.host.path(f"{CONFIGURATIONS}/{CONFLIST}").exists, "the configuration")
    cri.stop()
    cri.start()
    until(cri.is_ready, "containerd to have a network")
    reach(cri.run("new", alone=True).place, icmp(kept.ip))
    cri.remove(*cri.pods())


# --- another one comes first (S32) ---


def test_one_that_sorts_before_ours_is_said_everywhere_and_has_the_pods(cri: Cri) -> None:
    """S32: containerd takes it for what is new and what ends; what ran goes on until then."""
    podnet = cri.with_podnet()
    kept, late = cri.run("kept"), cri.run("late", alone=True)
    cri.with_others(FOREIGN)
    file = f"{CONFIGURATIONS}/{FOREIGN}"
    until(lambda: "10.88." in cri.run("probe", alone=True).ip, "containerd to use it")
    podnet.restart()  # else within ten seconds
    said = f"{file} comes before {CONFLIST}, so containerd uses it: remove it"
    until(lambda: said in podnet.run("status", check=False).stdout, "the status to say so")
    assert said in podnet.log()
    assert f"rm {file}" in podnet.run("doctor", check=False).stdout
    assert podnet.condition("default", "podnetwork", "CNIConfigured")["status"] == "False"
    reach(kept.place, icmp(late.ip))

    cri.remove(late.id)  # by the others' plugins, who don't know its address
    (leak,) = podnet.request("GET", "/leaks")[1]["leaks"]
    assert (leak["owner"], late.ip in leak["name"]) == ("Pod/default/late", True)
    cri.host.path(file).unlink()
    new = until(lambda: ours(cri), "containerd to use podnet's")
    podnet.restart()
    assert podnet.request("GET", "/leaks")[1]["leaks"] == []
    until(lambda: said not in podnet.run("status").stdout, "the status to be well")
    assert cri.fetch(kept, kept.ip) == "kept"
    reach(new.place, icmp(kept.ip))


def ours(cri: Cri) -> node.Pod | None:
    """A new Pod, if it is on podnet."""
    pod = cri.run("new", alone=True)
    if pod.ip.startswith("172.17."):
        return pod
    cri.remove(pod.id)
    return None


# --- an agent that stands still (S35) ---


@pytest.fixture
def hasty(cri: Cri, tmp_path: Path) -> Podnet:
    """An agent whose program does not wait as long; containerd's network."""
    program = release(tmp_path / "podnet-cni", SECOND_MS=SECOND_MS)
    podnet = node.release(cri.host, "hasty", program)
    podnet.agent()
    until(cri.is_ready, f"containerd to have a network\n{podnet.log()}", 10)
    return podnet


def test_an_agent_that_hangs_holds_nobody_up_for_long(cri: Cri, hasty: Podnet) -> None:
    """S35: kubelet and tool get a clear error in time; nothing is left of the attempt."""
    tool, netns = Cnitool(cri.host, "podnet"), namespace(cri.host, "tool")
    kept, gone = cri.run("kept"), cri.run("gone", alone=True)
    cri.remove(gone.id)
    before = traces(cri.host)
    gone = cri.run("gone", attempt=1, alone=True)
    hasty.hang()
    begin = time.monotonic()
    said = refusal(cri, "late")
    assert "podnet's agent does not answer on this node" in said
    assert "Connection timed out" in said
    assert WAITED_SECONDS <= time.monotonic() - begin < 3 * WAITED_SECONDS
    assert {cri.pods()[pod.id] for pod in (kept, gone)} == {"SANDBOX_READY"}
    assert (len(cri.pods()), len(traces(cri.host)["queue"])) == (2, 1)  # containerd's own DEL
    for verb in ("add", "status"):
        assert "agent does not answer" in tool.run(verb, netns, check=False).stderr
    cri.remove(gone.id)
    assert cri.fetch(kept, kept.ip) == "kept"
    hasty.go_on()
    reach(cri.run("late", attempt=1, alone=True).place, icmp(kept.ip))
    tool.add(netns)
    tool.run("del", netns)
    cri.remove(*(key for key in cri.pods() if key != kept.id))
    until_same(cri.host, before)
