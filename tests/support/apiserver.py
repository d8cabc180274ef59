"""An API server in a private host, for agents in others: FakeApi, with TLS and a token.

Run as a program it serves; `ApiServer` is the test's side.
"""

import asyncio
import contextlib
import http.client
import inspect
import json
import socket
import ssl
import sys
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

from aiohttp import web

from support.fake_api import NOW, FakeApi
from support.host import Host, HostError, until

Body = dict[str, Any]

PORT = 6443
CONTROL = "/run/apiserver.sock"
FOLDER = "/run/apiserver"
ACCOUNT = "/run/secrets/kubernetes.io/serviceaccount"
PLURALS = {
    "PodNetwork": "podnetworks",
    "NodeSubnet": "nodesubnets",
    "PodSandbox": "podsandboxes",
    "Node": "nodes",
}
TOKEN = "the-token"
NAMESPACE = "podnet-system"


class ApiServer:
    """The server in a host, from construction on; every method acts at once."""

    def __init__(self, host: Host, address: str) -> None:
        self.host, self.address = host, address
        host.path(FOLDER).mkdir()
        words = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=x"
        words += f" -addext subjectAltName=IP:{address} -keyout {FOLDER}/key -out {FOLDER}/ca.crt"
        host.run(["openssl", *words.split()])
        self._log = host.path("/run/apiserver.log").open("wb")
        self._process = host.popen(
            [sys.executable, str(Path(__file__)), address],
            env={"PYTHONPATH": str(Path(__file__).parents[1])},
            stdout=self._log,
            stderr=self._log,
        )
        until(self._answers, "an answer of the API server", 10)

    def _answers(self) -> bool:
        if self._process.poll() is not None:
            said = self.host.path("/run/apiserver.log").read_text()
            raise HostError(f"the API server ended:\n{said}")
        with contextlib.suppress(OSError):
            self.control("nothing")
            return True
        return False

    def let_in(self, host: Host, token: str = TOKEN) -> dict[str, str]:
        """Give a host a service account; the environment that an agent there needs."""
        folder = host.path(ACCOUNT)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "token").write_text(token)
        (folder / "namespace").write_text(NAMESPACE)
        (folder / "ca.crt").write_text(self.host.path(f"{FOLDER}/ca.crt").read_text())
        return {
            "KUBERNETES_SERVICE_HOST": self.address,
            "KUBERNETES_SERVICE_PORT": str(PORT),
        }

    # --- objects ---

    def put(self, kind: str, name: str, spec: Body, *, namespace: str = "", **meta: Any) -> Body:
        """Create the object, or give it this spec."""
        body = {
            "apiVersion": "podnet.dev/v1alpha1",
            "kind": kind,
            "metadata": {"name": name, **({"namespace": namespace} if namespace else {}), **meta},
            "spec": spec,
        }
        return self.control("put", body)

    def network(self, name: str, *subnets: str, **spec: Any) -> Body:
        """A PodNetwork."""
        return self.put("PodNetwork", name, {"subnets": list(subnets), **spec})

    def share(self, network: str, node: str, *pod_cidrs: str) -> Body:
        """A NodeSubnet, as the operator writes it."""
        spec = {"podNetwork": network, "nodeName": node, "podCIDRs": list(pod_cidrs)}
        return self.put("NodeSubnet", f"{network}.{node}", spec)

    def node(self, name: str, *pod_cidrs: str) -> Body:
        """A Node, as kube-controller-manager completes it."""
        return self.put("Node", name, {"podCIDRs": list(pod_cidrs)})

    def sandbox(
        self,
        name: str,
        node: str,
        network: Body | str = "default",
        finalizers: Sequence[str] = (),
        **spec: Any,
    ) -> Body:
        """A PodSandbox in bridge mode on that network, or with all of spec.network given."""
        wanted = {"podNetwork": network} if isinstance(network, str) else network
        spec = {"nodeName": node, "network": wanted, **spec}
        held = {"finalizers": [*finalizers]} if finalizers else {}
        return self.put("PodSandbox", name, spec, namespace="default", **held)

    def get(self, kind: str, name: str) -> Body | None:
        """The object, with its status."""
        found: Body | None = self.control("get", *_key(kind, name))
        return found

    def names(self, kind: str) -> list[str]:
        """Of all objects of that kind."""
        found: list[str] = self.control("names", PLURALS[kind])
        return found

    def status(self, kind: str, name: str) -> Body:
        """The object's status; empty while there is none."""
        return (self.get(kind, name) or {}).get("status", {})

    def condition(self, kind: str, name: str, what: str = "Ready") -> Body:
        """One of its conditions; empty while there is none."""
        found = self.status(kind, name).get("conditions", ())
        return next((each for each in found if each["type"] == what), {})

    def wait_ready(self, kind: str, name: str, seconds: float = 10) -> Body:
        """Its status, once condition Ready is True."""
        until(
            lambda: self.condition(kind, name).get("status") == "True",
            f"{kind} {name} to be ready; it says {self.status(kind, name)}",
            seconds,
        )
        return self.status(kind, name)

    def set_status(self, kind: str, name: str, status: Body) -> None:
        """Replace the status, as somebody else might."""
        self.control("status", *_key(kind, name), status)

    def delete(self, kind: str, name: str) -> None:
        """The object is gone, unless it has finalizers."""
        self.control("delete", *_key(kind, name))

    # --- what goes wrong ---

    def cut(self) -> None:
        """Every stream ends in the middle."""
        self.control("cut")

    def forget(self) -> None:
        """History is compacted: whoever resumes from before is told so (410)."""
        self.control("forget")

    def repeat(self) -> None:
        """Every watcher hears of every object again."""
        self.control("repeat")

    def stop(self) -> None:
        """Nothing answers any more; what is kept is kept."""
        self.control("stop")

    def start(self) -> None:
        """As before."""
        self.control("start")

    def refuse(self, code: int, times: int) -> None:
        """Answer the next requests with that code."""
        self.control("refuse", code, times)

    def accept_only(self, token: str) -> None:
        """The token was renewed: the old one does not count any more."""
        self.control("token", token)

    def drop_kind(self, plural: str) -> None:
        """Delete a CRD: first its objects, then the kind."""
        self.control("drop", plural)

    def delete_podnet(self, *, rights: bool = True) -> None:
        """Somebody deletes podnet: its namespace is to go, and with `rights` all tokens at once."""
        self.control("deleted", rights)

    def restore_podnet(self) -> None:
        """It is installed as before."""
        self.control("installed")

    def restore_kind(self, plural: str) -> None:
        """The CRD is there again, without objects."""
        self.control("restore", plural)

    def watches(self, plural: str) -> int:
        """How many there are of that kind."""
        found: int = self.control("watches", plural)
        return found

    def events(self, name: str) -> list[tuple[str, str]]:
        """Reason and message of each Event of the object of that name, in their order."""
        return [(reason, message) for reason, message in self.control("events", name)]

    def writes(self) -> list[str]:
        """Paths of all status writes so far."""
        found: list[str] = self.control("writes")
        return found

    def control(self, what: str, *values: Any) -> Any:
        """Ask the program."""
        connection = _Connection(self.host.path(CONTROL))
        try:
            connection.request("POST", f"/{what}", json.dumps(values))
            response = connection.getresponse()
            text = response.read().decode()
            if response.status != 200:
                raise HostError(f"the API server: {what}: {response.status} {text}")
            return json.loads(text)
        finally:
            connection.close()


class _Connection(http.client.HTTPConnection):
    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=10)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


def _key(kind: str, name: str) -> list[str]:
    return [PLURALS[kind], "default" if kind == "PodSandbox" else "", name]


# --- the program ---


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
