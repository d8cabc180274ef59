"""The agent's socket: HTTP with JSON; each request is one call of the service.

docs/architecture.md has the table of requests. The socket is root's alone (0600), and who connects
is asked of the kernel as well.
"""

import json
import socket
import struct
from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import web
from podnet.api.manifest import Source
from podnet.kinds import find

from podnet.errors import Conflict, Invalid, PodNetError
from podnet.views import line_body, plan_body
from podnet_agent.objects import Body, Name
from podnet_agent.service import Service

BODY_BYTES = 12 << 20
"""A request's size at most: manifests of 10 MB, quoted as JSON."""
_UCRED = struct.Struct("3i")

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def application(service: Service) -> web.Application:
    """Every request the agent answers."""
    handlers = _Handlers(service)
    app = web.Application(middlewares=[_errors], client_max_size=BODY_BYTES)
    app.add_routes(
        [
            web.get("/version", handlers.version),
            web.post("/apply", handlers.apply),
            web.post("/delete", handlers.delete_sources),
            web.get("/objects/{plural}", handlers.list),
            web.get("/objects/{plural}/{namespace}/{name}", handlers.get),
            web.delete("/objects/{plural}/{namespace}/{name}", handlers.delete),
            web.get("/watch/{plural}", handlers.watch),
            web.post("/plan", handlers.plan),
            web.get("/explain/{namespace}/{name}", handlers.explain),
            web.post("/down", handlers.down),
        ]
    )
    return app


class NotFound(PodNetError):
    """No object of that name."""


@web.middleware
async def _errors(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Errors as kubectl knows them: a Status with a reason and a sentence."""
    try:
        _only_root(request)
        return await handler(request)
    except Invalid as error:
        problems = [{"place": each.place, "message": each.message} for each in error.problems]
        return _status(400, "Invalid", str(error), problems)
    except NotFound as error:
        return _status(404, "NotFound", str(error))
    except Conflict as error:
        return _status(409, "Conflict", str(error))
    except PodNetError as error:
        return _status(503, "Retryable", str(error))


def _only_root(request: web.Request) -> None:
    connection = request.transport.get_extra_info("socket") if request.transport else None
    if connection is None:
        return
    credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size)
    if _UCRED.unpack(credentials)[1] != 0:
        raise Conflict("the agent's socket is root's: run the command as root")


def _status(
    code: int, reason: str, message: str, problems: list[dict[str, str]] | None = None
) -> web.Response:
    body = {"kind": "Status", "reason": reason, "message": message, "problems": problems or []}
    return web.json_response(body, status=code)


class _Handlers:
    """One method a request."""

    def __init__(self, service: Service) -> None:
        self._service = service

    async def version(self, request: web.Request) -> web.Response:
        import os
        from importlib.metadata import version

        return web.json_response({"version": version("podnet"), "pid": os.getpid()})

    async def apply(self, request: web.Request) -> web.Response:
        results, warnings = await self._service.apply(await _sources(request))
        return web.json_response({"results": results, "warnings": warnings})

    async def delete_sources(self, request: web.Request) -> web.Response:
        results = await self._service.delete_all(await _sources(request))
        return web.json_response({"results": results})

    async def list(self, request: web.Request) -> web.Response:
        kind = _kind(request)
        items = self._service.objects.list(kind, request.query.get("namespace"))
        return web.json_response({"kind": "List", "apiVersion": "v1", "items": items})

    async def get(self, request: web.Request) -> web.Response:
        return web.json_response(self._found(_name(request)))

    async def delete(self, request: web.Request) -> web.Response:
        name = _name(request)
        self._found(name)
        return web.json_response(await self._service.delete(name))

    async def watch(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "application/x-ndjson"})
        await response.prepare(request)
        events = self._service.objects.watch(_kind(request), request.query.get("namespace"))
        try:
            async for what, body in events:
                line = json.dumps({"type": what, "object": body})
                await response.write(line.encode() + b"\n")
        except ConnectionResetError:
            pass  # who watched has seen enough
        finally:
            await events.aclose()
        return response

    async def plan(self, request: web.Request) -> web.Response:
        plan = await self._service.plan(await _sources(request))
        return web.json_response(plan_body(plan))

    async def explain(self, request: web.Request) -> web.Response:
        match = request.match_info
        body = self._found(("PodSandbox", match["namespace"], match["name"]))
        lines = await self._service.explain(body)
        return web.json_response({"sandbox": body, "lines": [line_body(line) for line in lines]})

    async def down(self, request: web.Request) -> web.Response:
        answer = await self._service.down()
        self._service.stopping.set()
        return web.json_response(answer)

    def _found(self, name: Name) -> Body:
        body = self._service.objects.get(*name)
        if body is None:
            plural = next(k.plural for k in (find(name[0]),) if k)
            raise NotFound(f'{plural}.podnet.dev "{name[2]}" not found')
        return body


async def _sources(request: web.Request) -> list[Source]:
    body: dict[str, Any] = await request.json()
    return [Source(each["name"], each["text"].encode()) for each in body["sources"]]


def _kind(request: web.Request) -> str:
    kind = find(request.match_info["plural"])
    if kind is None:
        raise NotFound(f"the server has no resource {request.match_info['plural']!r}")
    return kind.kind


def _name(request: web.Request) -> Name:
    namespace = request.match_info["namespace"]
    return _kind(request), "" if namespace == "-" else namespace, request.match_info["name"]
