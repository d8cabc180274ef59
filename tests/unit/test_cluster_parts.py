"""The agent's small parts for a cluster: pauses, the file on disk, objects of another's making."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from podnet_agent.cluster.api import Api
from podnet_agent.cluster.backoff import Backoff
from podnet_agent.cluster.cache import Cache
from podnet_agent.objects import Body, Objects
from podnet_agent.store import Store

NAME = ("PodNetwork", "", "blue")


def body(uid: str = "u1", **spec: Any) -> Body:
    return {
        "apiVersion": "podnet.dev/v1alpha1",
        "kind": "PodNetwork",
        "metadata": {"name": "blue", "uid": uid, "generation": 7, "resourceVersion": "999"},
        "spec": spec,
    }


def test_pauses_double_up_to_the_longest_and_are_never_the_whole() -> None:
    backoff = Backoff(1.0, 4.0)
    for whole in (1.0, 2.0, 4.0, 4.0):
        assert whole / 2 <= backoff.pause() <= whole
    backoff.succeed()
    assert backoff.pause() <= 1.0


def test_when_the_api_is_asked_anew_nobody_waits_out_an_old_pause(tmp_path: Path) -> None:
    async def run() -> None:
        api = Api("https://server", tmp_path)
        backoff = api.backoff(1.0, 3600.0)
        for _ in range(20):
            backoff.pause()
        resting = asyncio.create_task(backoff.rest(backoff.pause()))
        await asyncio.sleep(0)
        await api.close()
        await asyncio.wait_for(resting, 1)
        assert backoff.pause() <= 1.0
        with pytest.raises(TimeoutError):  # an earlier hurry does not end a later pause
            await asyncio.wait_for(backoff.rest(60), 0.05)

    asyncio.run(run())


def test_what_is_saved_is_loaded(tmp_path: Path) -> None:
    file = tmp_path / "below" / "cluster.json"
    assert Cache(file, "a").load() == []
    Cache(file, "a").save([body()])
    assert Cache(file, "a").load() == [body()]
    assert file.stat().st_mode & 0o777 == 0o600
    assert [each.name for each in file.parent.iterdir()] == ["cluster.json"]


def test_nothing_is_written_that_stands_there(tmp_path: Path) -> None:
    file = tmp_path / "cluster.json"
    cache = Cache(file, "a")
    cache.save([body()])
    before = file.stat().st_ino
    cache.save([body()])
    assert file.stat().st_ino == before
    cache.save([])
    assert file.stat().st_ino != before


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("", id="empty"),
        pytest.param('{"node": "a", "objects": [', id="cut short"),
        pytest.param("[]", id="something else"),
        pytest.param('{"node": "a", "objects": [{"kind": "PodNetwork"}]}', id="no objects"),
        pytest.param(json.dumps({"node": "b", "objects": [body()]}), id="another node's"),
    ],
)
def test_what_can_not_be_used_is_nothing(tmp_path: Path, text: str) -> None:
    """S10."""
    file = tmp_path / "cluster.json"
    file.write_text(text)
    assert Cache(file, "a").load() == []


def test_a_full_disk_is_no_end(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "file").touch()
    Cache(tmp_path / "file" / "cluster.json", "a").save([])
    assert "could not boot without the API server" in caplog.text


Story = Callable[[Objects, list[Any]], Awaitable[None]]


def told(story: Story) -> None:
    """Run it with objects, and the list of those that were said to have changed."""

    async def run() -> None:
        store = Store(":memory:")

        async def write(function: Callable[..., Any], *args: Any) -> Any:
            return function(*args)

        objects = Objects(store, write)
        changed: list[Any] = []
        objects.changed = changed.append
        await story(objects, changed)
        again = Objects(store, write)
        await again.load()
        kept = [(each["spec"], each["status"]) for each in again.list("PodNetwork")]
        assert kept == [(each["spec"], each["status"]) for each in objects.list("PodNetwork")]
        store.close()

    asyncio.run(run())


def test_a_mirrored_object_keeps_its_uid_and_generation() -> None:
    async def story(objects: Objects, changed: list[Any]) -> None:
        await objects.mirror(body(), {"subnets": []})
        found = objects.get(*NAME)
        assert found is not None
        assert (found["metadata"]["uid"], found["metadata"]["generation"]) == ("u1", 7)
        assert found["status"] == {"subnets": []}
        assert set(changed) == {NAME}

    told(story)


def test_a_mirrored_object_that_is_the_same_is_no_news() -> None:
    async def story(objects: Objects, changed: list[Any]) -> None:
        await objects.mirror(body(), None)
        changed.clear()
        await objects.mirror(
            body() | {"metadata": body()["metadata"] | {"resourceVersion": "1"}}, None
        )
        assert changed == []
        await objects.mirror(body(mtu=1400), None)
        assert changed == [NAME]

    told(story)


def test_a_status_of_ones_own_is_not_overwritten_and_others_are() -> None:
    async def story(objects: Objects, changed: list[Any]) -> None:
        await objects.mirror(body(), None)
        await objects.set_status(NAME, {"mine": 1})
        changed.clear()
        await objects.mirror(body(), None)
        assert changed == []
        await objects.mirror(body(), {"theirs": 2})
        found = objects.get(*NAME)
        assert found is not None and found["status"] == {"theirs": 2}
        assert changed == [NAME]

    told(story)


def test_what_was_marked_as_deleted_can_come_back() -> None:
    async def story(objects: Objects, changed: list[Any]) -> None:
        await objects.mirror(body(), None)
        await objects.mark_deleted(NAME)
        await objects.mirror(body("u2"), None)
        found = objects.get(*NAME)
        assert found is not None
        assert "deletionTimestamp" not in found["metadata"]
        assert found["metadata"]["uid"] == "u2"

    told(story)
