"""The API server's program, which ApiServer starts in a host: FakeApi behind TLS and a token."""

import asyncio
import inspect
import ssl
import sys
from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import web

from support.fake_api import NOW, FakeApi

Body = dict[str, Any]
PORT = 6443
CONTROL = "/run/apiserver.sock"
FOLDER = "/run/apiserver"
PLURALS = {
    "PodNetwork": "podnetworks",
    "NodeSubnet": "nodesubnets",
    "PodSandbox": "podsandboxes",
    "Node": "nodes",
}
TOKEN = "the-token"
NAMESPACE = "podnet-system"


class Program:
    """FakeApi behind TLS and a token, and what tests ask of it."""

    def __init__(self, address: str) -> None:
        self._address, self._token = address, TOKEN
        self._rights = True
        self._api = FakeApi()
        self._api.put("namespaces", NAMESPACE, metadata={"finalizers": ["kubernetes"]})
        self._api.put("serviceaccounts", "podnet-agent", NAMESPACE)
        self._api.refuse = lambda method, path: self._refusals.pop() if self._refusals else 0
        self._refusals: list[int] = []
        self._runner: web.AppRunner | None = None

    async def serve(self) -> None:
        """Until killed."""
        await self.start()
        app = web.Application()
        app.add_routes([web.post("/{what}", self._control)])
        runner = web.AppRunner(app)
        await runner.setup()
        await web.UnixSite(runner, CONTROL).start()
        await asyncio.Event().wait()

    async def start(self) -> None:
        """Answer agents."""
        app = self._api.application()
        app.middlewares.append(self._checked)
        trust = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        trust.load_cert_chain(f"{FOLDER}/ca.crt", f"{FOLDER}/key")
        self._runner = web.AppRunner(
            app,
            access_log=None,
            shutdown_timeout=0.1,
            handler_cancellation=True,  # a stream whose client went is none any more
        )
        await self._runner.setup()
        site = web.TCPSite(self._runner, self._address, PORT, ssl_context=trust, reuse_address=True)
        await site.start()

    async def stop(self) -> None:
        """Refuse connections; what is kept is kept."""
        self._api.cut()
        if self._runner:
            await self._runner.cleanup()

    @web.middleware
    async def _checked(
        self, request: web.Request, handler: Callable[..., Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        known = request.headers.get("Authorization") == f"Bearer {self._token}"
        if not (known and self._rights):
            return web.json_response({"kind": "Status", "message": "Unauthorized"}, status=401)
        return await handler(request)

    async def _control(self, request: web.Request) -> web.Response:
        value, what = await request.json(), request.match_info["what"]
        answer: Any = getattr(self, f"do_{what}")(*value)
        if inspect.isawaitable(answer):
            answer = await answer
        return web.json_response(answer)

    def do_nothing(self) -> None:
        """It answers."""

    def do_put(self, body: Body) -> Body:
        """Create the object or give it this spec; a new spec is another generation."""
        meta = dict(body["metadata"])
        plural, name = PLURALS[body["kind"]], (meta.get("namespace", ""), meta["name"])
        old = self._api.objects[plural].get(name)
        if old and old["spec"] != body["spec"]:
            meta["generation"] = old["metadata"]["generation"] + 1
        if old and "finalizers" not in meta:
            meta["finalizers"] = None
        return self._api.put(plural, name[1], name[0], metadata=meta, spec=body["spec"])

    def do_get(self, plural: str, namespace: str, name: str) -> Body | None:
        """The object."""
        return self._api.objects[plural].get((namespace, name))

    def do_names(self, plural: str) -> list[str]:
        """Of all objects of a kind."""
        return [name for _, name in self._api.objects[plural]]

    def do_events(self, name: str) -> list[tuple[str, str]]:
        """Of an object."""
        found = self._api.objects["events"].values()
        mine = [each for each in found if each["involvedObject"]["name"] == name]
        return [(each["reason"], each["message"]) for each in mine]

    def do_status(self, plural: str, namespace: str, name: str, status: Body) -> None:
        """Replace the status."""
        whole = dict.fromkeys(self._api.get(plural, name, namespace).get("status", {})) | status
        self._api.put(plural, name, namespace, status=whole)

    def do_delete(self, plural: str, namespace: str, name: str) -> None:
        """As a person does."""
        if (namespace, name) in self._api.objects[plural]:
            self._api.delete(plural, name, namespace)

    def do_cut(self) -> None:
        """End all streams."""
        self._api.cut()

    def do_forget(self) -> None:
        """Compact; whoever resumes, resumes from before."""
        self._api.version += 1
        self._api.compact()

    def do_repeat(self) -> None:
        """Tell all again."""
        self._api.repeat()

    async def do_stop(self) -> None:
        """Be away."""
        await self.stop()

    async def do_start(self) -> None:
        """Be back."""
        await self.start()

    def do_refuse(self, code: int, times: int) -> None:
        """The next requests."""
        self._refusals += [code] * times

    def do_token(self, token: str) -> None:
        """Take this one alone."""
        self._token = token

    def do_drop(self, plural: str) -> None:
        """Objects first, as the API server does, then the kind and its streams."""
        self._api.drop_kind(plural)

    def do_deleted(self, rights: bool) -> None:
        """The namespace goes first, as kubectl has it."""
        self._api.put("namespaces", NAMESPACE, metadata={"deletionTimestamp": NOW})
        self._rights = not rights

    def do_installed(self) -> None:
        """All of it."""
        self._api.put("namespaces", NAMESPACE, metadata={"deletionTimestamp": None})
        self._rights = True

    def do_restore(self, plural: str) -> None:
        """The kind is known again."""
        self._api.restore_kind(plural)

    def do_watches(self, plural: str) -> int:
        """Streams that are open."""
        return self._api.watches(plural)

    def do_writes(self) -> list[str]:
        """All there were."""
        return self._api.written


if __name__ == "__main__":
    asyncio.run(Program(sys.argv[1]).serve())
