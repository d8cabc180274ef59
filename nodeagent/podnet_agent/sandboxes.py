"""Sandboxes: from a PodSandbox object to a wired namespace with running containers, and back.

One task a sandbox, level-based: a wake-up says when to look, never what happened. Each look goes
the whole way from the object to the status; what is done already is not done again.
"""

import asyncio
import logging
import os
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from podnet.api.manifest import from_body
from podnet.sandbox import Sandbox, resolve

from podnet.attachment import AttachRequest
from podnet.desired import EVERYWHERE, Sandboxed
from podnet.errors import PodNetError
from podnet.objects import Netns
from podnet.status import Claim, InterfaceFacts, conditions, interface_body, phase
from podnet_agent.agent import Agent
from podnet_agent.containers import Containers
from podnet_agent.objects import Body, Name, Objects, Write, name_of, timestamp
from podnet_agent.paths import Paths
from podnet_agent.store import Record
from podnet_agent.wiring import facts_of

log = logging.getLogger(__name__)

FIRST_RETRY_SECONDS, LONGEST_RETRY_SECONDS = 1.0, 30.0
KIND = "PodSandbox"


class OwnerGone(PodNetError):
    """The sandbox whose namespace is joined is not there, or is another one by now."""


@dataclass(slots=True)
class Worker:
    """One sandbox's task, and what it knows beside the object."""

    wake: asyncio.Event = field(default_factory=asyncio.Event)
    task: asyncio.Task[None] | None = None
    failures: int = 0
    built: str = ""  # the sandbox id whose namespace is known to be wired
    interfaces: tuple[InterfaceFacts, ...] = ()


