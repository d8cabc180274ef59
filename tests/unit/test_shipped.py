"""The networks that come with the installation."""

import asyncio
from functools import partial
from pathlib import Path

import pytest

from podnet_operator import access, handlers, shipped
from podnet_operator.client import Client
from support.operating import cluster, network, until

NETWORK = Path(__file__).parents[2] / "deploy/base/network.yaml"


def make(folder: Path, *, there: bool = False, refusals: int = 0) -> dict[str, object]:
    """The specs of what is there afterwards; first the API server refuses so often."""

    async def story() -> dict[str, object]:
        async with cluster(folder) as api:
            if there:
                network(api, "default", "10.9.0.0/16")
            left = iter([503] * refusals)
            api.refuse = lambda method, path: next(left, 0) if method == "POST" else 0
            client = Client(partial(access.connection, handlers.settings()))
            try:
                async with asyncio.timeout(10):
                    await shipped.make(client, folder)
            finally:
                await client.close()
            return {name: body["spec"] for (_, name), body in api.objects["podnetworks"].items()}

    return asyncio.run(story())


def test_a_network_of_the_installation_is_made(tmp_path: Path) -> None:
    (tmp_path / "network.yaml").write_bytes(NETWORK.read_bytes())
    assert make(tmp_path) == {"default": {"backend": {"type": "HostGateway"}}}


def test_one_that_is_there_is_a_persons(tmp_path: Path) -> None:
    (tmp_path / "network.yaml").write_bytes(NETWORK.read_bytes())
    (spec,) = make(tmp_path, there=True).values()
    assert isinstance(spec, dict)
    assert spec["subnets"] == ["10.9.0.0/16"]


def test_an_api_server_that_is_away_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shipped, "RETRY_SECONDS", 0.01)
    (tmp_path / "network.yaml").write_bytes(NETWORK.read_bytes())
    assert "default" in make(tmp_path, refusals=3)


def test_all_come_back_with_their_kind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that a person deleted does not, as long as the operator runs."""
    for name in ("RETRY_SECONDS", "LOOK_SECONDS"):
        monkeypatch.setattr(shipped, name, 0.01)
    (tmp_path / "network.yaml").write_bytes(NETWORK.read_bytes())

    async def story() -> None:
        async with cluster(tmp_path) as api:
            networks = api.objects["podnetworks"]
            client = Client(partial(access.connection, handlers.settings()))
            keeping = asyncio.create_task(shipped.keep(client, tmp_path))
            try:
                await until(lambda: networks, "the network")
                api.delete("podnetworks", "default")
                await asyncio.sleep(0.2)
                assert not networks
                api.drop_kind("podnetworks")
                api.restore_kind("podnetworks")
                await until(lambda: networks, "the network to be back")
            finally:
                keeping.cancel()
                await client.close()

    asyncio.run(story())


def test_nothing_is_made_where_nothing_comes_with_it(tmp_path: Path) -> None:
    assert make(tmp_path) == {}


def test_a_file_that_cannot_be_read_is_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "broken.yaml").write_text("kind: [")
    assert make(tmp_path) == {}
    assert "broken.yaml line 2 is no YAML" in caplog.text
