"""What people are told of a sandbox's course, from one status to the next."""

from typing import Any

import pytest

from podnet.event import MESSAGE_BYTES, Body, Said, course, event

ETH0 = {
    "name": "eth0",
    "ifindex": 2,
    "mac": "02:42:0a:f4:01:05",
    "mtu": 1500,
    "addresses": ["10.244.1.5/32"],
    "peer": {"name": "vethpn3", "ifindex": 9},
    "bridge": "podnet0",
    "podNetwork": "default",
}
WIRED = "eth0 is on PodNetwork default: 10.244.1.5/32, MAC 02:42:0a:f4:01:05, by vethpn3 in podnet0"


def container(state: str, **fields: Any) -> Body:
    return {"name": "web", "state": state, "restarts": 0, "reason": "", "message": ""} | fields


def condition(kind: str, reason: str, message: str = "", *, holds: bool = False) -> Body:
    return {
        "type": kind,
        "status": "True" if holds else "False",
        "reason": reason,
        "message": message,
    }


RUNS = {"interfaces": [ETH0], "containers": [container("running")]}
ENDED = container("exited", reason="Error", exitCode=3, finishedAt="2026-01-01T00:00:01Z")
ABSENT = container("waiting", reason="ImageNotPresent", message="container web: no image x here")
NO_BRIDGE = condition("Ready", "Conflict", "podnet0 is somebody else's")

COURSES = {
    "the first time": ({}, RUNS, [("Attached", WIRED), ("Started", "container web runs")]),
    "nothing new": (RUNS, RUNS, []),
    "another index, as after a repair": (
        RUNS,
        RUNS | {"interfaces": [ETH0 | {"ifindex": 7}]},
        [],
    ),
    "gone from the namespace": (
        RUNS,
        RUNS
        | {
            "interfaces": [ETH0 | {"addresses": []}],
            "conditions": [condition("NetworkReady", "InterfaceMissing", "eth0 is gone")],
        },
        [("Detached", "eth0 was taken away"), ("!InterfaceMissing", "eth0 is gone")],
    ),
    "no network": ({}, {"conditions": [NO_BRIDGE]}, [("!Conflict", "podnet0 is somebody else's")]),
    "still none": ({"conditions": [NO_BRIDGE]}, {"conditions": [NO_BRIDGE]}, []),
    "not ready because of a container": (
        RUNS,
        RUNS
        | {
            "containers": [ENDED],
            "conditions": [
                condition("NetworkReady", "Wired", holds=True),
                condition("Ready", "Error", "container web: ended with exit code 3"),
            ],
        },
        [("!Error", "container web: ended with exit code 3")],
    ),
    "ended as it should": (
        RUNS,
        RUNS | {"containers": [ENDED | {"reason": "Completed", "exitCode": 0}]},
        [("Completed", "container web: ended with exit code 0")],
    ),
    "started again": (
        RUNS | {"containers": [ENDED]},
        RUNS | {"containers": [container("running", restarts=1)]},
        [("Started", "container web runs, for the 2nd time")],
    ),
    "ended and started between two looks": (
        RUNS,
        RUNS | {"containers": [container("running", restarts=11)]},
        [("Started", "container web runs, for the 12th time")],
    ),
    "no image": ({}, {"containers": [ABSENT]}, [("!ImageNotPresent", ABSENT["message"])]),
    "tried again, no image": (
        {"containers": [ABSENT]},
        {"containers": [ABSENT | {"finishedAt": "2026-01-01T00:00:09Z"}]},
        [],
    ),
    "waits, for no reason yet": ({}, {"containers": [container("waiting")]}, []),
}


@pytest.mark.parametrize(("before", "after", "told"), COURSES.values(), ids=COURSES)
def test_what_happened_is_told_once(before: Body, after: Body, told: list[tuple[str, str]]) -> None:
    found = [(f"{'!' * said.warning}{said.reason}", said.message) for said in course(before, after)]
    assert found == told


def test_an_event_is_of_the_object_and_fits() -> None:
    of = {
        "apiVersion": "podnet.dev/v1alpha1",
        "kind": "PodSandbox",
        "metadata": {"name": "web", "namespace": "shop", "uid": "u1"},
    }
    body = event(Said("Why", "ü" * 2000, warning=True), of, "2026-01-01T00:00:00Z", "agent", "n1")
    assert body["involvedObject"] == {
        "apiVersion": "podnet.dev/v1alpha1",
        "kind": "PodSandbox",
        "name": "web",
        "namespace": "shop",
        "uid": "u1",
    }
    assert body["metadata"] == {"generateName": "web.", "namespace": "shop"}
    assert len(body["message"].encode()) <= MESSAGE_BYTES
    assert body["source"] == {"component": "agent", "host": "n1"}
    assert body["type"] == "Warning"


def test_what_belongs_to_no_namespace_is_told_in_default() -> None:
    of = {"apiVersion": "podnet.dev/v1alpha1", "kind": "PodNetwork"}
    body = event(
        Said("Assigned", "", warning=False),
        of | {"metadata": {"name": "blue", "namespace": "", "uid": "u"}},
        "2026-01-01T00:00:00Z",
        "operator",
    )
    assert (body["metadata"]["namespace"], body["type"]) == ("default", "Normal")
    assert body["source"] == {"component": "operator"}