class Sandboxes:
    """Every PodSandbox of this machine. Lives in the asyncio loop."""

    def __init__(
        self,
        agent: Agent,
        write: Write,
        objects: Objects,
        containers: Containers,
        paths: Paths,
        need_network: Callable[[str], Any],
    ) -> None:
        self._agent, self._write, self._objects = agent, write, objects
        self._containers, self.paths, self._need_network = containers, paths, need_network
        self._workers: dict[Name, Worker] = {}

    def wake(self, name: Name) -> None:
        """Look at this sandbox soon; starts its task at the first call."""
        worker = self._workers.get(name)
        if worker is None:
            worker = self._workers[name] = Worker()
            worker.task = asyncio.create_task(self._run(name, worker), name=f"sandbox {name[2]}")
        worker.wake.set()

    def wake_id(self, sandbox_id: str) -> None:
        """Look at the sandbox of that id: a container of it ended."""
        for body in self._objects.list(KIND):
            if body["status"].get("sandboxID") == sandbox_id:
                self.wake(name_of(body))

    def wake_all(self) -> None:
        """Look at every sandbox: a network changed, another sandbox came or went."""
        for name in list(self._workers):
            self.wake(name)

    def forget_wiring(self) -> None:
        """Links may have other indexes than we remember: read them again at the next look."""
        for worker in self._workers.values():
            worker.built = ""
        self.wake_all()

    async def close(self) -> None:
        """Stop looking. Namespaces and containers stay as they are."""
        tasks = [worker.task for worker in self._workers.values() if worker.task]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _run(self, name: Name, worker: Worker) -> None:
        while True:
            worker.wake.clear()
            body = self._objects.get(*name)
            if body is None:
                del self._workers[name]
                return
            delay = await self._look(name, body, worker)
            try:
                async with asyncio.timeout(delay):
                    await worker.wake.wait()
            except TimeoutError:
                pass

    async def _look(self, name: Name, body: Body, worker: Worker) -> float | None:
        """One look; how many seconds until the next if nothing wakes the task before."""
        try:
            if "deletionTimestamp" in body["metadata"]:
                await self._tear_down(name, body)
                return None
            delay = await self._bring_up(name, body, worker)
            worker.failures = 0
            return delay
        except PodNetError as error:
            worker.failures += 1
            log.warning("%s %s/%s: %s", *name, error)
            await self._report_failure(name, body, error)
            return float(
                min(FIRST_RETRY_SECONDS * 2 ** (worker.failures - 1), LONGEST_RETRY_SECONDS)
            )

    async def _bring_up(self, name: Name, body: Body, worker: Worker) -> float | None:
        sandbox = resolve(from_body(body), await self._sandbox_id(name, body))
        netns = await self._network(sandbox, name, worker)
        states, delay = await self._containers.advance(sandbox, netns, body["status"])
        await self._report(name, sandbox, netns, worker, states)
        return delay

    async def _sandbox_id(self, name: Name, body: Body) -> str:
        """The id given at the first look, written down before anything is made under it."""
        known = body["status"].get("sandboxID")
        if known:
            return str(known)
        fresh = uuid.uuid4().hex[:12]
        await self._objects.set_status(name, body["status"] | {"sandboxID": fresh})
        return fresh

    async def _network(self, sandbox: Sandbox, name: Name, worker: Worker) -> Netns:
        """The namespace the containers run in, made and wired where it is the sandbox's own."""
        if sandbox.mode == "Host":
            return Netns("")
        if sandbox.mode == "Container":
            return self._joined(sandbox, name)
        path = self.paths.netns(sandbox.id)
        if worker.built != sandbox.id:
            if sandbox.mode == "Bridge":
                await self._need_network(sandbox.network)
            records = await self._write(self._build, sandbox, path)
            worker.interfaces = await self._write(facts_of, self._agent, records)
            worker.built = sandbox.id
        return path

    def _build(self, sandbox: Sandbox, path: Netns) -> tuple[Record, ...]:
        """In the writer thread: make and wire what is not there yet."""
        store = self._agent.store
        namespace = Sandboxed(sandbox.id, path, sandbox.owner)
        known = any(each.sandbox_id == sandbox.id for each in store.namespaces("ready"))
        if known and not Path(path).exists():
            self._agent.demolish(sandbox.id)
            known = False
        if not known and sandbox.mode == "Bridge":
            self._agent.attach(request_of(sandbox, path), namespace)
        elif not known:
            self._agent.make_namespace(namespace)
        return store.of_sandbox(sandbox.id)

    def _joined(self, sandbox: Sandbox, name: Name) -> Netns:
        """The namespace of the sandbox that is joined; OwnerGone while that can't be done."""
        owner = self._objects.get(KIND, name[1], sandbox.joins or "")
        if owner is None:
            raise OwnerGone(f"PodSandbox/{name[1]}/{sandbox.joins} does not exist: create it first")
        status = owner["status"]
        if "deletionTimestamp" in owner["metadata"] or status.get("phase") != "Running":
            raise OwnerGone(
                f"cannot join network namespace of a non running container: PodSandbox/{name[1]}/"
                f"{sandbox.joins} is {status.get('phase', 'Pending')}"
            )
        return Netns(status["netns"]["path"])

    async def _tear_down(self, name: Name, body: Body) -> None:
        """Containers first, then what is wired, then the files, then the object."""
        sandbox_id = body["status"].get("sandboxID")
        if sandbox_id:
            await self._containers.remove_all(sandbox_id, _grace(body))
            await self._write(self._agent.demolish, sandbox_id)
            self.paths.remove_sandbox(sandbox_id)
        await self._objects.remove(name)
        self.wake_all()

    async def _report(
        self, name: Name, sandbox: Sandbox, netns: Netns, worker: Worker, states: list[Body]
    ) -> None:
        body = self._objects.get(*name)
        if body is None:
            return
        before = body["status"]
        now = phase(states, sandbox.restart_policy, networked=True)
        running = all(state["state"] == "running" for state in states)
        claims = [
            Claim("NetworkReady", True, "Wired", ""),
            Claim("ContainersReady", running, "Running" if running else "NotRunning"),
            Claim("Ready", running and now == "Running", now),
        ]
        await self._write_status(
            name, body, claims, now, states, netns, worker.interfaces, sandbox.id
        )
        if before.get("phase") != now:
            self.wake_all()

    async def _report_failure(self, name: Name, body: Body, error: BaseException) -> None:
        body = self._objects.get(*name) or body
        reason = type(error).__name__
        claims = [Claim("Ready", False, reason, str(error))]
        status = body["status"] | {
            "phase": "Pending",
            "conditions": self._conditions(body, claims),
        }
        await self._objects.set_status(name, status)

    async def _write_status(
        self,
        name: Name,
        body: Body,
        claims: list[Claim],
        now: str,
        states: list[Body],
        netns: Netns,
        interfaces: tuple[InterfaceFacts, ...],
        sandbox_id: str,
    ) -> None:
        path = netns or "/proc/1/ns/net"
        status = {
            "phase": now,
            "sandboxID": sandbox_id,
            "netns": {"path": path, "inode": os.stat(path).st_ino},
            "interfaces": [interface_body(facts) for facts in interfaces],
            "podIPs": [
                {"ip": str(interface.ip)}
                for facts in interfaces[:1]
                for interface in facts.addresses
            ],
            "containers": states,
            "conditions": self._conditions(body, claims),
        }
        await self._objects.set_status(name, status)

    def _conditions(self, body: Body, claims: list[Claim]) -> list[Body]:
        before = body["status"].get("conditions", [])
        return conditions(claims, before, body["metadata"]["generation"], timestamp())


def request_of(sandbox: Sandbox, netns: Netns) -> AttachRequest:
    """What a sandbox in bridge mode asks of the one attachment path."""
    return AttachRequest(
        sandbox_id=sandbox.id,
        ifname="eth0",
        netns=netns,
        network=sandbox.network,
        owner=sandbox.owner,
        addresses=sandbox.addresses,
        mac=sandbox.mac,
        ports=sandbox.ports,
        routes=EVERYWHERE,
    )


def pretend(agent: Agent, body: Body, paths: Paths) -> None:
    """Write down, in an agent's records that are thrown away, what a new sandbox would add."""
    sandbox = resolve(from_body(body), uuid.uuid4().hex[:12])
    if sandbox.mode not in ("Bridge", "None") or body.get("status", {}).get("sandboxID"):
        return
    path = paths.netns(sandbox.id)
    agent.store.add_namespace(Sandboxed(sandbox.id, path, sandbox.owner))
    agent.store.set_namespace(sandbox.id, "ready")
    if sandbox.mode == "Bridge":
        request = request_of(sandbox, path)
        attachment = agent.store.reserve(agent.network(request.network), request)
        agent.store.complete(attachment.number)


def _grace(body: Body) -> float:
    return float(body["metadata"].get("deletionGracePeriodSeconds", 10))
