"""What the kubelet's probes of the agent hear."""

import asyncio

import aiohttp
import pytest

from podnet.errors import Conflict, Retryable
from podnet_agent.health import HOST, Ready, answers, served


async def heard(ready: Ready, path: str) -> tuple[int, str]:
    """Status and text, as a kubelet gets them."""
    async with (
        served(ready, port=0) as (host, port),
        aiohttp.ClientSession() as session,
        session.get(f"http://{host}:{port}/{path}") as response,
    ):
        assert host == HOST == "127.0.0.1"  # nobody else's business
        return response.status, await response.text()


async def not_yet() -> None:
    raise Retryable("link podnet0 is not there yet")


def test_a_probe_hears_that_the_agent_answers() -> None:
    assert asyncio.run(heard(answers, "healthz")) == (200, "ok")
    assert asyncio.run(heard(answers, "readyz")) == (200, "ok")


def test_who_is_not_ready_says_why_and_is_alive() -> None:
    assert asyncio.run(heard(not_yet, "readyz")) == (503, "link podnet0 is not there yet")
    assert asyncio.run(heard(not_yet, "healthz")) == (200, "ok")


def test_a_taken_port_is_named() -> None:
    async def twice() -> None:
        async with served(answers, port=0) as (_, port), served(answers, port=port):
            raise AssertionError("both listen")

    with pytest.raises(Conflict, match=r"127\.0\.0\.1:\d+ is taken.*probes.*: end what listens"):
        asyncio.run(twice())
