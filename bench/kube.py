"""The API server of a cluster, as the bench talks to it: objects, and when they became what.

Run where the cluster can be reached: `tests/kind/cluster/in`. Every answer is plain JSON, for
Pods as for PodSandboxes: a client that builds classes would be slower for one of them.
"""

import contextlib
import json
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from typing import Any, cast

import kubernetes
import urllib3

Body = dict[str, Any]
Watch = Callable[[str], urllib3.BaseHTTPResponse]
"""A watch of a collection, from a resource version on."""
PODNET = "/apis/podnet.dev/v1alpha1"
AT_ONCE = 20
"""Requests on the way to the server."""


class KubeError(Exception):
    """The API server refused; has its sentence."""


class Kube:
    """The cluster that KUBECONFIG names."""

    def __init__(self) -> None:
        kubernetes.config.load_kube_config()
        found = kubernetes.client.Configuration.get_default_copy()
        self._url = found.host
        self._pool = urllib3.PoolManager(
            maxsize=AT_ONCE + 10,
            cert_file=found.cert_file,
            key_file=found.key_file,
            ca_certs=found.ssl_ca_cert,
        )

    def ask(self, method: str, path: str, body: Body | None = None, **options: Any) -> Body:
        """One request; KubeError where it was refused."""
        return cast(Body, json.loads(self.raw(method, path, body, **options)))

    def raw(
        self, method: str, path: str, body: Body | None = None, kind: str = "application/json"
    ) -> bytes:
        """As ask, but the answer as it is."""
        data = None if body is None else json.dumps(body)
        headers = {"Content-Type": kind}
        response = self._pool.request(method, self._url + path, body=data, headers=headers)
        if response.status >= 400:
            raise KubeError(f"{method} {path}: {response.status}: {response.data.decode()}")
        return response.data

    def items(self, path: str) -> list[Body]:
        """All objects of a collection."""
        return cast(list[Body], self.ask("GET", path)["items"])

    def create(self, path: str, bodies: Sequence[Body]) -> dict[str, float]:
        """Make them all at once; when each was asked for, on the clock of time.time."""
        asked: dict[str, float] = {}

        def one(body: Body) -> None:
            asked[body["metadata"]["name"]] = time.time()
            self.raw("POST", path, body)

        with ThreadPoolExecutor(AT_ONCE) as pool:
            list(pool.map(one, bodies))
        return asked

    def delete(self, path: str, names: Sequence[str], query: str = "") -> None:
        """Delete objects of a collection, those that are there."""

        def one(name: str) -> None:
            try:
                self.raw("DELETE", f"{path}/{name}{query}")
            except KubeError as error:
                if ": 404:" not in str(error):
                    raise

        with ThreadPoolExecutor(AT_ONCE) as pool:
            list(pool.map(one, names))

    @contextmanager
    def namespace(self, name: str) -> Iterator[None]:
        """One that is there for the block only; what an earlier, killed run left goes first."""
        path = "/api/v1/namespaces"
        with self.watching(path, lambda _: True) as seen:
            if name in {each["metadata"]["name"] for each in self.items(path)}:
                self.delete(path, [name])
                seen.wait_gone([name])
        self.create(path, [{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}])
        try:
            yield
        finally:
            self.delete(path, [name])

    @contextmanager
    def watching(self, path: str, reached: Callable[[Body], bool]) -> Iterator["Arrivals"]:
        """From now on, see which objects of a collection reach a state, or are gone, and when."""
        version = self.ask("GET", f"{path}?limit=1")["metadata"]["resourceVersion"]
        arrivals = Arrivals(partial(self._watch, path), version)
        thread = threading.Thread(target=arrivals.follow, args=(reached,), daemon=True)
        thread.start()
        try:
            yield arrivals
        finally:
            arrivals.shut()
            thread.join()

    def _watch(self, path: str, version: str) -> urllib3.BaseHTTPResponse:
        """What happens to a collection after that version, a line each, until it is shut."""
        query = f"?watch=true&resourceVersion={version}&timeoutSeconds=900"
        stream = self._pool.request("GET", self._url + path + query, preload_content=False)
        if stream.status >= 400:
            raise KubeError(f"watch {path}: {stream.status}: {stream.data.decode()}")
        return stream


class Arrivals:
    """When objects were seen in a state, or gone, by name; on the clock of time.time."""

    def __init__(self, watch: Watch, version: str) -> None:
        self.reached: dict[str, float] = {}
        self.gone: set[str] = set()
        self._watch, self._version = watch, version
        self._stream: urllib3.BaseHTTPResponse | None = watch(version)
        self._shut = False
        self._ended = ""  # why nothing is seen any more
        self._changed = threading.Condition()

    def follow(self, reached: Callable[[Body], bool]) -> None:
        """Read until it is shut: the API server ends a watch whose reader was late."""
        try:
            while stream := self._stream:
                with contextlib.suppress(urllib3.exceptions.HTTPError):  # ended in the middle
                    self._read(stream, reached)
                self._go_on()
        except BaseException as error:
            with self._changed:
                self._ended = f"the watch ended: {error!r}"
                self._changed.notify_all()
            raise

    def shut(self) -> None:
        """Nothing more is wanted."""
        with self._changed:
            self._shut = True
            if self._stream is not None:
                with contextlib.suppress(RuntimeError):  # the server has ended it already
                    self._stream.shutdown()

    def _go_on(self) -> None:
        stream = None if self._shut else self._watch(self._version)
        with self._changed:
            if self._shut and stream is not None:
                stream.close()
                stream = None
            self._stream = stream

    def _read(self, stream: urllib3.BaseHTTPResponse, reached: Callable[[Body], bool]) -> None:
        rest = b""
        for chunk in stream.stream(1 << 16):
            *lines, rest = (rest + chunk).split(b"\n")
            now = time.time()
            for line in lines:
                self._event(json.loads(line), reached, now)

    def _event(self, event: Body, reached: Callable[[Body], bool], now: float) -> None:
        if event["type"] == "ERROR":
            raise KubeError(str(event["object"]))
        meta = event["object"].get("metadata", {})
        name = meta.get("name", "")
        with self._changed:
            self._version = meta["resourceVersion"]
            if event["type"] == "DELETED":
                self.gone.add(name)
            elif name not in self.reached and reached(event["object"]):
                self.reached[name] = now
            self._changed.notify_all()

    def wait(self, names: Sequence[str], seconds: float = 120) -> None:
        """Until each has reached it; TimeoutError."""
        self._wait(lambda: set(names) - self.reached.keys(), seconds)

    def wait_gone(self, names: Sequence[str], seconds: float = 120) -> None:
        """Until none is there; TimeoutError."""
        self._wait(lambda: set(names) - self.gone, seconds)

    def _wait(self, lacking: Callable[[], set[str]], seconds: float) -> None:
        with self._changed:
            self._changed.wait_for(lambda: self._ended or not lacking(), seconds)
            if lacking():
                why = self._ended or f"waited for {seconds:g} s"
                raise TimeoutError(f"{len(lacking())} objects did not arrive: {why}")


def is_ready(body: Body) -> bool:
    """Whether its condition Ready is True."""
    conditions = body.get("status", {}).get("conditions") or []
    return any(each["type"] == "Ready" and each["status"] == "True" for each in conditions)
