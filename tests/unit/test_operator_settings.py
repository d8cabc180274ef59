"""What kopf is told, and that it never gives up: each value has its reason in handlers.py."""

import dataclasses
from collections.abc import Sized
from itertools import islice
from typing import Any

import kopf
import pytest

from podnet_operator.handlers import Pauses, settings

OTHERWISE = {
    "peering.standalone": True,
    "posting.enabled": False,
    "networking.request_timeout": 15,
    "networking.connect_timeout": 5,
    "watching.reconnect_backoff": 0.2,
    "watching.server_timeout": 300,
    "queueing.error_delays": (1, 2, 5, 10, 30),
    "queueing.idle_timeout": 1.0,
}
"""What is not as kopf has it; the pauses have tests of their own."""
AS_KOPF_HAS_IT = {
    "watching.inactivity_timeout": 70.0,  # a watch that is silent for longer is dead
    "watching.client_timeout": None,
    "queueing.worker_limit": None,  # with a limit, those that wait for each other would for ever
    "posting.loggers": False,
}
"""What we rely on, and a later kopf might have otherwise."""
UNCOMPARABLE = {
    "execution.executor",
    "persistence.progress_storage",
    "persistence.diffbase_storage",
}
"""Objects made anew each time, of handlers in threads and of those that kopf keeps notes for: ours
are neither."""


def values(given: kopf.OperatorSettings) -> dict[str, Any]:
    """Every setting by its name."""
    return {
        f"{group.name}.{each.name}": getattr(getattr(given, group.name), each.name)
        for group in dataclasses.fields(given)
        for each in dataclasses.fields(getattr(given, group.name))
    }


@pytest.mark.parametrize(("name", "value"), (OTHERWISE | AS_KOPF_HAS_IT).items())
def test_kopf_is_told(name: str, value: Any) -> None:
    assert values(settings())[name] == value


def test_kopf_is_told_nothing_else() -> None:
    theirs = values(kopf.OperatorSettings())
    changed = {name for name, value in values(settings()).items() if value != theirs[name]}
    assert changed - UNCOMPARABLE == {*OTHERWISE, "networking.error_backoffs"}


def test_the_pauses_never_end_and_stay_short() -> None:
    """A length would be a number of tries; and each request begins with the shortest."""
    pauses = settings().networking.error_backoffs
    assert isinstance(pauses, Pauses)
    assert not isinstance(pauses, Sized)
    for _ in range(2):  # a request, and the next one
        found = list(islice(pauses, 10_000))
        assert found[:7] == [0.5, 1, 2, 4, 8, 8, 8]
        assert len(found) == 10_000
        assert max(found) == 8


def test_a_mistake_of_ours_is_tried_again_within_a_minute() -> None:
    assert max(settings().queueing.error_delays) <= 60
