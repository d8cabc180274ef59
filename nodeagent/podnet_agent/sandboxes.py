"""Sandboxes: from a PodSandbox object to a wired namespace with running containers, and back.

One task a sandbox, level-based: a wake-up says when to look, never what happened. Each look goes
the whole way from the object to the status; what is done already is not done again.
"""

import asyncio
import logging
import uuid
from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path

from podnet.api.manifest import from_body
from podnet.api.podsandbox import PodSandbox
from podnet.errors import PodNetError, Retryable
from podnet.objects import HOST, Netns
from podnet.sandbox import Sandbox, resolve
from podnet.status import InterfaceFacts
from podnet_agent import namespaces
from podnet_agent.agent import Agent
from podnet_agent.containers import Containers, Home
from podnet_agent.objects import Body, Name, Objects, Write, name_of
from podnet_agent.reports import Report, failed, homeless, inode_of
from podnet_agent.wiring import Wiring, id_of

log = logging.getLogger(__name__)

FIRST_RETRY_SECONDS, LONGEST_RETRY_SECONDS = 1.0, 30.0
GRACE_SECONDS = 10.0
"""How long containers may take to end when they are asked to: `docker stop`'s."""
COMPANY_SECONDS = 0.2
"""How long those that failed wait for more to go, when one sandbox went."""
KIND = "PodSandbox"


class OwnerGone(Retryable):
    """The sandbox whose namespace is joined is not there, or is another one by now."""


@dataclass(slots=True)
class Creation:
    """Containers of this sandbox are to be created and not started: `podnet run` waits for it."""

    stdin: bool
    tty: bool
    done: asyncio.Future[Body]


@dataclass(slots=True)
class Worker:
    """One sandbox's task, and what it knows beside the object."""

    wake: asyncio.Event = field(default_factory=asyncio.Event)
    task: asyncio.Task[None] | None = None
    failures: int = 0
    wired: bool = False  # the namespace was seen with all its links
    interfaces: tuple[InterfaceFacts, ...] = ()
    creation: Creation | None = None


