"""What each request of the agent's socket does: a call of the service, its answer as JSON."""

import contextlib
import json
import math
import os
from collections.abc import Sequence
from importlib.metadata import version
from typing import Any

from aiohttp.web import Request, Response, StreamResponse, json_response

from podnet.api.manifest import Source
from podnet.errors import Conflict, Invalid, PodNetError, Problem
from podnet.kinds import find
from podnet.views import line_body, plan_body
from podnet_agent.objects import Body, Name, NotFound
from podnet_agent.service import Service

LONGEST_GRACE_SECONDS = 86400
"""A day: whoever wants more has mistyped it."""


class ObjectHandlers:
    """Objects, plans and explanations. One method a request."""

    def __init__(self, service: Service) -> None:
        self._service = service

    async def version(self, request: Request) -> Response:
        """Which program this is."""
        return json_response({"version": version("podnet"), "pid": os.getpid()})

    async def apply(self, request: Request) -> Response:
        """Write objects."""
        body = await _body(request)
        results, warnings = await self._service.apply(_sources(body), _namespace(body))
        return json_response({"results": results, "warnings": warnings})

    async def delete_sources(self, request: Request) -> Response:
        """Delete the objects that manifests name."""
        body = await _body(request)
        results = await self._service.delete_all(
            _sources(body), _namespace(body), _grace(body.get("grace")), wait=body.get("wait", True)
        )
        return json_response({"results": results})

    async def list(self, request: Request) -> Response:
        """All objects of a kind."""
        items = self._service.objects.list(_kind(request), request.query.get("namespace"))
        return json_response({"kind": "List", "apiVersion": "v1", "items": items})

    async def get(self, request: Request) -> Response:
        """One object."""
        return json_response(found(self._service, _name(request)))

    async def delete(self, request: Request) -> Response:
        """Delete one object."""
        name = _name(request)
        found(self._service, name)
        grace = _grace(request.query.get("grace"))
        wait = request.query.get("wait") != "false"
        return json_response(await self._service.delete(name, grace, wait=wait))

    async def watch(self, request: Request) -> StreamResponse:
        """Objects as they are and as they become, a line each."""
        response = StreamResponse(headers={"Content-Type": "application/x-ndjson"})
        kind = _kind(request)
        await response.prepare(request)
        events = self._service.objects.watch(kind, request.query.get("namespace"))
        # Who watched may have seen enough.
        with contextlib.suppress(ConnectionResetError):
            async with contextlib.aclosing(events):
                async for what, body in events:
                    line = json.dumps({"type": what, "object": body})
                    await response.write(line.encode() + b"\n")
        return response

    async def plan(self, request: Request) -> Response:
        """What apply would do."""
        return json_response(await plan_answer(self._service, await _body(request)))

    async def explain(self, request: Request) -> Response:
        """Every kernel object of a sandbox."""
        body = found(self._service, _sandbox(request))
        lines = await self._service.explain(body)
        return json_response({"sandbox": body, "lines": [line_body(line) for line in lines]})

    async def explain_attached(self, request: Request) -> Response:
        """Every kernel object of a Pod, or of a container that is no Pod's."""
        plural, namespace, name = (
            request.match_info[part] for part in ("plural", "namespace", "name")
        )
        owners = {"pods": f"Pod/{namespace}/{name}", "containers": f"Container/{name}"}
        if plural not in owners:
            raise NotFound(f"the server has no resource {plural!r}")
        return json_response(await self._service.attached.explain(owners[plural]))

    async def down(self, request: Request) -> Response:
        """Take all away."""
        answer = await self._service.down()
        self._service.stopping.set()
        return json_response(answer)


