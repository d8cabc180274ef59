"""The API server as the agent talks to it: lists, watches, statuses applied. Lives in the loop.

A client library would cost 16 MiB on every node, for three kinds of requests.
"""

import asyncio
import json
import logging
import os
import random
import socket
import ssl
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from weakref import WeakSet

import aiohttp
from aiohttp.connector import AddrInfoType

from podnet.errors import PodNetError, Retryable
from podnet.kinds import AGENT_KINDS, GROUP, Kind
from podnet_agent.cluster.backoff import Backoff
from podnet_agent.objects import Body
from podnet_agent.paths import ACCOUNT

log = logging.getLogger(__name__)

MANAGER = "podnet-agent"
"""Who owns the fields that are applied."""
CONNECT_SECONDS = 5.0
ANSWER_SECONDS = 15.0
LIST_SECONDS = 60.0
SILENCE_SECONDS = 90.0
"""A watch says something once a minute, if only a bookmark: one that does not is dead."""
SHORTEST_WATCH_SECONDS, LONGEST_WATCH_SECONDS = 300, 600
"""So that streams of all nodes do not end together; kube-apiserver's own would be 30 to 60 min."""
_KEEPALIVE = {
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE): 1,
    (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE): 15,
    (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL): 5,
    (socket.IPPROTO_TCP, socket.TCP_KEEPCNT): 3,
}
"""Half a minute, as client-go's HTTP/2 pings."""
PAGE = 500
"""Objects an answer to a list, as of client-go's pager."""

_JSON = "application/json"
_NAME_ONLY = f"{_JSON};as=PartialObjectMetadata;g=meta.k8s.io;v=v1,{_JSON}"
"""Of a kind all else is its schema, dozens of kB."""
_KINDS = {kind.kind: kind for kind in AGENT_KINDS}


class ApiError(Retryable):
    """The API server was not reached (code 0), or refused."""

    def __init__(self, code: int, sentence: str) -> None:
        super().__init__(sentence)
        self.code = code


@dataclass(frozen=True, slots=True)
class Resource:
    """Objects of one kind, or those of them that a field selector names."""

    kind: str
    plural: str
    path: str  # of all of them
    field_selector: str = ""

    @property
    def kind_path(self) -> str:
        """Of the kind itself, one of ours."""
        kinds = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
        return f"{kinds}/{self.plural}.{GROUP}"


def resource(kind: str, field_selector: str = "") -> Resource:
    """What an agent keeps of a kind, by its name."""
    found = _KINDS[kind]
    return Resource(kind, found.plural, f"{_root(found)}/{found.plural}", field_selector)


def api_version(kind: str) -> str:
    """As the kind's objects name it."""
    return _KINDS[kind].api_version


