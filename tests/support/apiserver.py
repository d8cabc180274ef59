"""An API server for podnet's kinds, in a private host: what of kube-apiserver podnet relies on.

Lists, watches with bookmarks and field selectors, status by server-side apply, tokens, TLS; and
what goes wrong with real ones: streams cut, history forgotten, kinds deleted, refusals, silence.
Run as a program it serves; `ApiServer` is the test's side.
"""

import asyncio
import contextlib
import copy
import http.client
import json
import socket
import ssl
import sys
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from support.host import Host, HostError, until

Body = dict[str, Any]
Key = tuple[str, str, str]
"""Plural, namespace, name."""

PORT = 6443
CONTROL = "/run/apiserver.sock"
FOLDER = "/run/apiserver"
KINDS = {"podnetworks": "PodNetwork", "nodesubnets": "NodeSubnet", "podsandboxes": "PodSandbox"}
PLURALS = {kind: plural for plural, kind in KINDS.items()}
API = "podnet.dev/v1alpha1"
TOKEN = "the-token"


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
        folder = host.path("/run/secrets/kubernetes.io/serviceaccount")
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "token").write_text(token)
        (folder / "ca.crt").write_text(self.host.path(f"{FOLDER}/ca.crt").read_text())
        return {
            "KUBERNETES_SERVICE_HOST": self.address,
            "KUBERNETES_SERVICE_PORT": str(PORT),
        }

    # --- objects ---

    def put(self, kind: str, name: str, spec: Body, *, namespace: str = "", **meta: Any) -> Body:
        """Create the object, or give it this spec."""
        body = {
            "apiVersion": API,
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
        found: Body | None = self.control("get", _key(kind, name))
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
        self.control("status", [_key(kind, name), status])

    def delete(self, kind: str, name: str) -> None:
        """The object is gone, unless it has finalizers."""
        self.control("delete", _key(kind, name))

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
        self.control("refuse", [code, times])

    def accept_only(self, token: str) -> None:
        """The token was renewed: the old one does not count any more."""
        self.control("token", token)

    def drop_kind(self, plural: str) -> None:
        """Delete a CRD: first its objects, then the kind."""
        self.control("drop", plural)

    def restore_kind(self, plural: str) -> None:
        """The CRD is there again, without objects."""
        self.control("restore", plural)

    def writes(self) -> list[str]:
        """Paths of all status writes so far."""
        found: list[str] = self.control("writes")
        return found

    def watchers(self) -> int:
        """How many streams are open."""
        count: int = self.control("watchers")
        return count

    def control(self, what: str, value: Any = None) -> Any:
        """Ask the program."""
        connection = _Connection(self.host.path(CONTROL))
        try:
            connection.request("POST", f"/{what}", json.dumps(value))
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


class State:
    """What the server keeps."""

    def __init__(self) -> None:
        self.objects: dict[Key, Body] = {}
        self.managed: dict[Key, dict[str, Body]] = {}  # statuses as applied, by manager
        self.history: list[tuple[int, Key, Body | None, Body | None]] = []
        self.version, self.forgotten = 1000, 0
        self.changed = asyncio.Condition()
        self.dropped: set[str] = set()
        self.refusals: list[int] = []
        self.token = TOKEN
        self.cuts = 0
        self.repeats = 0
        self.watchers = 0
        self.writes: list[str] = []

    async def write(self, key: Key, body: Body | None) -> None:
        """One change, told to everyone who watches."""
        self.version += 1
        old = self.objects.get(key)
        if body is None:
            self.objects.pop(key, None)
            self.managed.pop(key, None)
            old = copy.deepcopy(old)
            if old:
                old["metadata"]["resourceVersion"] = str(self.version)
        else:
            body["metadata"]["resourceVersion"] = str(self.version)
            self.objects[key] = body
        self.history.append((self.version, key, old, copy.deepcopy(body)))
        async with self.changed:
            self.changed.notify_all()

    async def put(self, given: Body) -> Body:
        """Create or update, but for the status."""
        meta = given["metadata"]
        key = (PLURALS[given["kind"]], meta.get("namespace", ""), meta["name"])
        old = self.objects.get(key)
        kept = {"uid": str(uuid.uuid4()), "creationTimestamp": f"2026-01-01T{self.version}"}
        generation = 1
        if old:
            before = old["metadata"]
            kept = {key: before[key] for key in kept}
            generation = before["generation"] + (old["spec"] != given["spec"])
        body = {**given, "metadata": {**meta, **kept, "generation": generation}}
        body["status"] = old.get("status", {}) if old else {}
        await self.write(key, body)
        return body

    async def delete(self, key: Key) -> None:
        """Gone, or about to be while there are finalizers."""
        body = copy.deepcopy(self.objects.get(key))
        if body and body["metadata"].get("finalizers"):
            body["metadata"] |= {"deletionTimestamp": "2026-01-02", "deletionGracePeriodSeconds": 0}
            await self.write(key, body)
        elif body:
            await self.write(key, None)

    async def apply_status(self, key: Key, manager: str, given: Body) -> Body:
        """Server-side apply: each manager's fields, conditions by their type."""
        body = copy.deepcopy(self.objects[key])
        mine = self.managed.setdefault(key, {})
        old = mine.get(manager, {})
        new = mine[manager] = given.get("status", {})
        status = {name: value for name, value in body["status"].items() if name not in old}
        conditions = {each["type"]: each for each in body["status"].get("conditions", ())}
        for each in old.get("conditions", ()):
            conditions.pop(each["type"], None)
        conditions |= {each["type"]: each for each in new.get("conditions", ())}
        body["status"] = {**status, **new}
        if conditions:
            body["status"]["conditions"] = list(conditions.values())
        if body["status"] != self.objects[key]["status"]:
            await self.write(key, body)
        return self.objects[key]


def _selects(selector: str, plural: str, body: Body | None) -> bool:
    if body is None:
        return False
    for part in filter(None, selector.split(",")):
        path, _, wanted = part.partition("=")
        value: Any = body
        for word in path.split("."):
            value = value.get(word, {}) if isinstance(value, dict) else {}
        if value != wanted:
            return False
    return True


def main(address: str) -> None:
    """Serve until killed."""
    from aiohttp import web

    state = State()
    base = "/apis/podnet.dev/v1alpha1"

    def status(code: int, message: str) -> web.Response:
        return web.json_response(
            {"kind": "Status", "apiVersion": "v1", "code": code, "message": message}, status=code
        )

    @web.middleware
    async def checked(request: web.Request, handler: Any) -> web.StreamResponse:
        if request.headers.get("Authorization") != f"Bearer {state.token}":
            return status(401, "Unauthorized")
        if state.refusals:
            return status(state.refusals.pop(), "refused for the test")
        if request.match_info.get("plural") in state.dropped:
            return status(404, "the server could not find the requested resource")
        answer: web.StreamResponse = await handler(request)
        return answer

    async def collection(request: web.Request) -> web.StreamResponse:
        if request.query.get("watch"):
            return await watch(request)
        plural, selector = request.match_info["plural"], request.query.get("fieldSelector", "")
        items = [
            {name: value for name, value in body.items() if name not in ("apiVersion", "kind")}
            for key, body in sorted(state.objects.items())
            if key[0] == plural and _selects(selector, plural, body)
        ]
        after = int(request.query.get("continue") or 0)
        limit = int(request.query.get("limit") or len(items) or 1)
        meta = {"resourceVersion": str(state.version)}
        if after + limit < len(items):
            meta["continue"] = str(after + limit)
        return web.json_response(
            {
                "apiVersion": API,
                "kind": f"{KINDS[plural]}List",
                "metadata": meta,
                "items": items[after : after + limit],
            }
        )

    async def watch(request: web.Request) -> web.StreamResponse:
        plural, selector = request.match_info["plural"], request.query.get("fieldSelector", "")
        version, cuts, repeats = int(request.query["resourceVersion"]), state.cuts, state.repeats
        response = web.StreamResponse(headers={"Content-Type": "application/json"})
        await response.prepare(request)

        async def tell(what: str, body: Body) -> None:
            text = json.dumps({"type": what, "object": body}).encode() + b"\n"
            await response.write(text[: len(text) // 2])  # lines come in pieces
            await response.write(text[len(text) // 2 :])

        if version < state.forgotten:
            await tell("ERROR", {"kind": "Status", "code": 410, "message": "too old"})
            return response
        state.watchers += 1
        try:
            while state.cuts == cuts:
                for at, key, old, new in list(state.history):
                    if at <= version or key[0] != plural:
                        continue
                    was, now = (_selects(selector, plural, each) for each in (old, new))
                    if now:
                        await tell("MODIFIED" if was else "ADDED", new or {})
                    elif was:
                        gone = copy.deepcopy(new or old or {})
                        gone["metadata"]["resourceVersion"] = str(at)
                        await tell("DELETED", gone)
                version = state.version
                if state.repeats != repeats:
                    repeats = state.repeats
                    for key, body in list(state.objects.items()):
                        if key[0] == plural and _selects(selector, plural, body):
                            await tell("ADDED", body)
                            await tell("MODIFIED", body)
                meta = {"resourceVersion": str(version)}
                await tell("BOOKMARK", {"kind": KINDS[plural], "metadata": meta})
                async with state.changed:
                    if state.version == version and state.cuts == cuts:
                        with contextlib.suppress(TimeoutError):
                            async with asyncio.timeout(5):
                                await state.changed.wait()
            assert request.transport is not None
            request.transport.abort()
        except ConnectionError:
            pass
        finally:
            state.watchers -= 1
        return response

    async def apply(request: web.Request) -> web.Response:
        found = request.match_info
        key = (found["plural"], found.get("namespace", ""), found["name"])
        given = await request.json()
        if key not in state.objects:
            return status(404, f"{found['name']} not found")
        wanted = given["metadata"].get("uid")
        if wanted and wanted != state.objects[key]["metadata"]["uid"]:
            return status(409, "Precondition failed: UID in precondition")
        if request.content_type != "application/apply-patch+yaml":
            return status(415, "unsupported media type")
        state.writes.append(request.path)
        body = await state.apply_status(key, request.query["fieldManager"], given)
        return web.json_response(body)

    runner: list[web.AppRunner] = []

    async def start() -> None:
        app = web.Application(middlewares=[checked])
        app.add_routes(
            [
                web.get(f"{base}/{{plural}}", collection),
                web.patch(f"{base}/{{plural}}/{{name}}/status", apply),
                web.patch(f"{base}/namespaces/{{namespace}}/{{plural}}/{{name}}/status", apply),
            ]
        )
        trust = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        trust.load_cert_chain(f"{FOLDER}/ca.crt", f"{FOLDER}/key")
        runner.append(web.AppRunner(app, shutdown_timeout=0.1))
        await runner[0].setup()
        await web.TCPSite(runner[0], address, PORT, ssl_context=trust, reuse_address=True).start()

    async def wake() -> None:
        async with state.changed:
            state.changed.notify_all()

    async def control(request: web.Request) -> web.Response:
        what, value = request.match_info["what"], await request.json()
        answer: Any = None
        match what:
            case "put":
                answer = await state.put(value)
            case "get":
                answer = state.objects.get(tuple(value))
            case "names":
                answer = [key[2] for key in state.objects if key[0] == value]
            case "delete":
                await state.delete(tuple(value))
            case "status":
                body = copy.deepcopy(state.objects[tuple(value[0])])
                await state.write(tuple(value[0]), body | {"status": value[1]})
            case "cut":
                state.cuts += 1
                await wake()
            case "forget":
                state.forgotten = state.version = state.version + 1
                state.history.clear()
            case "repeat":
                state.repeats += 1
                await wake()
            case "stop":
                state.cuts += 1
                await wake()
                await runner.pop().cleanup()
            case "start":
                await start()
            case "refuse":
                state.refusals += [value[0]] * value[1]
            case "token":
                state.token = value
            case "drop":
                for key in [key for key in state.objects if key[0] == value]:
                    await state.write(key, None)
                state.dropped.add(value)
            case "restore":
                state.dropped.discard(value)
            case "writes":
                answer = state.writes
            case "watchers":
                answer = state.watchers
        return web.json_response(answer)

    async def serve() -> None:
        await start()
        app = web.Application()
        app.add_routes([web.post("/{what}", control)])
        other = web.AppRunner(app)
        await other.setup()
        await web.UnixSite(other, CONTROL).start()
        await asyncio.Event().wait()

    asyncio.run(serve())


if __name__ == "__main__":
    main(sys.argv[1])
