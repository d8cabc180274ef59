"""What is to be done next for a sandbox's containers, and what a status says of them."""

from dataclasses import replace

import pytest

from podnet.containers import (
    Container,
    adopted,
    back_off_seconds,
    body_of,
    exited,
    from_body,
    next_steps,
    not_made,
    running,
)
from podnet.sandbox import RestartPolicy

NOW = 1_800_000_000.0
FRESH = Container("web", "host")
UP = running(FRESH, 42, NOW - 100)
DONE = exited(UP, 0, NOW - 1)
FAILED = exited(UP, 3, NOW - 1)
FAILED_TWICE = exited(running(FAILED, 43, NOW - 3), 3, NOW - 1)


@pytest.mark.parametrize(
    ("known", "policy", "start", "seconds"),
    [
        pytest.param(None, "Never", ("web",), None, id="what never ran is started"),
        pytest.param(UP, "Always", (), None, id="what runs is left alone"),
        pytest.param(
            Container("web", "host", state="created"), "Always", (), None, id="created waits"
        ),
        pytest.param(DONE, "Always", ("web",), None, id="Always starts what succeeded"),
        pytest.param(DONE, "OnFailure", (), None, id="OnFailure leaves what succeeded"),
        pytest.param(FAILED, "OnFailure", ("web",), None, id="OnFailure starts what failed"),
        pytest.param(DONE, "Never", (), None, id="Never leaves what succeeded"),
        pytest.param(FAILED, "Never", (), None, id="Never leaves what failed"),
        pytest.param(FAILED_TWICE, "Always", (), 9.0, id="the second end in a row costs 10 s"),
        pytest.param(FAILED_TWICE, "Never", (), None, id="Never waits for nothing"),
        pytest.param(
            not_made(FRESH, "R", "m", NOW), "Never", ("web",), None, id="not made: once more"
        ),
        pytest.param(
            not_made(replace(FRESH, failures=2), "R", "containerd is away", NOW, may_pass=True),
            "Always",
            (),
            10.0,
            id="not made, for no fault of its own: no later than at first",
        ),
        pytest.param(
            not_made(not_made(FRESH, "R", "m", NOW), "R", "m", NOW),
            "Never",
            (),
            10.0,
            id="not made twice: after 10 s, whatever the policy",
        ),
    ],
)
def test_one_container(
    known: Container | None, policy: RestartPolicy, start: tuple[str, ...], seconds: float | None
) -> None:
    steps = next_steps(["web"], policy, {"web": known} if known else {}, NOW)
    assert (steps.start, steps.seconds) == (start, seconds)


def test_several_containers_start_in_order_and_the_first_wait_counts() -> None:
    later = exited(running(FAILED_TWICE, 1, NOW - 3), 3, NOW - 1)
    known = {"b": FAILED_TWICE, "c": later, "d": UP}
    steps = next_steps(["e", "d", "c", "b", "a"], "Always", known, NOW)
    assert (steps.start, steps.seconds) == (("e", "a"), 9.0)


def test_the_back_off_is_the_kubelets() -> None:
    waits = [back_off_seconds(failures) for failures in range(10)]
    assert waits == [0, 0, 10, 20, 40, 80, 160, 300, 300, 300]
    assert back_off_seconds(100_000) == 300


def test_ten_minutes_up_end_the_back_off() -> None:
    failing = FAILED
    for _ in range(5):
        failing = exited(running(failing, 1, NOW), 1, NOW + 1)
    assert back_off_seconds(failing.failures) == 160
    almost = exited(running(failing, 1, NOW), 1, NOW + 599)
    assert back_off_seconds(almost.failures) == 300
    healthy = exited(running(failing, 1, NOW), 1, NOW + 600)
    assert back_off_seconds(healthy.failures) == 0
    assert healthy.restarts == failing.restarts + 1


def test_a_restart_forgets_the_last_end_and_is_counted() -> None:
    assert UP.restarts == 0
    again = running(FAILED, 44, NOW)
    assert (again.restarts, again.exit_code, again.finished, again.reason) == (1, None, None, "")
    assert again.failures == 1
    unmade = running(not_made(FRESH, "R", "m", NOW), 44, NOW)
    assert (unmade.restarts, unmade.message) == (0, "")


@pytest.mark.parametrize("container", [FRESH, UP, DONE, FAILED, FAILED_TWICE])
def test_a_status_says_all_but_how_often_it_failed_in_a_row(container: Container) -> None:
    body = body_of(container)
    assert body_of(from_body(body)) == body


def test_a_status_is_in_kubernetes_words() -> None:
    assert body_of(FAILED) == {
        "name": "web",
        "id": "",
        "image": "host",
        "pid": None,
        "state": "exited",
        "exitCode": 3,
        "reason": "Error",
        "message": "",
        "restarts": 0,
        "startedAt": "2027-01-15T07:58:20Z",
        "finishedAt": "2027-01-15T07:59:59Z",
    }


def test_a_new_agent_is_no_sooner_with_what_keeps_failing() -> None:
    assert from_body(body_of(FAILED_TWICE)).failures == FAILED_TWICE.failures


LIVE = Container("web", "", state="running", id="i", pid=50)
ENDED = exited(Container("web", "", id="i"), 7, NOW + 0.5)


@pytest.mark.parametrize(
    ("before", "found", "state", "pid", "code", "restarts"),
    [
        pytest.param(None, LIVE, "running", 50, None, 0, id="no status yet"),
        pytest.param(FRESH, LIVE, "running", 50, None, 0, id="a status from before its start"),
        pytest.param(UP, LIVE, "running", 50, None, 0, id="the same run"),
        pytest.param(FAILED, LIVE, "running", 50, None, 1, id="a run the status has not seen"),
        pytest.param(UP, ENDED, "exited", 0, 7, 0, id="it ended meanwhile"),
        pytest.param(FAILED, ENDED, "exited", 0, 7, 1, id="a whole run meanwhile"),
        pytest.param(
            exited(UP, 7, float(int(NOW))), ENDED, "exited", 0, 7, 0, id="the end that is known"
        ),
        pytest.param(UP, None, "exited", 0, 137, 0, id="nothing is left of it"),
        pytest.param(FAILED, None, "exited", 0, 3, 0, id="nothing is left of what had ended"),
        pytest.param(
            FAILED, Container("web", "", id="i"), "waiting", 0, None, 0, id="made but not started"
        ),
    ],
)
def test_an_agent_takes_over(
    before: Container | None,
    found: Container | None,
    state: str,
    pid: int,
    code: int | None,
    restarts: int,
) -> None:
    container = adopted(before, found, NOW + 1)
    assert container is not None
    got = (container.state, container.pid, container.exit_code, container.restarts)
    assert got == (state, pid, code, restarts)


def test_where_nothing_is_found_the_status_stands() -> None:
    unmade = not_made(FRESH, "CreateContainerError", "no such image", NOW)
    refused = exited(FRESH, 127, NOW, reason="StartError")
    assert adopted(None, None, NOW) is None
    assert [adopted(each, None, NOW) for each in (FRESH, unmade, refused)] == [
        FRESH,
        unmade,
        refused,
    ]
