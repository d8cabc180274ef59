"""CNI's DEL and GC against a real kernel: what they take, at once or soon, and what they leave."""

import json
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import median
from typing import Any

import pytest

from support.host import Host, until
from support.runtime import SANDBOX, Runtime, address, address_gateway, ports, request, started
from support.traffic import blocked, icmp, reach

SHIM = Path(sys.executable).with_name("podnet-cni")


@pytest.fixture(scope="module")
def shared() -> Iterator[Runtime]:
    """A host with an agent, for tests that leave it as it was."""
    with Host("cni") as host:
        yield started(host)


@pytest.fixture
def cni(shared: Runtime) -> Iterator[Runtime]:
    yield shared
    shared.collect()
    shared.is_empty()


# --- DEL ---


def test_del_is_done_whatever_is_gone(cni: Runtime) -> None:
    """S2, S33: no namespace, none named, another configuration, twice and three times."""
    gone, unnamed, changed, twice = pods = cni.pods(4)
    for number, pod in enumerate(pods):
        cni.add(pod, **ports((8090 + number, 80)))
    cni.end(gone)
    cni.delete(gone)
    assert cni.answer(cni.ask(request("DEL", unnamed, cni.config, netns=None))) is None
    assert cni.answer(cni.ask(request("DEL", pods[0], cni.config, netns=""))) is None
    cni.delete(changed, name="other", podNetwork="gone", runtimeConfig=7, prevResult={"ips": 1})
    for _ in range(3):
        cni.delete(twice)
    cni.is_empty()


def test_del_answers_when_the_address_is_silent_and_the_link_follows(cni: Runtime) -> None:
    """The name leads nowhere at once, the link is gone within 100 ms and company."""
    pod, other = cni.pod("pod"), cni.pod("other")
    ip = address(cni.add(pod))
    gateway = address_gateway(cni.add(other))
    reach(other.place, icmp(ip))
    cni.delete(pod)
    assert len(cni.host_ends()) == 1
    blocked(other.place, icmp(ip), beside=icmp(gateway))
    until(lambda: pod.interfaces() == {}, "the link to be gone", 1)


def test_the_link_is_gone_100_ms_after_the_answer(cni: Runtime) -> None:
    """The median of twenty, since a busy machine may hold any one of them up."""
    pods = cni.pods(20)
    links = [cni.host.path(f"/sys/class/net/{host_end(cni.add(pod))}") for pod in pods]
    seconds = []
    for pod, link in zip(pods, links, strict=True):
        assert link.exists()
        cni.delete(pod)
        begin = time.monotonic()
        while link.exists() and time.monotonic() < begin + 5:
            time.sleep(0.001)
        seconds.append(time.monotonic() - begin)
    assert median(seconds) < 0.1, sorted(seconds)


def test_links_of_many_are_gone_100_ms_after_the_last_answer(cni: Runtime) -> None:
    """Twenty at once, by their group; the median of five rounds, for the same reason."""
    seconds = []
    for _ in range(5):
        pods = cni.pods(20)
        links = [cni.host.path(f"/sys/class/net/{host_end(cni.add(pod))}") for pod in pods]
        with ThreadPoolExecutor(20) as pool:
            list(pool.map(cni.delete, pods))
        begin = time.monotonic()
        while any(link.exists() for link in links) and time.monotonic() < begin + 5:
            time.sleep(0.001)
        seconds.append(time.monotonic() - begin)
    assert median(seconds) < 0.1, sorted(seconds)


def host_end(result: dict[str, Any]) -> str:
    """The name of the pair's end on the node."""
    name: str = result["interfaces"][1]["name"]
    return name


def test_an_address_is_not_anothers_before_its_link_is_gone(cni: Runtime) -> None:
    """S9: also where it is asked for, and where the namespace is the same."""
    wanted = {"runtimeConfig": {"ips": ["172.17.8.8"]}}
    old = cni.pod("old")
    for number in range(5):
        cni.add(old, **wanted)
        cni.delete(old)
        new = cni.pod(f"new-{number}")
        cni.add(new, **wanted)
        assert old.interfaces() == {}
        assert len([name for name in cni.host.links() if name.startswith("vethpn")]) == 1
        cni.delete(new)
    cni.add(old)
    cni.delete(old)
    cni.add(old)
    assert list(old.interfaces()) == ["eth0"]


def test_a_late_del_does_not_meet_the_successor(cni: Runtime) -> None:
    """S5."""
    wanted = {"runtimeConfig": {"ips": ["172.17.8.8"]}} | {}
    mapping = ports((8085, 80))["runtimeConfig"] | wanted["runtimeConfig"]
    old, new = cni.pod("web"), cni.pod("web")
    cni.add(old, runtimeConfig=mapping)
    cni.delete(old)
    result = cni.add(new, runtimeConfig=mapping)
    cni.delete(old)
    cni.swept()
    cni.check(new, result)
    assert len(cni.elements("pn_any4")) == 1


# --- GC ---


def test_gc_by_the_installed_program_takes_what_its_list_lacks(cni: Runtime) -> None:
    """No driver sends such a list: cnitool's is empty, and containerd 1.6 calls no GC."""
    kept, gone = cni.pods(2)
    for pod in (kept, gone):
        cni.add(pod)
    valid = [{"containerID": kept.container_id, "ifname": kept.ifname}]
    assert cni.run(SHIM, "GC", kept, cni.config | {"cni.dev/valid-attachments": valid}) == (0, {})
    assert [each["owner"] for each in cni.attachments()] == [f"Pod/default/{kept.name}"]
    cni.delete(kept)


def test_gc_takes_what_nobody_knows_of_its_own_network_only(cni: Runtime) -> None:
    kept, lost, others = cni.pod("kept"), cni.pod("lost"), cni.pod("others")
    result = cni.add(kept)
    cni.add(lost, **ports((8083, 80)))
    cni.add(others, name="another")
    cni.podnet.up(json.dumps(SANDBOX))
    cni.call("GC", None)  # no list: nothing is said to be unwanted
    assert len(cni.attachments()) == 4
    cni.collect(kept)
    cni.swept()
    owners = {each["owner"] for each in cni.attachments()}
    assert owners == {"Pod/default/kept", "Pod/default/others", "PodSandbox/default/other"}
    cni.check(kept, result)
    cni.podnet.run("delete", "podsandbox", "other", "--grace-period=0")
    cni.collect(name="another")
