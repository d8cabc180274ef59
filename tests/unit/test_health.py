"""What the kubelet's probes of the agent hear."""

import asyncio
import socket
from pathlib import Path

import aiohttp
import pytest

from podnet.errors import Conflict, Retryable
from podnet_agent.health import HOST, Question, answers, listen, reachable, served


async def heard(path: str, alive: Question = answers, ready: Question = answers) -> tuple[int, str]:
    """Status and text, as a kubelet gets them."""
    listener = listen(port=0)
    host, port = listener.getsockname()
    assert host == HOST == "127.0.0.1"  # nobody else's business
    async with (
        served(listener, alive, ready),
        aiohttp.ClientSession() as session,
        session.get(f"http://{host}:{port}/{path}") as response,
    ):
        return response.status, await response.text()


async def not_yet() -> None:
    raise Retryable("link podnet0 is not there yet")


def test_a_probe_hears_that_the_agent_answers() -> None:
    assert asyncio.run(heard("healthz")) == (200, "ok")
    assert asyncio.run(heard("readyz")) == (200, "ok")


def test_who_is_not_ready_says_why_and_is_alive() -> None:
    sentence = "link podnet0 is not there yet"
    assert asyncio.run(heard("readyz", ready=not_yet)) == (503, sentence)
    assert asyncio.run(heard("healthz", ready=not_yet)) == (200, "ok")


def test_one_whose_socket_is_gone_is_to_be_started_anew(tmp_path: Path) -> None:
    """Pods come by that socket: an agent that nobody can reach does not live."""
    path = tmp_path / "agent.sock"
    with socket.socket(socket.AF_UNIX) as first, socket.socket(socket.AF_UNIX) as second:
        first.bind(str(path))
        alive = reachable(path)
        assert asyncio.run(heard("healthz", alive)) == (200, "ok")
        path.rename(tmp_path / "elsewhere")
        sentence = f"{path} is not this agent's socket any more: the next agent makes one"
        assert asyncio.run(heard("healthz", alive)) == (503, sentence)
        second.bind(str(path))
        assert asyncio.run(heard("healthz", alive)) == (503, sentence)


def test_a_taken_port_is_named() -> None:
    with listen(port=0) as first:
        first.listen()
        with pytest.raises(
            Conflict, match=r"127\.0\.0\.1:\d+ is taken.*probes.*: end the other agent, or what"
        ):
            listen(first.getsockname()[1])


def test_a_probe_that_waits_keeps_nobody_from_ending() -> None:
    async def story() -> None:
        listener, asked = listen(port=0), asyncio.Event()
        port = listener.getsockname()[1]

        async def never() -> None:
            asked.set()
            await asyncio.Event().wait()

        async with served(listener, answers, never):
            _, writer = await asyncio.open_connection(HOST, port)
            writer.write(b"GET /readyz HTTP/1.0\r\n\r\n")
            await asked.wait()
        writer.close()

    asyncio.run(asyncio.wait_for(story(), 10))
