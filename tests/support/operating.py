"""The operator in the test's own loop, against a fake API server; and the objects it works on."""

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

from podnet_operator.__main__ import run
from support.fake_api import NOW, FakeApi

Story = Callable[[FakeApi], Awaitable[None]]
SECONDS = 10.0
"""How long anything may take."""


@contextlib.asynccontextmanager
async def cluster(folder: Path, *nodes: str) -> AsyncIterator[FakeApi]:
    """An API server with these nodes; KUBECONFIG leads to it."""
    api = FakeApi()
    api.put("servicecidrs", "kubernetes", spec={"cidrs": ["10.96.0.0/16"]})
    api.put("namespaces", "default")
    api.put("serviceaccounts", "podnet-operator", "default")
    for number, name in enumerate(nodes, 1):
        node(api, name, number)
    async with api.serve(folder) as kubeconfig:
        before = os.environ.get("KUBECONFIG")
        os.environ["KUBECONFIG"] = str(kubeconfig)
        try:
            yield api
        finally:
            os.environ.pop("KUBECONFIG")
            if before is not None:
                os.environ["KUBECONFIG"] = before


def told(folder: Path, story: Story, *nodes: str) -> None:
    """Run a story against a fresh cluster of these nodes."""

    async def whole() -> None:
        async with cluster(folder, *(nodes or ("w1", "w2"))) as api:
            await story(api)

    asyncio.run(whole())


class Running:
    """An operator in a thread and loop of its own: kopf ends what else runs in its loop."""

    def __init__(self, lease_seconds: float, look_seconds: float) -> None:
        self._stop = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._given = {"port": 0, "lease_seconds": lease_seconds, "look_seconds": look_seconds}
        self.ended = asyncio.create_task(asyncio.to_thread(asyncio.run, self._run()))

    def stop(self) -> None:
        """As SIGTERM does."""
        if self._loop is not None and not self.ended.done():
            self._loop.call_soon_threadsafe(self._stop.set)

    async def _run(self) -> None:
        self._loop = asyncio.get_running_loop()
        await run(self._stop, **self._given)  # type: ignore[arg-type]


@contextlib.asynccontextmanager
async def operator(
    *, lease_seconds: float = 3.0, look_seconds: float = 60.0
) -> AsyncIterator[Running]:
    """An operator at work, which ends with the block at the latest."""
    running = Running(lease_seconds, look_seconds)
    try:
        yield running
    finally:
        running.stop()
        async with asyncio.timeout(SECONDS):
            await running.ended


async def until(condition: Callable[[], Any], what: str, seconds: float = SECONDS) -> Any:
    """Wait until `condition()` is truthy and return that."""
    end = asyncio.get_running_loop().time() + seconds
    while not (result := condition()):
        if asyncio.get_running_loop().time() > end:
            raise AssertionError(f"not within {seconds:g} s: {what}")
        await asyncio.sleep(0.01)
    return result


def node(api: FakeApi, name: str, number: int, *, ready: bool = True, **spec: Any) -> None:
    """A Node, or what became of it."""
    api.put(
        "nodes",
        name,
        spec={"podCIDRs": [f"10.244.{number}.0/24"], **spec},
        status={
            "addresses": [{"type": "InternalIP", "address": f"192.168.5.{number}"}],
            "conditions": [{"type": "Ready", "status": "True" if ready else "False"}],
        },
    )


def network(api: FakeApi, name: str, *subnets: str, **spec: Any) -> None:
    """A PodNetwork as the API server stores it."""
    whole = {"backend": {"type": "HostGateway"}, "bridge": {}, **spec}
    api.put("podnetworks", name, spec=whole | ({"subnets": list(subnets)} if subnets else {}))


def sandbox(api: FakeApi, name: str, namespace: str = "default", **fields: Any) -> None:
    """A PodSandbox; `fields` of its spec.network, and nodeName."""
    node_name = fields.pop("nodeName", None)
    spec = {"network": {"mode": "Bridge", **fields}} | (
        {"nodeName": node_name} if node_name else {}
    )
    api.put("podsandboxes", name, namespace, spec=spec)


def agent(
    api: FakeApi, share: str, *, used: int = 0, ready: str = "True", message: str = ""
) -> None:
    """What a node's agent says of its share."""
    condition = {
        "type": "Ready",
        "status": ready,
        "reason": "Built" if ready == "True" else "Conflict",
        "message": message,
        "lastTransitionTime": NOW,
    }
    api.put("nodesubnets", share, status={"addressesUsed": used, "conditions": [condition]})


def shares(api: FakeApi) -> dict[str, str]:
    """The CIDRs of every NodeSubnet, by name."""
    return {
        name: " ".join(body["spec"]["podCIDRs"])
        for (_, name), body in sorted(api.objects["nodesubnets"].items())
    }


def ready(api: FakeApi, name: str) -> str:
    """The reason of the network's condition Ready."""
    return str(api.condition("podnetworks", name, "Ready").get("reason", ""))


def watching(api: FakeApi) -> bool:
    """Whether the only operator since `requests` was cleared watches: a list of its own, kopf's."""
    kinds = ("nodes", "podnetworks", "nodesubnets", "podsandboxes", "servicecidrs")
    return all(api.requests[f"GET {plural}"] >= 3 for plural in kinds)
