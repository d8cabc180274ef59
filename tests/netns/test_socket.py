"""The agent's socket under requests that no client of ours sends: refused; the agent lives on."""

import json
import socket
from collections.abc import Iterator
from typing import Any

import pytest

from support.bodies import FOREVER, sandbox
from support.host import Host
from support.podnet import SOCKET, Podnet


@pytest.fixture(scope="module")
def machine() -> Iterator[Podnet]:
    """A machine with a sandbox `web` that every test leaves as it is."""
    with Host("machine") as host:
        podnet = Podnet(host)
        podnet.agent()
        podnet.up(sandbox("web", FOREVER))
        yield podnet


@pytest.fixture(autouse=True)
def unharmed(machine: Podnet) -> Iterator[None]:
    """Afterwards the same agent answers the same."""
    before = machine.request("GET", "/version"), machine.json("get", "psb,pnet")
    yield
    assert (machine.request("GET", "/version"), machine.json("get", "psb,pnet")) == before


WEB = "/objects/podsandboxes/default/web"
GOOD = [{"name": "a.yaml", "text": sandbox("new")}]
WEB_AGAIN = [{"name": "a.yaml", "text": sandbox("web", FOREVER)}]
ATTACH = {"sandbox": "web", "network": "default", "ifname": "eth1"}


@pytest.mark.parametrize(
    ("method", "path", "body", "code"),
    [
        ("GET", "/nowhere", None, 404),
        ("PUT", "/version", None, 405),
        ("POST", "/apply", None, 400),
        ("POST", "/apply", [], 400),
        ("POST", "/apply", {}, 400),
        ("POST", "/apply", {"sources": 1}, 400),
        ("POST", "/apply", {"sources": [1]}, 400),
        ("POST", "/apply", {"sources": [{"name": 1, "text": 2}]}, 400),
        ("POST", "/apply", {"sources": GOOD, "namespace": 7}, 400),
        ("POST", "/apply", {"sources": [{"name": "a", "text": "x" * 13_000_000}]}, 413),
        ("POST", "/plan", {"sources": "x"}, 400),
        ("POST", "/delete", {"sources": WEB_AGAIN, "grace": "soon"}, 400),
        ("POST", "/delete", {"sources": WEB_AGAIN, "grace": -1}, 400),
        ("DELETE", f"{WEB}?grace=soon", None, 400),
        ("DELETE", f"{WEB}?grace=nan", None, 400),
        ("DELETE", f"{WEB}?grace=1e400", None, 400),
        ("GET", "/objects/teapots/default/web", None, 404),
        ("GET", "/objects/podsandboxes/%2e%2e/%2e%2e", None, 404),
        ("DELETE", "/objects/podnetworks/-/default", None, 409),
        ("GET", "/watch/teapots", None, 404),
        ("GET", "/explain/default/nobody", None, 404),
        ("POST", "/run", {}, 400),
        ("POST", "/run", {"object": 1}, 400),
        ("POST", "/run", {"object": {"kind": "PodNetwork"}}, 400),
        ("POST", "/start/default/nobody", None, 404),
        ("POST", "/kill/default/web?container=nobody", None, 404),
        ("POST", "/kill/default/web?signal=TEA", None, 503),
        ("GET", "/exec/default/web?container=../../x", None, 404),
        ("GET", "/logs/default/web?container=../../x", None, 404),
        ("POST", "/attachments", {}, 400),
        ("POST", "/attachments", {"sandbox": 1}, 400),
        ("POST", "/attachments", {"sandbox": "web", "namespace": {"a": 1}}, 400),
        ("POST", "/attachments", {**ATTACH, "network": ["x"]}, 400),
        ("POST", "/attachments", {**ATTACH, "ifname": 5}, 400),
        ("POST", "/attachments", {**ATTACH, "ifname": "../x"}, 400),
        ("POST", "/attachments", {**ATTACH, "addresses": 5}, 400),
        ("POST", "/attachments", {**ATTACH, "addresses": [None]}, 400),
        ("POST", "/attachments", {**ATTACH, "routes": "x", "mac": 5}, 400),
        ("DELETE", "/attachments/default/web/..%2f..", None, 404),
    ],
)
def test_what_nobody_should_ask_is_refused_as_a_status(
    method: str, path: str, body: Any, code: int, machine: Podnet
) -> None:
    found, answer = machine.request(method, path, body)
    assert (found, answer["kind"]) == (code, "Status")
    assert answer["message"]


@pytest.mark.parametrize(
    "raw",
    [
        b"tea please\r\n\r\n",
        b"\x00" * 200,
        b"POST /apply HTTP/1.1\r\nHost: x\r\nContent-Length: many\r\n\r\n",
        b"GET /version HTTP/1.1\r\nHost: x\r\nX: " + b"a" * 100_000 + b"\r\n\r\n",
        b"POST /apply HTTP/1.0\r\nContent-Type: text/x; charset=tea\r\nContent-Length: 2\r\n\r\n{}",
        b"POST /apply HTTP/1.0\r\nContent-Length: 3\r\n\r\n\xff\xfe{",
    ],
    ids=["no HTTP", "zeros", "no length", "a long header", "no charset", "no UTF-8"],
)
def test_what_is_no_request_is_refused(raw: bytes, machine: Podnet) -> None:
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(5)
        client.connect(str(machine.host.path(SOCKET)))
        client.sendall(raw)
        assert b" 400 " in client.recv(200)


def test_who_hangs_up_early_costs_nothing(machine: Podnet) -> None:
    for raw in (b"", b"GET /ver", b"POST /apply HTTP/1.0\r\nContent-Length: 99\r\n\r\n{"):
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(machine.host.path(SOCKET)))
            client.sendall(raw)
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(machine.host.path(SOCKET)))
        client.sendall(b"GET /watch/podsandboxes HTTP/1.0\r\n\r\n")
        assert b"200" in client.recv(100)


def test_everybody_else_is_served_while_one_says_nothing(machine: Podnet) -> None:
    silent = [socket.socket(socket.AF_UNIX) for _ in range(50)]
    try:
        for client in silent:
            client.connect(str(machine.host.path(SOCKET)))
        assert json.dumps(machine.json("get", "psb"))
    finally:
        for client in silent:
            client.close()
