"""What the status of an object says."""

from ipaddress import ip_interface
from typing import Any

import pytest

from podnet.status import Claim, InterfaceFacts, conditions, interface_body, phase

T1, T2 = "2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z"


def test_a_claim_is_a_condition_as_kubernetes_has_them() -> None:
    assert conditions([Claim("Ready", True, "Built", "all of it")], [], 3, T1) == [
        {
            "type": "Ready",
            "status": "True",
            "reason": "Built",
            "message": "all of it",
            "lastTransitionTime": T1,
            "observedGeneration": 3,
        }
    ]


@pytest.mark.parametrize(
    ("holds", "reason", "since"),
    [
        pytest.param(True, "Built", T1, id="nothing changed"),
        pytest.param(True, "Repaired", T1, id="only the reason changed"),
        pytest.param(False, "Conflict", T2, id="it holds no more"),
    ],
)
def test_a_time_moves_only_with_the_status(holds: bool, reason: str, since: str) -> None:
    before = conditions([Claim("Ready", True, "Built")], [], 1, T1)
    (after,) = conditions([Claim("Ready", holds, reason)], before, 2, T2)
    assert (after["lastTransitionTime"], after["observedGeneration"]) == (since, 2)


def test_conditions_are_those_claimed_in_their_order() -> None:
    before = conditions([Claim("Gone", True, "x"), Claim("B", True, "x")], [], 1, T1)
    after = conditions([Claim("A", True, "x"), Claim("B", True, "x")], before, 1, T2)
    assert [(each["type"], each["lastTransitionTime"]) for each in after] == [("A", T2), ("B", T1)]


def running(restarts: int = 0) -> dict[str, Any]:
    return {"state": "running", "restarts": restarts}


def exited(code: int = 0) -> dict[str, Any]:
    return {"state": "exited", "exitCode": code, "restarts": 0}


def waiting(restarts: int = 0) -> dict[str, Any]:
    return {"state": "waiting", "restarts": restarts}


@pytest.mark.parametrize(
    ("states", "policy", "found"),
    [
        pytest.param([], "Always", "Running", id="no containers: the network is all"),
        pytest.param([waiting()], "Always", "Pending", id="none started yet"),
        pytest.param([running()], "Always", "Running", id="one runs"),
        pytest.param([waiting(), running()], "Always", "Running", id="one runs, one not yet"),
        pytest.param([waiting(restarts=2)], "Always", "Running", id="between two restarts"),
        pytest.param([exited()], "Always", "Running", id="ended, to be started again"),
        pytest.param([exited(1)], "OnFailure", "Running", id="failed, to be started again"),
        pytest.param([exited()], "OnFailure", "Succeeded", id="ended well"),
        pytest.param([exited(), exited()], "Never", "Succeeded", id="all ended well"),
        pytest.param([exited(), exited(3)], "Never", "Failed", id="one ended badly"),
        pytest.param([exited(3), running()], "Never", "Running", id="one failed, one still runs"),
    ],
)
def test_the_phase_is_kubernetes(states: list[dict[str, Any]], policy: str, found: str) -> None:
    assert phase(states, policy, networked=True) == found


def test_without_its_network_a_sandbox_is_pending() -> None:
    assert phase([running()], "Always", networked=False) == "Pending"


def test_an_interface_shows_both_ends() -> None:
    facts = InterfaceFacts(
        name="eth0",
        ifindex=2,
        mac="02:42:ac:11:00:02",
        mtu=1500,
        addresses=(ip_interface("172.17.0.2/16"), ip_interface("fd00::2/64")),
        peer_name="vethpn1a",
        peer_ifindex=9,
        bridge="podnet0",
        network="default",
    )
    assert interface_body(facts) == {
        "name": "eth0",
        "ifindex": 2,
        "mac": "02:42:ac:11:00:02",
        "mtu": 1500,
        "addresses": ["172.17.0.2/16", "fd00::2/64"],
        "peer": {"name": "vethpn1a", "ifindex": 9},
        "bridge": "podnet0",
        "podNetwork": "default",
    }
