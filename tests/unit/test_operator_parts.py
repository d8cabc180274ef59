"""The operator's parts against an API server: requests, the lease, the watchman, the snapshot."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import aiohttp
import kopf
import pytest

from podnet.errors import Conflict, PodNetError, Retryable
from podnet_operator import access
from podnet_operator.client import Client, Missing
from podnet_operator.facts import NETWORKS, NODES, SERVICES, SHARES
from podnet_operator.health import STUCK_SECONDS, Health
from podnet_operator.lease import Lease
from podnet_operator.leaving import Leaving
from podnet_operator.loop import Loop
from podnet_operator.snapshot import Snapshot
from podnet_operator.watchman import Watchman
from support.fake_api import FakeApi
from support.operating import cluster, network, node

Story = Callable[[FakeApi, Client], Awaitable[None]]


def told(folder: Path, story: Story) -> None:
    """Run a story with a client of a fresh cluster of one node."""

    async def whole() -> None:
        async with cluster(folder, "w1") as api:
            client = Client(lambda: access.connection(kopf.OperatorSettings()))
            try:
                await story(api, client)
            finally:
                await client.close()

    asyncio.run(whole())


# --- requests ---


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (401, Retryable),
        (403, Retryable),
        (404, Missing),
        (409, Conflict),
        (422, PodNetError),
        (429, Retryable),
        (500, Retryable),
        (503, Retryable),
    ],
)
def test_an_error_is_named_by_what_to_do(
    tmp_path: Path, status: int, error: type[PodNetError]
) -> None:
    async def story(api: FakeApi, client: Client) -> None:
        api.refuse = lambda method, path: status
        with pytest.raises(PodNetError) as caught:
            await client.get(NODES, "w1")
        assert type(caught.value) is error
        assert "GET /api/v1/nodes/w1: refused by the test" in str(caught.value)

    told(tmp_path, story)


def test_a_token_that_is_old_is_read_anew(tmp_path: Path) -> None:
    async def story(api: FakeApi, client: Client) -> None:
        answers = iter([401, 0])
        api.refuse = lambda method, path: next(answers)
        assert (await client.get(NODES, "w1"))["metadata"]["name"] == "w1"

    told(tmp_path, story)


def test_a_server_that_is_away_is_retryable(tmp_path: Path) -> None:
    async def whole() -> None:
        client = Client(lambda: kopf.ConnectionInfo(server="http://127.0.0.1:1"))
        with pytest.raises(Retryable, match="does not answer GET /api/v1/nodes"):
            await client.list(NODES)
        await client.close()

    asyncio.run(whole())


def test_what_was_deleted_already_is_deleted(tmp_path: Path) -> None:
    async def story(api: FakeApi, client: Client) -> None:
        await client.delete(SHARES, "blue.w1", "some-uid")
        api.put("nodesubnets", "blue.w1", spec={})
        with pytest.raises(Conflict):
            await client.delete(SHARES, "blue.w1", "another-uid")
        assert api.objects["nodesubnets"]

    told(tmp_path, story)


def test_an_object_made_anew_gets_no_status_of_the_old_one(tmp_path: Path) -> None:
    async def story(api: FakeApi, client: Client) -> None:
        network(api, "blue", "10.8.0.0/16")
        with pytest.raises(Conflict):
            await client.apply_status(NETWORKS, "blue", "another-uid", {"nodes": 1})

    told(tmp_path, story)


# --- the lease ---


def test_who_is_there_first_holds_the_lease(tmp_path: Path) -> None:
    async def story(api: FakeApi, client: Client) -> None:
        one, other = (Lease(client, "default", name) for name in ("one", "other"))
        await one.renew()
        await other.renew()
        assert (one.held, other.held, other.other) == (True, False, "one")
        await one.release()
        await other.renew()
        assert (one.held, other.held) == (False, True)

    told(tmp_path, story)


def test_a_lease_that_is_not_renewed_ends_for_both(tmp_path: Path) -> None:
    """No clock is compared: the other one waits for as long as it sees no renewal."""

    async def story(api: FakeApi, client: Client) -> None:
        one, other = (Lease(client, "default", name, seconds=1.0) for name in ("one", "other"))
        await one.renew()
        began = time.monotonic()
        await other.renew()
        while not other.held:
            assert time.monotonic() < began + 5
            await asyncio.sleep(0.05)
            await other.renew()
        assert time.monotonic() >= began + 1.0
        assert not one.held

    told(tmp_path, story)


def test_of_two_who_take_it_at_once_one_gets_it(tmp_path: Path) -> None:
    async def story(api: FakeApi, client: Client) -> None:
        several = [Lease(client, "default", f"holder{number}") for number in range(5)]
        await asyncio.gather(*(lease.renew() for lease in several))
        assert [lease.held for lease in several].count(True) == 1

    told(tmp_path, story)


def test_nothing_is_written_without_the_lease(tmp_path: Path) -> None:
    async def story(api: FakeApi, client: Client) -> None:
        network(api, "blue", "10.8.0.0/16")
        loop = Loop(client, Lease(client, "default", "one"), Leaving(client, "default"))
        task = asyncio.create_task(loop.run())
        await asyncio.sleep(0.5)
        task.cancel()
        assert loop.passes > 0 == loop.failures
        assert not api.objects["nodesubnets"]

    told(tmp_path, story)


def test_who_has_waited_long_begins_as_soon_as_it_gains_the_lease(tmp_path: Path) -> None:
    async def story(api: FakeApi, client: Client) -> None:
        network(api, "blue", "10.8.0.0/16")
        one, other = (Lease(client, "default", name) for name in ("one", "other"))
        await one.renew()
        loop = Loop(client, other, Leaving(client, "default"))
        task = asyncio.create_task(loop.run())
        for number in range(2, 20):  # each is a reason to look, and none to write
            await other.renew()
            node(api, f"w{number}", number)
            await loop.refresh(NODES)
            await asyncio.sleep(0.05)
        assert loop.passes > 5
        assert not api.objects["nodesubnets"]
        await one.release()
        await other.renew()
        began = time.monotonic()
        while not api.objects["nodesubnets"]:
            assert time.monotonic() < began + 2
            await asyncio.sleep(0.01)
        task.cancel()

    told(tmp_path, story)


# --- the watchman ---


def test_a_watch_that_is_behind_twice_is_dead(tmp_path: Path) -> None:
    async def story(api: FakeApi, client: Client) -> None:
        loop = Loop(client, Lease(client, "default", "one"), Leaving(client, "default"))
        watchman = Watchman(client, loop.snapshot, loop.refresh)
        health = Health(loop, watchman)
        await loop.refresh(SERVICES)
        for number in range(2, 6):
            node(api, f"w{number}", number)  # nobody watches
            assert health.complaints() == []
            await watchman.look()
        assert [each.id.name for each in loop.snapshot.nodes] == ["w1", "w2", "w3", "w4", "w5"]
        assert health.complaints() == ["the watch of nodes is dead"]
        assert 'podnet_operator_watch_behind_total{kind="nodes"} 2' in health.metrics()
        await watchman.look()  # nothing new, nothing missed
        assert health.complaints() == []

    told(tmp_path, story)


def test_the_probe_hears_what_only_a_restart_mends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def story(api: FakeApi, client: Client) -> None:
        loop = Loop(client, Lease(client, "default", "one"), Leaving(client, "default"))
        watchman = Watchman(client, loop.snapshot, loop.refresh)
        runner = await Health(loop, watchman).serve(0)
        try:
            host, port = runner.addresses[0]
            assert host == "127.0.0.1"  # nobody else's business
            url = f"http://{host}:{port}/healthz"
            assert await asked(url) == (200, "ok")
            monkeypatch.setattr(loop, "began", time.monotonic() - STUCK_SECONDS / 2)
            assert await asked(url) == (200, "ok")
            monkeypatch.setattr(loop, "began", time.monotonic() - STUCK_SECONDS - 1)
            status, text = await asked(url)
            assert (status, "the loop is stuck since" in text) == (503, True)
            monkeypatch.setattr(Watchman, "dead", ["nodes", "podnetworks"])
            status, text = await asked(url)
            assert (status, text.splitlines()[:2]) == (
                503,
                ["the watch of nodes is dead", "the watch of podnetworks is dead"],
            )
            monkeypatch.undo()
            assert await asked(url) == (200, "ok")
        finally:
            await runner.cleanup()

    told(tmp_path, story)


async def asked(url: str) -> tuple[int, str]:
    """Status and text, as a kubelet gets them."""
    async with aiohttp.ClientSession() as session, session.get(url) as response:
        return response.status, await response.text()


def test_what_went_unseen_is_found(tmp_path: Path) -> None:
    async def story(api: FakeApi, client: Client) -> None:
        loop = Loop(client, Lease(client, "default", "one"), Leaving(client, "default"))
        watchman = Watchman(client, loop.snapshot, loop.refresh)
        await loop.refresh(NODES)
        await watchman.look()
        api.take("nodes", "w1")
        await watchman.look()
        assert [each.id.name for each in loop.snapshot.nodes] == ["w1"]  # may be told any moment
        await watchman.look()
        assert loop.snapshot.nodes == ()

    told(tmp_path, story)


# --- the snapshot ---


def body(name: str, version: int, **spec: object) -> dict[str, object]:
    meta = {"name": name, "uid": f"uid-{name}", "resourceVersion": str(version)}
    return {"metadata": meta, "spec": spec}


def names(snapshot: Snapshot) -> list[str]:
    return [each.id.name for each in snapshot.nodes]


def test_the_latest_version_counts_in_whatever_order_they_come() -> None:
    snapshot = Snapshot(lambda: None)
    snapshot.sees(NODES, body("w1", 5, unschedulable=True))
    snapshot.sees(NODES, body("w1", 4))
    assert [each.schedulable for each in snapshot.nodes] == [False]
    snapshot.misses(NODES, ("", "w1"), 3)
    assert names(snapshot) == ["w1"]
    snapshot.misses(NODES, ("", "w1"), 6)
    snapshot.sees(NODES, body("w1", 5))
    assert names(snapshot) == []
    snapshot.sees(NODES, body("w1", 7))
    assert names(snapshot) == ["w1"]


def test_a_list_takes_away_what_is_not_in_it_but_nothing_younger() -> None:
    snapshot = Snapshot(lambda: None)
    snapshot.sees(NODES, body("old", 5))
    snapshot.sees(NODES, body("young", 12))
    snapshot.misses(NODES, ("", "gone"), 11)
    snapshot.holds(NODES, [body("listed", 3), body("gone", 4)], 10)
    assert sorted(names(snapshot)) == ["listed", "young"]


def test_what_does_not_matter_wakes_nobody() -> None:
    """A kubelet writes its Node's status every few minutes, and each of 5,000 does."""
    calls: list[int] = []
    snapshot = Snapshot(lambda: calls.append(1))
    snapshot.sees(NODES, body("w1", 5))
    snapshot.sees(NODES, body("w1", 6))
    assert len(calls) == 1
    assert snapshot.versions(NODES) == {("", "w1"): 6}