class Sandboxes:
    """Every PodSandbox of this machine. Lives in the asyncio loop."""

    def __init__(
        self,
        wiring: Wiring,
        write: Write,
        objects: Objects,
        containers: Containers,
        need_network: Callable[[str], Awaitable[None]],
    ) -> None:
        self._wiring, self._write, self._objects = wiring, write, objects
        self.containers, self.need_network = containers, need_network
        self._workers: dict[Name, Worker] = {}
        self._joined_by: dict[Name, set[Name]] = {}  # who has asked for whose namespace
        self.crashed: Callable[[BaseException], None] = lambda error: None
        self._waking: asyncio.TimerHandle | None = None

    async def adopt(self) -> None:
        """Take over the containers of an earlier agent; those of no sandbox end."""
        uids = [body["metadata"]["uid"] for body in self._objects.list(KIND)]
        await self.containers.adopt([id_of(uid) for uid in uids])

    def wake(self, name: Name) -> None:
        """Look at this sandbox soon; starts its task at the first call."""
        worker = self._workers.setdefault(name, Worker())
        if worker.task is None:
            worker.task = asyncio.create_task(self._run(name, worker), name=f"sandbox {name[2]}")
            worker.task.add_done_callback(self._ended)
        worker.wake.set()

    def wake_id(self, sandbox_id: str) -> None:
        """Look at the sandbox of that id: a container of it ended."""
        for body in self._objects.list(KIND):
            if id_of(body["metadata"]["uid"]) == sandbox_id:
                self.wake(name_of(body))

    def wake_all(self) -> None:
        """Look at every sandbox: a network changed, another sandbox came or went."""
        for name in list(self._workers):
            self.wake(name)

    def wake_failed(self) -> None:
        """Look soon at those that could not be built: what was in their way may be gone."""
        if self._waking is None:
            loop = asyncio.get_running_loop()
            self._waking = loop.call_later(COMPANY_SECONDS, self._wake_failed)

    def _wake_failed(self) -> None:
        self._waking = None
        for name, worker in list(self._workers.items()):
            if worker.failures:
                self.wake(name)

    def refresh(self, name: Name) -> None:
        """Its interfaces are others now: read them again."""
        worker = self._workers.get(name)
        if worker:
            worker.wired = False
            self.wake(name)

    def check_wiring(self, lost: Collection[Netns]) -> None:
        """Something was repaired: links may have other indexes than we remember."""
        for name, worker in self._workers.items():
            body = self._objects.get(*name)
            path = body["status"].get("netns", {}).get("path") if body else None
            if worker.interfaces or path in lost:
                self.refresh(name)

    async def run(self, body: Body, *, stdin: bool, tty: bool) -> Body:
        """Write the object and have its containers created: the ends to attach to, by container."""
        name = name_of(body)
        creation = Creation(stdin, tty, asyncio.get_running_loop().create_future())
        self._workers[name] = Worker(creation=creation)
        await self._objects.apply(body)
        return await creation.done

    async def start(self, name: Name) -> None:
        """Start the containers that `run` had created."""
        body = self._objects.get(*name)
        assert body is not None
        try:
            await self.containers.start(id_of(body["metadata"]["uid"]))
        finally:
            self.wake(name)

    def pretend(self, agent: Agent, body: Body) -> None:
        """In the writer thread: what a new sandbox would add to records that are thrown away."""
        if self._objects.get(*name_of(body)) is None:
            self._wiring.pretend(
                agent, resolve(from_body(body, PodSandbox), id_of(str(uuid.uuid4())))
            )

    async def close(self) -> None:
        """Stop looking. Namespaces and containers stay as they are."""
        if self._waking:
            self._waking.cancel()
        tasks = [worker.task for worker in self._workers.values() if worker.task]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _ended(self, task: asyncio.Task[None]) -> None:
        """A bug in a look ends the agent: the next one takes over what there is."""
        if not task.cancelled() and (error := task.exception()):
            self.crashed(error)

    async def _run(self, name: Name, worker: Worker) -> None:
        while True:
            worker.wake.clear()
            body = self._objects.get(*name)
            if body is None:
                del self._workers[name]
                for others in self._joined_by.values():
                    others.discard(name)
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
            if worker.creation:  # who waits for it takes the object away
                worker.creation.done.set_exception(error)
                worker.creation = None
                return None
            worker.failures += 1
            log.warning("%s %s/%s: %s", *name, error)
            try:
                await self._report(name, failed(error))
            except PodNetError as unwritten:  # a full disk
                log.warning("%s %s/%s: %s", *name, unwritten)
            return float(
                min(FIRST_RETRY_SECONDS * 2 ** (worker.failures - 1), LONGEST_RETRY_SECONDS)
            )

    async def _bring_up(self, name: Name, body: Body, worker: Worker) -> float | None:
        sandbox = resolve(from_body(body, PodSandbox), id_of(body["metadata"]["uid"]))
        home = await self._home(sandbox, name, body["status"], worker)
        await self._leave_dead_home(sandbox, home, body)
        if worker.creation:
            creation, worker.creation = worker.creation, None
            try:
                ends = await self.containers.create(
                    sandbox, home, stdin=creation.stdin, tty=creation.tty
                )
            except BaseException:
                worker.creation = creation
                raise
            creation.done.set_result(ends)
        states, delay = await self.containers.advance(sandbox, home, body["status"])
        await self._report(name, Report(sandbox, home.netns, worker.interfaces, tuple(states)))
        return delay

    async def _home(self, sandbox: Sandbox, name: Name, status: Body, worker: Worker) -> Home:
        """Where its containers run; a namespace of its own is made and wired first."""
        if sandbox.mode == "Host":
            return Home(HOST)
        if sandbox.mode == "Container":
            return await self._joined(sandbox, name)
        path = self._wiring.path(sandbox.id)
        if not (worker.wired and namespaces.is_pinned(Path(path))):
            if sandbox.mode == "Bridge":
                await self.need_network(sandbox.network)
            worker.interfaces = await self._write(self._wiring.build, sandbox, status)
            worker.wired = True
        addresses = tuple(
            interface.ip for facts in worker.interfaces[:1] for interface in facts.addresses
        )
        return Home(path, addresses)

    async def _joined(self, sandbox: Sandbox, name: Name) -> Home:
        """The namespace of the sandbox that is joined; OwnerGone while there is none.

        One that waits for its owner has no containers: they would go on in a dead namespace.
        """
        try:
            owner = self._owner(name)
        except OwnerGone:
            await self.containers.remove_all(sandbox.id, GRACE_SECONDS)
            await self._report(name, homeless)
            raise
        status, body = owner["status"], self._objects.get(*name)
        joined, there = body["status"].get("netns") if body else None, status.get("netns", {})
        if there.get("inode") is None or (status.get("phase") != "Running" and there != joined):
            raise OwnerGone(
                f"cannot join network namespace of a non running container: {KIND}/{name[1]}/"
                f"{owner['metadata']['name']} is {status.get('phase', 'Pending')}"
            )
        path = Netns(there["path"])
        return Home(
            HOST if path == self._wiring.own_path else path,
            tuple(ip_address(each["ip"]) for each in status["podIPs"]),
            resolve(from_body(owner, PodSandbox), status["sandboxID"]),
        )

    def _owner(self, name: Name) -> Body:
        """The sandbox at the end of those that join each other; they wake this one from now on."""
        passed = [name]
        first = self._objects.get(*name)
        node = first["spec"].get("nodeName") if first else None  # a cluster's: it has others
        while True:
            body = self._objects.get(*passed[-1])
            where = "/".join(passed[-1])
            if body is None or (len(passed) > 1 and "deletionTimestamp" in body["metadata"]):
                what = "is being deleted" if body else _absent(node)
                raise OwnerGone(f"{where}, whose network namespace is joined, {what}: create it")
            joins = body["spec"].get("network", {}).get("sandbox")
            if not joins:
                return body
            further = (KIND, name[1], joins)
            if further in passed:
                raise OwnerGone(
                    f"cannot join own network namespace: {where} joins {'/'.join(further)}, which"
                    f" waits for it: delete one of them"
                )
            self._joined_by.setdefault(further, set()).add(name)
            passed.append(further)

    async def _leave_dead_home(self, sandbox: Sandbox, home: Home, body: Body) -> None:
        """Containers in a namespace that is not the sandbox's any more end, and start anew.

        A new namespace may have a dead one's number, but not its path as well.
        """
        before = body["status"].get("netns", {})
        there = {"path": home.netns or self._wiring.own_path, "inode": inode_of(home.netns)}
        if before.get("inode") is not None and before != there:
            log.warning("%s: another network namespace now, containers start anew", sandbox.owner)
            await self.containers.remove_all(sandbox.id, GRACE_SECONDS)

    async def _tear_down(self, name: Name, body: Body) -> None:
        """Containers first, then what is wired, then the files, then the object."""
        sandbox_id = id_of(body["metadata"]["uid"])
        grace = body["metadata"].get("deletionGracePeriodSeconds", GRACE_SECONDS)
        await self.containers.remove_all(sandbox_id, grace)
        await self._write(self._wiring.demolish, sandbox_id)
        await self._objects.remove(name)
        self._wake_joined(name)
        self.wake_failed()

    async def _report(self, name: Name, report: Callable[[Body], Body]) -> None:
        body = self._objects.get(*name)
        if body is None:
            return
        before = body["status"]
        status = report(body)
        await self._objects.set_status(name, status)
        if any(before.get(key) != status.get(key) for key in ("phase", "netns")):
            self._wake_joined(name)

    def _wake_joined(self, owner: Name) -> None:
        """Those that join this one's namespace look at what became of it."""
        for name in self._joined_by.get(owner, ()):
            if name in self._workers:
                self.wake(name)


def _absent(node: str | None) -> str:
    return f"is not on node {node}, as the one that joins it is" if node else "does not exist"
