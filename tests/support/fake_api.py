"""An API server of one's own: objects, versions, watches, and every way in which those fail.

It knows what the operator and the agents ask of one: lists in pages, watches, field selectors,
bookmarks, merge patches, applied status, preconditions, finalizers. It checks no schema; the real
one does (tests/kind).
"""

import contextlib
import copy
import json
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

import yaml
from aiohttp import web

from support.fake_kinds import KINDS, Body, discovery, kind_of
from support.fake_watches import Change, Watch, selects

Name = tuple[str, str]
"""Namespace and name."""
NOW = "2026-01-01T00:00:00Z"


class FakeApi:
    """Lives in the test's loop. `objects[plural]` may be read, and changed by the methods."""

    def __init__(self) -> None:
        self.objects: dict[str, dict[Name, Body]] = {plural: {} for _, _, plural in KINDS}
        self.version = 1000
        self.requests: Counter[str] = Counter()
        """How many of each: `PATCH podnetworks/status`."""
        self.written: list[str] = []
        """The paths of all that was not read, in their order."""
        self.missing: set[str] = set()
        """Plurals that the server does not know (any more)."""
        self.going: set[str] = set()
        """Plurals whose kind is being deleted."""
        self.server = ""
        self.refuse: Callable[[str, str], int] = lambda method, path: 0
        """A status that a request gets instead of an answer; 0: none."""
        self.mute: set[str] = set()
        """Plurals whose watches tell nothing, and don't end."""
        self.twice = False
        """Every event comes twice."""
        self._history: dict[str, list[Change]] = {plural: [] for plural in self.objects}
        self._managed: dict[tuple[str, Name], dict[str, Body]] = {}  # statuses, by who applied
        self._compacted = 0
        self._made: Counter[str] = Counter()  # how often each kind was, since the first time
        self._watches: set[Watch] = set()

    @contextlib.asynccontextmanager
    async def serve(self, folder: Path) -> AsyncIterator[Path]:
        """Answer from now on; yields a kubeconfig that leads here."""
        runner = web.AppRunner(
            self.application(),
            access_log=None,
            shutdown_timeout=0.1,
            handler_cancellation=True,  # a stream whose client went is none any more
        )
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        host, port = runner.addresses[0][:2]
        self.server = f"http://{host}:{port}"
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "c", "cluster": {"server": self.server}}],
            "users": [{"name": "u", "user": {"token": "secret"}}],
            "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
            "current-context": "x",
        }
        path = folder / "kubeconfig"
        path.write_text(yaml.safe_dump(config))
        try:
            yield path
        finally:
            self.cut()
            await runner.cleanup()

    def application(self) -> web.Application:
        """Every request."""
        app = web.Application(client_max_size=1 << 24)
        app.router.add_route("*", "/{path:.*}", self._answer)
        return app

    # --- what a test does to the cluster ---

    def put(self, plural: str, name: str, namespace: str = "", **fields: Any) -> Body:
        """Create the object, or change these fields of it."""
        old = self.objects[plural].get((namespace, name))
        if old is None:
            kind, version = kind_of(plural)
            body = {
                "apiVersion": version,
                "kind": kind,
                "metadata": {
                    "name": name,
                    "uid": str(uuid.uuid4()),
                    "creationTimestamp": fields.pop("created", NOW),
                    "generation": 1,
                }
                | ({"namespace": namespace} if namespace else {}),
            }
            return self._store(plural, _merged(body, fields))
        return self._store(plural, _merged(copy.deepcopy(old), fields))

    def take(self, plural: str, name: str, namespace: str = "", *, told: bool = True) -> None:
        """The object is gone, whatever its finalizers; `told`: watches say so."""
        body = self.objects[plural].pop((namespace, name))
        self._managed.pop((plural, (namespace, name)), None)
        self.version += 1
        if told:
            self._publish(plural, body, None)

    def drop_kind(self, plural: str) -> None:
        """Delete the kind: first its objects, but for those that a finalizer holds."""
        self.going.add(plural)
        for namespace, name in list(self.objects[plural]):
            self.delete(plural, name, namespace)
        self._let_go(plural)

    def restore_kind(self, plural: str) -> None:
        """The kind is there again, without objects."""
        self.missing.discard(plural)
        self._made[plural] += 1

    def _let_go(self, plural: str) -> None:
        """Of a kind that is going its last object went."""
        if plural in self.going and not self.objects[plural]:
            self.going.discard(plural)
            self.missing.add(plural)
            self.cut(plural)

    def cut(self, plural: str | None = None) -> None:
        """End every watch, or those of a kind, in the middle of a stream."""
        for watch in list(self._watches):
            if plural in (None, watch.plural):
                watch.queue.put_nowait(None)

    def watches(self, plural: str) -> int:
        """How many streams of a kind are open."""
        return sum(watch.plural == plural for watch in self._watches)

    def compact(self) -> None:
        """Forget what was: a watch from an older version gets 410 Gone."""
        self._compacted = self.version
        for events in self._history.values():
            events.clear()

    def repeat(self) -> None:
        """Every watch hears of every object again."""
        for watch in self._watches:
            for body in self.objects[watch.plural].values():
                watch.hear(Change(self.version, None, body))

    def get(self, plural: str, name: str, namespace: str = "") -> Body:
        """The object."""
        return self.objects[plural][namespace, name]

    def condition(self, plural: str, name: str, word: str, namespace: str = "") -> Body:
        """The condition of that type; empty where there is none."""
        status = self.objects[plural].get((namespace, name), {}).get("status") or {}
        found = [each for each in status.get("conditions") or () if each["type"] == word]
        return found[0] if found else {}

    # --- what the operator asks ---

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        path = request.path.strip("/").split("/")
        status = self.refuse(request.method, request.path)
        if status:
            return _failure(status, "refused by the test")
        if len(path) < 4 and path[0] in ("api", "apis", "version"):
            found = discovery(path)
            if found is not None:
                return web.json_response(found)
        group, rest = ("", path[1:]) if path[0] == "api" else (path[1], path[2:])
        version, rest = rest[0], rest[1:]
        namespace = ""
        if len(rest) > 2 and rest[0] == "namespaces":
            namespace, rest = rest[1], rest[2:]
        plural, name, subresource = [*rest, "", ""][:3]
        self.requests[f"{request.method} {'/'.join(filter(None, (plural, subresource)))}"] += 1
        if request.method != "GET":
            self.written.append(request.path)
        if (group, version, plural) not in KINDS or plural in self.missing:
            return _failure(404, "the server could not find the requested resource")
        methods: Mapping[str, Callable[..., Awaitable[web.StreamResponse]]] = {
            "GET": self._get,
            "POST": self._post,
            "PUT": self._replace,
            "PATCH": self._patch,
            "DELETE": self._delete,
        }
        return await methods[request.method](request, plural, (namespace, name))

    async def _get(self, request: web.Request, plural: str, name: Name) -> web.StreamResponse:
        if name[1]:
            body = self.objects[plural].get(name)
            if plural == "customresourcedefinitions":
                body = self._kind(name[1].partition(".")[0])
            return web.json_response(body) if body else _failure(404, f"{name[1]} not found")
        selector = request.query.get("fieldSelector", "")
        if request.query.get("watch") in ("true", "1"):
            return await self._watch(request, Watch(plural, selector))
        items = [body for body in self.objects[plural].values() if selects(selector, body)]
        begin = int(request.query.get("continue") or 0)
        end = begin + int(request.query.get("limit") or len(items) or 1)
        meta = {"resourceVersion": str(self.version)}
        if end < len(items):
            meta["continue"] = str(end)
        kind, version = kind_of(plural)
        page = {"apiVersion": version, "kind": f"{kind}List", "metadata": meta}
        return web.json_response(page | {"items": items[begin:end]})

    def _kind(self, plural: str) -> Body | None:
        """The kind itself; another one when it was away."""
        if plural in self.missing or plural not in self.objects:
            return None
        going = {"deletionTimestamp": NOW} if plural in self.going else {}
        return {"metadata": {"name": plural, "uid": f"{plural}-{self._made[plural]}", **going}}

    async def _post(self, request: web.Request, plural: str, name: Name) -> web.StreamResponse:
        body = await request.json()
        meta = body["metadata"]
        given = meta.get("name") or f"{meta.get('generateName')}{uuid.uuid4().hex[:5]}"
        if (name[0], given) in self.objects[plural]:
            return _failure(409, f"{given} already exists")
        fields = {key: value for key, value in body.items() if key not in ("kind", "apiVersion")}
        fields["metadata"] = {k: v for k, v in meta.items() if k != "generateName"}
        made = self.put(plural, given, name[0], **fields)
        return web.json_response(made, status=201)

    async def _replace(self, request: web.Request, plural: str, name: Name) -> web.StreamResponse:
        body, old = await request.json(), self.objects[plural].get(name)
        if old is None:
            return _failure(404, f"{name[1]} not found")
        if body["metadata"].get("resourceVersion") != old["metadata"]["resourceVersion"]:
            return _failure(409, "the object has been modified")
        return web.json_response(self._store(plural, body))

    async def _patch(self, request: web.Request, plural: str, name: Name) -> web.StreamResponse:
        change, old = await request.json(), self.objects[plural].get(name)
        if old is None:
            return _failure(404, f"{name[1]} not found")
        meta = change.get("metadata", {})
        for key in ("uid", "resourceVersion"):
            if meta.get(key) not in (None, old["metadata"][key]):
                return _failure(409, f"{key} is {old['metadata'][key]}, not {meta[key]}")
        if "apply-patch" in request.headers["Content-Type"]:
            managers = self._managed.setdefault((plural, name), {})
            manager = request.query["fieldManager"]
            before, managers[manager] = managers.get(manager, {}), change.get("status") or {}
            new = _applied(copy.deepcopy(old), before, managers[manager])
        else:
            new = _merged(copy.deepcopy(old), change)
        if plural == "podsandboxes" and old["spec"].get("nodeName") not in (
            None,
            new["spec"].get("nodeName"),
        ):
            return _failure(422, "spec.nodeName is immutable")
        if new != old:
            new = self._store(plural, new)
        return web.json_response(new)

    async def _delete(self, request: web.Request, plural: str, name: Name) -> web.StreamResponse:
        old = self.objects[plural].get(name)
        if old is None:
            return _failure(404, f"{name[1]} not found")
        given = await request.json() if request.can_read_body else {}
        if (given.get("preconditions") or {}).get("uid") not in (None, old["metadata"]["uid"]):
            return _failure(409, "the uid is another one")
        self.delete(plural, name[1], name[0])
        return web.json_response({"kind": "Status", "metadata": {}, "status": "Success"})

    def delete(self, plural: str, name: str, namespace: str = "") -> None:
        """As a person deletes it: finalizers hold it."""
        old = self.objects[plural][namespace, name]
        if old["metadata"].get("finalizers"):
            self.put(plural, name, namespace, metadata={"deletionTimestamp": NOW})
        else:
            self.take(plural, name, namespace)

    # --- versions and watches ---

    def _store(self, plural: str, body: Body) -> Body:
        meta = body["metadata"]
        name = (meta.get("namespace", ""), meta["name"])
        if meta.get("deletionTimestamp") and not meta.get("finalizers"):
            if name in self.objects[plural]:
                self.take(plural, meta["name"], meta.get("namespace", ""))
                self._let_go(plural)
            return body
        self.version += 1
        meta["resourceVersion"] = str(self.version)
        old, self.objects[plural][name] = self.objects[plural].get(name), body
        self._publish(plural, old, copy.deepcopy(body))
        return body

    def _publish(self, plural: str, old: Body | None, new: Body | None) -> None:
        change = Change(self.version, old, new)
        self._history[plural].append(change)
        if plural in self.mute:
            return
        for watch in self._watches:
            if watch.plural == plural:
                for _ in range(2 if self.twice else 1):
                    watch.hear(change)

    async def _watch(self, request: web.Request, watch: Watch) -> web.StreamResponse:
        plural = watch.plural
        since = int(request.query.get("resourceVersion") or self.version)
        answer = web.StreamResponse()
        await answer.prepare(request)
        if since < self._compacted:
            gone = {"kind": "Status", "code": 410, "reason": "Expired", "message": "too old"}
            watch.queue.put_nowait({"type": "ERROR", "object": gone})
            watch.queue.put_nowait(None)
        elif plural not in self.mute:
            for change in self._history[plural]:
                if change.version > since:
                    watch.hear(change)
            if request.query.get("allowWatchBookmarks") in ("true", "1"):
                kind, version = kind_of(plural)
                body = {"apiVersion": version, "kind": kind}
                meta = {"resourceVersion": str(self.version)}
                bookmark = {"type": "BOOKMARK", "object": body | {"metadata": meta}}
                watch.queue.put_nowait(bookmark)
        self._watches.add(watch)
        try:
            while (event := await watch.queue.get()) is not None:
                line = json.dumps(event).encode() + b"\n"
                await answer.write(line[: len(line) // 2])  # as they come over a network
                await answer.write(line[len(line) // 2 :])
        except ConnectionError:
            pass
        finally:
            self._watches.discard(watch)
        return answer


def _merged(old: Any, change: Any) -> Any:
    """RFC 7386."""
    if not isinstance(change, dict) or not isinstance(old, dict):
        return change
    for key, value in change.items():
        if value is None:
            old.pop(key, None)
        else:
            old[key] = _merged(old.get(key, {} if isinstance(value, dict) else None), value)
    return old


def _applied(body: Body, before: Body, given: Body) -> Body:
    """What a manager applied before and does not any more goes; conditions are one by one."""
    status = {key: value for key, value in body.get("status", {}).items() if key not in before}
    others = {each["type"]: each for each in body.get("status", {}).get("conditions", ())}
    for each in before.get("conditions", ()):
        others.pop(each["type"], None)
    conditions = others | {each["type"]: each for each in given.get("conditions", ())}
    body["status"] = status | given | {"conditions": [*conditions.values()]}
    return body


def _failure(status: int, message: str) -> web.Response:
    body = {"kind": "Status", "status": "Failure", "code": status, "message": message}
    return web.json_response(body, status=status)
