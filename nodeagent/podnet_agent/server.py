"""The agent's socket: HTTP with JSON; who may ask, and what an error looks like.

docs/architecture.md has the table of requests. The socket is root's alone (0600), and who connects
is asked of the kernel as well.
"""

from collections.abc import Awaitable, Callable
from http import HTTPStatus

from aiohttp import web

from podnet.errors import Conflict, PodNetError
from podnet_agent.cni.door import is_root
from podnet_agent.handlers import ContainerHandlers, ObjectHandlers, refusal
from podnet_agent.leaks import Leaks
from podnet_agent.service import Service

BODY_BYTES = 12 << 20
"""A request's size at most: manifests of 10 MB, quoted as JSON."""

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def application(service: Service, leaks: Leaks) -> web.Application:
    """Every request the agent answers."""
    objects, containers = ObjectHandlers(service), ContainerHandlers(service)

    async def find_leaks(request: web.Request) -> web.Response:
        return web.json_response(await leaks.find())

    app = web.Application(middlewares=[_errors], client_max_size=BODY_BYTES)
    app.add_routes(
        [
            web.get("/version", objects.version),
            web.post("/apply", objects.apply),
            web.post("/delete", objects.delete_sources),
            web.get("/objects/{plural}", objects.list),
            web.get("/objects/{plural}/{namespace}/{name}", objects.get),
            web.delete("/objects/{plural}/{namespace}/{name}", objects.delete),
            web.get("/watch/{plural}", objects.watch),
            web.post("/plan", objects.plan),
            web.get("/explain/{namespace}/{name}", objects.explain),
            web.get("/explain/{plural}/{namespace}/{name}", objects.explain_attached),
            web.get("/leaks", find_leaks),
            web.post("/down", objects.down),
            web.post("/run", containers.run),
            web.post("/start/{namespace}/{name}", containers.start),
            web.post("/kill/{namespace}/{name}", containers.kill),
            web.get("/exec/{namespace}/{name}", containers.exec),
            web.get("/logs/{namespace}/{name}", containers.logs),
            web.post("/attachments", containers.attach),
            web.get("/attachments", containers.attachments),
            web.delete("/attachments/{namespace}/{name}/{ifname}", containers.detach),
        ]
    )
    return app


@web.middleware
async def _errors(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Errors as kubectl knows them: a Status with a reason and a sentence."""
    try:
        _only_root(request)
        return await handler(request)
    except PodNetError as error:
        code, body = refusal(error)
        return web.json_response(body, status=code)
    except web.HTTPClientError as error:  # no such request, or one too large
        reason = "NotFound" if error.status == HTTPStatus.NOT_FOUND else error.reason
        message = f"{request.method} {request.path}: {error.reason}"
        body = {"kind": "Status", "reason": reason, "message": message, "problems": []}
        return web.json_response(body, status=error.status)


def _only_root(request: web.Request) -> None:
    connection = request.transport.get_extra_info("socket") if request.transport else None
    if connection is not None and not is_root(connection):
        raise Conflict("the agent's socket is root's: run the command as root")
