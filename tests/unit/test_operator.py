"""The operator as a whole, with kopf, against an API server that fails in every way (S38)."""

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from podnet.shares import GONE_SECONDS
from support.fake_api import FakeApi
from support.operating import (
    agent,
    network,
    node,
    operator,
    ready,
    sandbox,
    shares,
    told,
    until,
    watching,
)


def test_a_cluster_comes_to_rest(tmp_path: Path) -> None:
    """Nodes get shares, sandboxes places, and then nothing more is written."""

    async def story(api: FakeApi) -> None:
        network(api, "blue", "10.8.0.0/16", "fd00:8::/48")
        network(api, "default")
        sandbox(api, "web", podNetwork="blue")
        sandbox(api, "side", mode="Container", sandbox="web")
        async with operator():
            await until(lambda: len(shares(api)) == 4, "every share")
            assert shares(api) == {
                "blue.w1": "10.8.0.0/24 fd00:8::/64",
                "blue.w2": "10.8.1.0/24 fd00:8:0:1::/64",
                "default.w1": "10.244.1.0/24",
                "default.w2": "10.244.2.0/24",
            }
            for share in shares(api):
                agent(api, share, used=1)
            await until(lambda: ready(api, "blue") == "Assigned", "a ready network")
            placed = [api.get("podsandboxes", name, "default") for name in ("web", "side")]
            assert [each["spec"]["nodeName"] for each in placed] == ["w1", "w1"]
            (owner,) = api.get("nodesubnets", "blue.w1")["metadata"]["ownerReferences"]
            assert owner["uid"] == api.get("podnetworks", "blue")["metadata"]["uid"]
            await asyncio.sleep(0.3)
            before = api.requests.copy()
            node(api, "w2", 2)  # a heartbeat
            await asyncio.sleep(0.5)
            writes = {
                key for key, n in (api.requests - before).items() if not key.startswith("GET")
            }
            assert writes <= {"PUT leases"}

    told(tmp_path, story)


def test_a_node_that_comes_gets_its_share_and_one_that_returns_the_same(tmp_path: Path) -> None:
    """S23: deleted and registered again under its name, with another uid."""

    async def story(api: FakeApi) -> None:
        network(api, "blue", "10.8.0.0/16")
        async with operator():
            await until(lambda: len(shares(api)) == 2, "two shares")
            node(api, "w3", 3)
            await until(lambda: shares(api).get("blue.w3") == "10.8.2.0/24", "a third share")
            before = api.get("nodesubnets", "blue.w1")
            api.take("nodes", "w1")
            node(api, "w4", 4)
            await until(lambda: "blue.w4" in shares(api), "a fourth share")
            node(api, "w1", 1)
            node(api, "w5", 5)
            await until(lambda: "blue.w5" in shares(api), "a fifth share")
            assert api.get("nodesubnets", "blue.w1") == before
            assert shares(api)["blue.w4"] == "10.8.3.0/24"

    told(tmp_path, story)


def test_how_long_a_node_is_gone_outlives_the_operator(tmp_path: Path) -> None:
    """S23: 300 s in all, however often an operator is started meanwhile."""

    async def story(api: FakeApi) -> None:
        network(api, "blue", "10.8.0.0/16")
        async with operator():
            await until(lambda: len(shares(api)) == 2, "two shares")
            api.take("nodes", "w2")
            said = await until(
                lambda: api.condition("nodesubnets", "blue.w2", "NodePresent"), "that it is gone"
            )
            assert (said["status"], said["reason"]) == ("False", "NodeGone")
        long_ago = (datetime.now(UTC) - timedelta(seconds=GONE_SECONDS - 1)).isoformat()
        condition = said | {"lastTransitionTime": long_ago}
        api.put("nodesubnets", "blue.w2", status={"conditions": [condition]})
        async with operator():
            await until(lambda: list(shares(api)) == ["blue.w1"], "it to be freed")

    told(tmp_path, story)


def test_an_operator_that_restarts_changes_nothing(tmp_path: Path) -> None:
    async def story(api: FakeApi) -> None:
        network(api, "blue", "10.8.0.0/16")
        sandbox(api, "web", podNetwork="blue")
        async with operator():
            await until(lambda: ready(api, "blue"), "a word on the network")
        before = (shares(api), api.get("podnetworks", "blue"))
        api.requests.clear()
        async with operator():
            await until(lambda: watching(api), "every watch")
            await asyncio.sleep(0.5)
        assert (shares(api), api.get("podnetworks", "blue")) == before
        writes = {key for key in api.requests if not key.startswith("GET")}
        assert writes <= {"PUT leases"}

    told(tmp_path, story)


