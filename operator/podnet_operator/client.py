"""Requests to the API server: plain HTTP and JSON, errors translated once."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import aiohttp
import kopf

from podnet.errors import Conflict, PodNetError, Retryable

Body = dict[str, Any]
REQUEST_SECONDS = 15.0
"""For one whole answer; a list of 5,000 nodes takes three."""
CONNECTIONS = 16
"""Requests at once: the API server gives one client of priority `workload` about as many."""
MANAGER = "podnet-operator"
"""Field manager of what is applied."""
MERGE, APPLY = "application/merge-patch+json", "application/apply-patch+yaml"
NAMES_ONLY = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1,application/json"


class Missing(PodNetError):
    """Nothing of that name or kind."""


@dataclass(frozen=True, slots=True)
class Resource:
    """A kind of object, as the API server's paths name it."""

    kind: str
    group: str  # "" for those of Kubernetes' beginning
    version: str
    plural: str

    @property
    def api_version(self) -> str:
        """As objects name it."""
        return f"{self.group}/{self.version}" if self.group else self.version

    def path(self, name: str = "", namespace: str = "", subresource: str = "") -> str:
        """Of all objects, of those of a namespace, or of one."""
        parts = ["apis", self.group] if self.group else ["api"]
        parts.append(self.version)
        parts += ["namespaces", namespace] if namespace else []
        parts += [part for part in (self.plural, name, subresource) if part]
        return "/" + "/".join(parts)


class Client:
    """One session; made and used in the loop. Retryable where the same request may succeed later.

    Conflict: the object is not what it was thought to be.
    """

    def __init__(self, login: Callable[[], kopf.ConnectionInfo]) -> None:
        self._login = login
        self._session: aiohttp.ClientSession | None = None
        self._headers: Mapping[str, str] = {}
        self._expires: datetime | None = None
        self.requests = 0

    async def close(self) -> None:
        """End every connection."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def list(self, resource: Resource, *, names_only: bool = False) -> tuple[list[Body], int]:
        """Every object there is, and the version of that look."""
        accept = {"Accept": NAMES_ONLY} if names_only else {}
        answer = await self.request("GET", resource.path(), headers=accept)
        return answer.get("items") or [], int(answer["metadata"]["resourceVersion"])

    async def get(self, resource: Resource, name: str, namespace: str = "") -> Body:
        """The object; Missing where there is none."""
        return await self.request("GET", resource.path(name, namespace))

    async def create(self, resource: Resource, body: Body, namespace: str = "") -> Body:
        """The object as it was made."""
        whole = {"apiVersion": resource.api_version, "kind": resource.kind, **body}
        return await self.request("POST", resource.path(namespace=namespace), whole)

    async def replace(self, resource: Resource, name: str, body: Body, namespace: str = "") -> Body:
        """The whole object; Conflict if its resourceVersion is not the body's."""
        return await self.request("PUT", resource.path(name, namespace), body)

    async def delete(self, resource: Resource, name: str, uid: str) -> None:
        """That very object is gone, or going; it may have been so before."""
        options = {"preconditions": {"uid": uid}, "propagationPolicy": "Background"}
        try:
            await self.request("DELETE", resource.path(name), options)
        except Missing:
            return

    async def merge(self, resource: Resource, name: str, change: Body, namespace: str = "") -> Body:
        """The object with these fields changed."""
        headers = {"Content-Type": MERGE}
        return await self.request("PATCH", resource.path(name, namespace), change, headers)

    async def apply_status(
        self, resource: Resource, name: str, uid: str, status: Body, namespace: str = ""
    ) -> Body:
        """The object with this status; other managers' fields stay."""
        meta = {"name": name, "uid": uid} | ({"namespace": namespace} if namespace else {})
        body = {
            "apiVersion": resource.api_version,
            "kind": resource.kind,
            "metadata": meta,
            "status": status,
        }
        path = f"{resource.path(name, namespace, 'status')}?fieldManager={MANAGER}&force=true"
        return await self.request("PATCH", path, body, {"Content-Type": APPLY})

    async def request(
        self,
        method: str,
        path: str,
        body: Body | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Body:
        """The answer's JSON; one that is not our right any more is asked for again, logged in."""
        data = None if body is None else json.dumps(body)
        for attempt in (1, 2):
            session = self._ready(anew=attempt > 1)
            self.requests += 1
            sent = {"Content-Type": "application/json", **self._headers, **(headers or {})}
            try:
                async with session.request(method, path, data=data, headers=sent) as answer:
                    text = await answer.read()
            except (aiohttp.ClientError, OSError, TimeoutError) as error:
                why = str(error) or type(error).__name__
                raise Retryable(f"the API server does not answer {method} {path}: {why}") from error
            if answer.status != 401 or attempt > 1:
                return _answer(method, path, answer.status, text)
        raise AssertionError("the second attempt returns or raises")

    def _ready(self, *, anew: bool) -> aiohttp.ClientSession:
        """The session; with a token that is still good, or `anew` with the present one."""
        old = self._expires is not None and datetime.now(UTC) > self._expires
        if self._session is None or old or anew:
            info = self._login()
            self._headers, self._expires = info.as_http_headers(), info.expiration
            if self._session is None:
                secure = info.as_ssl_context() if info.server.startswith("https:") else True
                self._session = aiohttp.ClientSession(
                    info.server,
                    connector=aiohttp.TCPConnector(limit=CONNECTIONS, ssl=secure),
                    timeout=aiohttp.ClientTimeout(total=REQUEST_SECONDS),
                )
        return self._session


def _answer(method: str, path: str, status: int, text: bytes) -> Body:
    try:
        body: Body = json.loads(text)
    except ValueError:
        body = {"message": text.decode(errors="replace")[:200]}
    if status < 300:
        return body
    said = f"{method} {path}: {body.get('message') or status}"
    if status == 404:
        raise Missing(said)
    if status == 409:
        raise Conflict(said)
    if status in (401, 403):
        raise Retryable(f"{said}: give the operator the rights of deploy/base/operator.yaml")
    if status == 429 or status >= 500:
        raise Retryable(f"the API server can't serve now: {said}")
    raise PodNetError(f"the API server refuses {said}")