class ContainerHandlers:
    """Running sandboxes: their containers and the interfaces given by hand."""

    def __init__(self, service: Service) -> None:
        self._service = service

    async def run(self, request: Request) -> Response:
        """Make a sandbox whose containers are created, not started."""
        body = await _body(request)
        source = Source("podnet run", json.dumps(body.get("object")).encode())
        made, attach, warnings = await self._service.run(
            source, stdin=bool(body.get("stdin")), tty=bool(body.get("tty"))
        )
        return json_response({"object": made, "attach": attach, "warnings": warnings})

    async def start(self, request: Request) -> Response:
        """Start what `run` created."""
        name = _sandbox(request)
        found(self._service, name)
        await self._service.sandboxes.start(name)
        return json_response({})

    async def kill(self, request: Request) -> Response:
        """Send a container a signal."""
        sandbox_id, container = self._container(request)
        signal = request.query.get("signal", "TERM")
        await self._service.sandboxes.containers.kill(sandbox_id, container, signal)
        return json_response({})

    async def exec(self, request: Request) -> Response:
        """What to execute to be in a container."""
        sandbox_id, container = self._container(request)
        tty = request.query.get("tty") == "1"
        containers = self._service.sandboxes.containers
        return json_response({"argv": containers.exec_argv(sandbox_id, container, tty=tty)})

    async def logs(self, request: Request) -> Response:
        """Where a container's log is."""
        sandbox_id, container = self._container(request)
        path = self._service.sandboxes.containers.log_path(sandbox_id, container)
        states = found(self._service, _sandbox(request))["status"].get("containers", ())
        running = any(
            state["name"] == container and state["state"] == "running" for state in states
        )
        return json_response({"path": str(path), "running": running})

    async def attach(self, request: Request) -> Response:
        """Give a running sandbox an interface."""
        body = await _body(request)
        for key in ("network", "ifname", "mac"):
            if body.get(key) is not None:
                _text(body, key)
        for key in ("addresses", "routes"):
            _texts(body, key)
        owner = found(self._service, ("PodSandbox", _namespace(body), _text(body, "sandbox")))
        return json_response({"attachment": await self._service.wires.attach(owner, body)})

    async def attachments(self, request: Request) -> Response:
        """Every attachment there is."""
        return json_response({"items": await self._service.attached.all()})

    async def detach(self, request: Request) -> Response:
        """Take away what `attach` gave."""
        owner = found(self._service, _sandbox(request))
        await self._service.wires.detach(owner, request.match_info["ifname"])
        return json_response({})

    def _container(self, request: Request) -> tuple[str, str]:
        """The sandbox's id and the container's name, the first one where none is named."""
        body = found(self._service, _sandbox(request))
        name = body["metadata"]["name"]
        names = [each["name"] for each in body["spec"].get("containers", ())]
        wanted = request.query.get("container") or next(iter(names), "")
        if wanted not in names:
            known = f"{', '.join(names)} are" if names else "it has none"
            raise NotFound(f"container {wanted} is not valid for sandbox {name}: {known}")
        sandbox_id = body["status"].get("sandboxID")
        if not sandbox_id:
            raise NotFound(f"podsandbox {name} is not built yet: `podnet describe psb {name}`")
        return str(sandbox_id), wanted


def refusal(error: PodNetError) -> tuple[int, Body]:
    """The HTTP status and the Status that an error is answered with, as kubectl knows them."""
    code, reason = 503, "Retryable"
    if isinstance(error, Invalid):
        code, reason = 400, "Invalid"
    elif isinstance(error, NotFound):
        code, reason = 404, "NotFound"
    elif isinstance(error, Conflict):
        code, reason = 409, "Conflict"
    problems = error.problems if isinstance(error, Invalid) else ()
    body = {
        "kind": "Status",
        "reason": reason,
        "message": str(error),
        "problems": [{"place": each.place, "message": each.message} for each in problems],
    }
    exit_code = getattr(error, "exit_code", None)
    return code, body if exit_code is None else body | {"exitCode": exit_code}


async def plan_answer(service: Service, body: Body) -> Body:
    """What POST /plan answers."""
    return plan_body(await service.plan(_sources(body), _namespace(body)))


def found(service: Service, name: Name) -> Body:
    """The object; NotFound in kubectl's words."""
    body = service.objects.get(*name)
    if body is None:
        kind = find(name[0])
        raise NotFound(f'{kind.plural if kind else name[0]}.podnet.dev "{name[2]}" not found')
    return body


async def _body(request: Request) -> Body:
    try:
        body = await request.json()
    except (ValueError, LookupError) as error:  # an encoding that does not exist
        raise Invalid([Problem("the request", f"is no JSON ({error})")]) from None
    if not isinstance(body, dict):
        raise Invalid([Problem("the request", "is no JSON object")])
    return body


def _text(body: Body, key: str) -> str:
    value = body.get(key)
    if not isinstance(value, str):
        raise Invalid([Problem("the request", f"has no text under `{key}`")])
    return value


def _texts(body: Body, key: str) -> None:
    several = body.get(key)
    if several is None:
        return
    if not isinstance(several, list) or not all(isinstance(each, str) for each in several):
        raise Invalid([Problem("the request", f"has no list of texts under `{key}`")])


def _sources(body: Body) -> Sequence[Source]:
    try:
        return [
            Source(each["name"], each["text"].encode(errors="surrogateescape"))
            for each in body["sources"]
        ]
    except (KeyError, TypeError, AttributeError):
        shape = '{"sources": [{"name", "text"}]}'
        raise Invalid([Problem("the request", f"is not {shape}")]) from None


def _namespace(body: Body) -> str:
    return _text(body, "namespace") if body.get("namespace") else "default"


def _grace(given: Any) -> float | None:
    """Seconds that containers have to end, None where nothing was said."""
    if given is None:
        return None
    try:
        seconds = float(given)
    except (TypeError, ValueError):
        seconds = math.nan
    if not 0 <= seconds <= LONGEST_GRACE_SECONDS:
        right = f"give 0 to {LONGEST_GRACE_SECONDS} seconds"
        raise Invalid([Problem("grace", f"is {given}: {right}")])
    return seconds


def _kind(request: Request) -> str:
    kind = find(request.match_info["plural"])
    if kind is None:
        raise NotFound(f"the server has no resource {request.match_info['plural']!r}")
    return kind.kind


def _name(request: Request) -> Name:
    namespace = request.match_info["namespace"]
    return _kind(request), "" if namespace == "-" else namespace, request.match_info["name"]


def _sandbox(request: Request) -> Name:
    return "PodSandbox", request.match_info["namespace"], request.match_info["name"]