@pytest.mark.parametrize("how", ["cut", "410", "duplicates"])
def test_a_broken_stream_misses_nothing(tmp_path: Path, how: str) -> None:
    """S38: what happens while a watch is cut, or after its past was forgotten."""

    async def story(api: FakeApi) -> None:
        network(api, "blue", "10.8.0.0/16")
        async with operator():
            await until(lambda: len(shares(api)) == 2, "two shares")
            await until(lambda: watching(api), "every watch")
            api.twice = how == "duplicates"
            if how != "duplicates":
                api.cut()
                node(api, "w3", 3)
                api.take("nodesubnets", "blue.w1")
            if how == "410":
                api.compact()
            if how == "duplicates":
                node(api, "w3", 3)
                api.take("nodesubnets", "blue.w1")
            expected = ["10.8.0.0/24", "10.8.1.0/24", "10.8.2.0/24"]
            await until(lambda: sorted(shares(api).values()) == expected, "every share")
            assert shares(api)["blue.w1"] == "10.8.0.0/24"

    told(tmp_path, story)


def test_a_watch_that_tells_nothing_is_noticed_and_put_right(tmp_path: Path) -> None:
    """kopf's issues 1276 and 996: it goes on without an error."""

    async def story(api: FakeApi) -> None:
        network(api, "blue", "10.8.0.0/16")
        async with operator(look_seconds=0.3):
            await until(lambda: len(shares(api)) == 2, "two shares")
            await until(lambda: watching(api), "every watch")
            api.mute.add("nodes")
            node(api, "w3", 3)
            await until(lambda: "blue.w3" in shares(api), "the share of a node nobody told of")

    told(tmp_path, story)


def test_of_two_operators_one_writes(tmp_path: Path) -> None:
    """S38: by accident. When the first ends, the second goes on at once."""

    async def story(api: FakeApi) -> None:
        async with operator() as first:
            await until(lambda: api.objects["leases"], "a lease")
            async with operator():
                network(api, "blue", "10.8.0.0/16")
                for number in range(3, 9):
                    node(api, f"w{number}", number)
                await until(lambda: len(shares(api)) == 8, "every share")
                await asyncio.sleep(0.3)
                assert len(set(shares(api).values())) == 8
                assert api.requests["POST nodesubnets"] == 8
                first.stop()
                node(api, "w9", 9)
                await until(lambda: "blue.w9" in shares(api), "a share by the second one")

    told(tmp_path, story)


def test_overlapping_shares_are_cut_anew(tmp_path: Path) -> None:
    """Two operators did write at once: the older share stays."""

    async def story(api: FakeApi) -> None:
        network(api, "blue", "10.8.0.0/16")
        uid = api.get("podnetworks", "blue")["metadata"]["uid"]
        for name, created in (("w2", "2026-01-01T00:00:01Z"), ("w1", "2026-01-01T00:00:02Z")):
            spec = {"podNetwork": "blue", "nodeName": name, "podCIDRs": ["10.8.7.0/24"]}
            owner = {"ownerReferences": [{"uid": uid}], "creationTimestamp": created}
            api.put("nodesubnets", f"blue.{name}", metadata=owner, spec=spec)
        async with operator():
            await until(lambda: shares(api).get("blue.w1") == "10.8.0.0/24", "another share")
            assert shares(api)["blue.w2"] == "10.8.7.0/24"

    told(tmp_path, story)


def test_an_api_server_that_fails_is_asked_again(tmp_path: Path) -> None:
    """S37: while it is away nothing is lost; when it is back all is done."""

    async def story(api: FakeApi) -> None:
        network(api, "blue", "10.8.0.0/16")
        async with operator():
            await until(lambda: len(shares(api)) == 2, "two shares")
            api.refuse = lambda method, path: 503
            api.cut()
            node(api, "w3", 3)
            network(api, "green", "10.9.0.0/16")
            await asyncio.sleep(0.5)
            assert len(shares(api)) == 2
            api.refuse = lambda method, path: 0
            await until(lambda: len(shares(api)) == 6, "every share")

    told(tmp_path, story)


def test_one_write_that_is_refused_holds_up_no_other(tmp_path: Path) -> None:
    async def story(api: FakeApi) -> None:
        sandbox(api, "web", podNetwork="blue")
        sandbox(api, "db", podNetwork="blue")
        api.refuse = lambda method, path: (
            409 if method == "PATCH" and path.endswith("/podsandboxes/web") else 0
        )
        async with operator():
            await until(
                lambda: api.get("podsandboxes", "db", "default")["spec"].get("nodeName"), "db"
            )
            assert "nodeName" not in api.get("podsandboxes", "web", "default")["spec"]
            api.refuse = lambda method, path: 0
            await until(
                lambda: api.get("podsandboxes", "web", "default")["spec"].get("nodeName"), "web"
            )

    told(tmp_path, story)


def test_many_nodes_agree_in_seconds(tmp_path: Path) -> None:
    """The goal on a real cluster: 20 s for 200 nodes and three networks (bench-cluster)."""

    async def story(api: FakeApi) -> None:
        for name, subnet in (("a", "10.8.0.0/16"), ("b", "10.9.0.0/16"), ("c", "fd00:8::/48")):
            network(api, name, subnet)
        async with operator():
            await until(lambda: len(shares(api)) == 150, "every share", 20.0)
            assert len(set(shares(api).values())) == 150
            await until(lambda: all(ready(api, name) for name in "abc"), "a word on each", 20.0)

    told(tmp_path, story, *(f"n{number}" for number in range(1, 51)))
