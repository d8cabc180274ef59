"""What the programs write into a status is what the CRDs have: the API server drops the rest."""

from ipaddress import ip_interface

from podnet.api.status import PodSandboxStatus
from podnet.containers import Container, body_of
from podnet.objects import Netns
from podnet.sandbox import resolve
from podnet.status import InterfaceFacts
from podnet_agent.reports import Report
from support.manifests import manifest, one

INTERFACE = InterfaceFacts(
    name="eth0",
    ifindex=2,
    mac="02:42:ac:11:00:02",
    mtu=1500,
    addresses=(ip_interface("172.17.0.2/16"), ip_interface("fd00:17::2/64")),
    peer_name="vethpn1a",
    peer_ifindex=7,
    bridge="podnet0",
    network="default",
)
GONE = InterfaceFacts("eth1", 0, "", 0, (), "", 0, "podnet0", "default")
"""An interface that somebody took away."""


def status(*states: Container) -> PodSandboxStatus:
    sandbox = resolve(one(manifest("{}")), "0123456789ab")  # type: ignore[arg-type]
    report = Report(
        sandbox, Netns("/proc/self/ns/net"), (INTERFACE, GONE), tuple(map(body_of, states))
    )
    body = report({"metadata": {"generation": 1}, "status": {}})
    return PodSandboxStatus.model_validate(body)


def test_all_that_an_agent_says_of_a_sandbox_has_a_field() -> None:
    found = status(
        Container(name="a", image="host", state="running", id="f" * 12, pid=7, started=1.0),
        Container(
            name="b",
            image="host",
            state="exited",
            exit_code=3,
            reason="Error",
            message="ended with code 3",
            started=1.0,
            finished=2.0,
        ),
        Container(name="c", image="host", state="waiting"),
    )
    assert found.phase == "Running"
    assert found.interfaces[0].peer is not None
    assert found.interfaces[0].peer.ifindex == 7
    assert [each.ip for each in found.pod_ips] == ["172.17.0.2", "fd00:17::2"]
    assert [each.exit_code for each in found.containers] == [None, 3, None]
    assert {each.type for each in found.conditions} == {"NetworkReady", "ContainersReady", "Ready"}


def test_ready_says_why_it_is_not() -> None:
    ended = Container("b", "host", state="exited", exit_code=3, reason="Error", started=1.0)
    said = "container c: command nosuch is not there"
    refused = Container(
        "c", "host", state="exited", exit_code=127, reason="StartError", message=said
    )
    found = {each.type: each for each in status(ended, refused).conditions}
    containers = f"container b: ended with exit code 3; {said}"
    assert (found["ContainersReady"].reason, found["ContainersReady"].message) == (
        "Error",
        containers,
    )
    assert found["Ready"].reason == "InterfaceMissing"
    assert found["Ready"].message == f"{found['NetworkReady'].message}; {containers}"