class Api:
    """One API server. Every failure is an ApiError."""

    def __init__(self, url: str, account: Path) -> None:
        self._url, self._account = url, account
        self._session: aiohttp.ClientSession | None = None
        self._under_way: set[asyncio.Timeout] = set()  # of every request; none is ever due
        self._backoffs: WeakSet[Backoff] = WeakSet()
        self._trusted: tuple[int, ssl.SSLContext] | None = None  # with the file's time

    @classmethod
    def of_cluster(cls, environment: Mapping[str, str] = os.environ) -> "Api":
        """The cluster's that this process is a Pod of; PodNetError where it is none."""
        host = environment.get("KUBERNETES_SERVICE_HOST")
        port = environment.get("KUBERNETES_SERVICE_PORT", "443")
        if not host or not (ACCOUNT / "token").exists():
            raise PodNetError(
                f"--node is for an agent that runs as a Pod: KUBERNETES_SERVICE_HOST and"
                f" {ACCOUNT}/token are missing: leave --node out on a machine without a cluster"
            )
        return cls(f"https://{f'[{host}]' if ':' in host else host}:{port}", ACCOUNT)

    async def list(self, resource: Resource) -> tuple[list[Body], str]:
        """All of them, and the resource version to watch from."""
        found: list[Body] = []
        query = {"limit": str(PAGE), **_selected(resource)}
        while True:
            async with self._asking("GET", resource.path, query, LIST_SECONDS) as response:
                page = await response.json()
            for item in page["items"]:  # of a list's items the server leaves these out
                found.append({"apiVersion": page["apiVersion"], "kind": resource.kind, **item})
            meta = page["metadata"]
            if not meta.get("continue"):
                return found, meta["resourceVersion"]
            query["continue"] = meta["continue"]

    async def kind_uid(self, resource: Resource) -> str:
        """Which kind the server has under that name; empty: none, or one that is being deleted."""
        if not _KINDS[resource.kind].group:
            return resource.kind  # Kubernetes' own are always there
        try:
            async with self._asking(
                "GET", resource.kind_path, {}, ANSWER_SECONDS, accept=_NAME_ONLY
            ) as response:
                meta = (await response.json())["metadata"]
        except ApiError as error:
            if error.code == 404:
                return ""
            raise
        return "" if "deletionTimestamp" in meta else str(meta["uid"])

    async def watch(
        self, resource: Resource, version: str
    ) -> AsyncGenerator[tuple[str, Body], None]:
        """Events after that version, bookmarks too, until the server ends the stream."""
        seconds = random.randint(SHORTEST_WATCH_SECONDS, LONGEST_WATCH_SECONDS)
        query = {
            "watch": "1",
            "allowWatchBookmarks": "true",
            "resourceVersion": version,
            "timeoutSeconds": str(seconds),
            **_selected(resource),
        }
        async with self._asking("GET", resource.path, query, None) as response:
            async for line in _lines(response):
                event = json.loads(line)
                if event["type"] == "ERROR":
                    raise _refusal(event["object"].get("code", 0), event["object"])
                yield event["type"], event["object"]

    async def apply_status(self, body: Body) -> Body:
        """Server-side apply of the body's status; the object as it is then.

        404 where it is gone, 409 where the name is another object's by now (another uid).
        """
        meta = body["metadata"]
        kind = _KINDS[body["kind"]]
        inside = f"/namespaces/{meta['namespace']}" if kind.namespaced else ""
        path = f"{_root(kind)}{inside}/{kind.plural}/{meta['name']}/status"
        query = {"fieldManager": MANAGER, "force": "true"}
        async with self._asking("PATCH", path, query, ANSWER_SECONDS, body) as response:
            answer: Body = await response.json()
            return answer

    async def tell(self, event: Body) -> None:
        """Create an Event."""
        path = f"/api/v1/namespaces/{event['metadata']['namespace']}/events"
        async with self._asking("POST", path, {}, ANSWER_SECONDS, event):
            pass

    def backoff(self, first: float, longest: float) -> Backoff:
        """For who asks again after failures; `close` ends its pauses."""
        backoff = Backoff(first, longest)
        self._backoffs.add(backoff)
        return backoff

    async def close(self) -> None:
        """End what is under way: with an ApiError for who waits for it. The next one connects anew.

        Also for a node whose own address changed: what goes on from the old one gets no answer, and
        what failed for want of an address may be asked again at once.
        """
        for backoff in self._backoffs:
            backoff.hurry()
        for limit in self._under_way:
            limit.reschedule(0)
        session, self._session = self._session, None
        if session:
            await session.close()

    @asynccontextmanager
    async def _asking(
        self,
        method: str,
        path: str,
        query: Mapping[str, str],
        seconds: float | None,
        body: Body | None = None,
        accept: str = _JSON,
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """The answer, if it is a good one."""
        silence = SILENCE_SECONDS if seconds is None else seconds
        timeout = aiohttp.ClientTimeout(seconds, sock_connect=CONNECT_SECONDS, sock_read=silence)
        try:
            async with (
                self._to_be_given_up(),
                self._open().request(
                    method,
                    self._url + path,
                    params=query,
                    headers=self._headers(method) | {"Accept": accept},
                    data=None if body is None else json.dumps(body),
                    timeout=timeout,
                    ssl=self._trust(),
                ) as response,
            ):
                if response.status >= 400:
                    raise _refusal(response.status, await _status(response))
                yield response
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            why = str(error) or type(error).__name__
            raise ApiError(0, f"{method} {self._url}{path}: {why}") from error

    @asynccontextmanager
    async def _to_be_given_up(self) -> AsyncIterator[None]:
        """TimeoutError in the block as soon as `close` is called."""
        async with asyncio.timeout(None) as limit:
            self._under_way.add(limit)
            try:
                yield
            finally:
                self._under_way.discard(limit)

    def _open(self) -> aiohttp.ClientSession:
        if self._session is None:
            connector = aiohttp.TCPConnector(socket_factory=_kept_alive)
            agent = {"User-Agent": MANAGER}
            self._session = aiohttp.ClientSession(connector=connector, headers=agent)
        return self._session

    def _headers(self, method: str) -> dict[str, str]:
        """The token is read each time: the kubelet renews it."""
        token = (self._account / "token").read_text().strip()
        content = {"POST": _JSON, "PATCH": "application/apply-patch+yaml"}  # JSON is YAML too
        headers = {"Authorization": f"Bearer {token}"}
        if method in content:
            headers["Content-Type"] = content[method]
        return headers

    def _trust(self) -> ssl.SSLContext:
        """The authority's certificate, read again when its file is another one."""
        file = self._account / "ca.crt"
        written = file.stat().st_mtime_ns
        if self._trusted is None or self._trusted[0] != written:
            self._trusted = written, ssl.create_default_context(cafile=str(file))
        return self._trusted[1]


def _root(kind: Kind) -> str:
    """The path below which all kinds of its group are."""
    return f"/{'apis' if kind.group else 'api'}/{kind.api_version}"


def _kept_alive(address: AddrInfoType) -> socket.socket:
    """A socket that notices by itself when the other side is not there any more."""
    family, kind, protocol, _, _ = address
    connection = socket.socket(family, kind, protocol)
    for option, value in _KEEPALIVE.items():
        connection.setsockopt(*option, value)
    return connection


def _selected(resource: Resource) -> dict[str, str]:
    return {"fieldSelector": resource.field_selector} if resource.field_selector else {}


async def _status(response: aiohttp.ClientResponse) -> Body:
    """What the server says of a refusal; proxies between say other things."""
    try:
        body = await response.json()
    except (aiohttp.ClientError, ValueError):
        return {}
    return body if isinstance(body, dict) else {}


def _refusal(code: int, status: Body) -> ApiError:
    return ApiError(
        code, f"the API server answers {code}: {status.get('message') or 'no reason given'}"
    )


async def _lines(response: aiohttp.ClientResponse) -> AsyncIterator[bytes]:
    """Lines of any length: an object may have more than a reader's buffer."""
    begun = bytearray()
    async for chunk in response.content.iter_any():
        *whole, rest = chunk.split(b"\n")
        for line in whole:
            begun += line
            if begun:
                yield bytes(begun)
            begun.clear()
        begun += rest
