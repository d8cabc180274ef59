"""What is asked of the agent: apply, delete, run, plan, explain, down.

The asyncio loop serves; the writer alone changes store and kernel, one change at a time; the reader
looks (threads.py).
"""

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import replace

from podnet.api.machine import refused
from podnet.api.manifest import Resource, Source, changes_refused, from_body, read, to_body
from podnet.api.meta import Found
from podnet.api.podsandbox import PodSandbox, warnings
from podnet.errors import Conflict, PodNetError
from podnet.explain import Line
from podnet.objects import Netns, Observed
from podnet.plan import Plan
from podnet_agent.agent import Agent
from podnet_agent.attached import Attached
from podnet_agent.keeper import Keeper, Look
from podnet_agent.networks import BY_ITSELF, Networks
from podnet_agent.objects import Body, Name, Objects, name_of
from podnet_agent.sandboxes import Sandboxes
from podnet_agent.threads import Threads
from podnet_agent.wires import Wires

log = logging.getLogger(__name__)

DOWN_SECONDS = 60.0
"""How long `down` waits for sandboxes: longer than containers may take to end."""


class Service:
    """One agent. Lives in the asyncio loop."""

    def __init__(
        self,
        agent: Agent,
        threads: Threads,
        objects: Objects,
        networks: Networks,
        sandboxes: Sandboxes,
        look: Look,
    ) -> None:
        self.agent, self.threads, self.objects = agent, threads, objects
        self.networks, self.sandboxes = networks, sandboxes
        self.wires = Wires(agent, threads.write, sandboxes)
        self.keeper = Keeper(agent, threads, networks, sandboxes, look)
        self.attached = Attached(agent, threads, self.keeper.look)
        self.started = False
        self.stopping = asyncio.Event()
        self.emptied = False  # by `down`: nothing is left to be kept
        self.bug: BaseException | None = None
        sandboxes.crashed = self.crashed
        objects.changed = self.object_changed

    def crashed(self, error: BaseException) -> None:
        """A bug: the agent ends, the next one takes over."""
        log.critical("this is a bug, the agent ends", exc_info=error)
        self.bug = error
        self.stopping.set()

    def object_changed(self, name: Name) -> None:
        """An object was written or went."""
        if not self.started:
            return
        if name[0] == "PodSandbox":
            self.sandboxes.wake(name)
        else:
            self.keeper.wake()

    async def load(self) -> None:
        """Know the objects, and how networks look on this node."""
        await self.objects.load()
        if self.objects.get("PodNetwork", "", "default") is None:
            await self.objects.apply(BY_ITSELF)
        await self.networks.clear()
        await self.networks.refresh()

    async def keep(self) -> None:
        """Keep all so until cancelled."""
        await self.keeper.keep()

    async def leave(self) -> None:
        """The agent was told to end: what is built stays."""

    async def close(self) -> None:
        """Stop looking. What is built stays."""
        await self.sandboxes.close()
        await self.sandboxes.containers.close()

    async def start(self, recall: Callable[[], None]) -> None:
        """Take over what an earlier agent left, then bring up what is wanted.

        `recall`: what makes lost records anew, in the writer thread, once networks are known.
        """
        await self.load()
        await self.threads.write(recall)
        await self.sandboxes.adopt()
        await self.threads.write(self.agent.recover)
        try:
            await self.keeper.reconcile()
        except PodNetError as error:
            log.warning("not all is as it should be yet: %s", error)
            self.keeper.wake()
        self.started = True
        for body in self.objects.list("PodSandbox"):
            self.sandboxes.wake(name_of(body))

    # What the socket offers.

    async def apply(
        self, sources: Sequence[Source], namespace: str
    ) -> tuple[list[Body], list[str]]:
        """Write all objects of the sources, or, with Invalid, none."""
        bodies, warned = self.validated(sources, namespace)
        results: list[Body] = []
        networks = [body for body in bodies if body["kind"] == "PodNetwork"]
        for body in networks:
            await self.networks.replace_default(body)
            results.append(await self._applied(body))
        if networks:
            await self.networks.refresh()
            await self.keeper.reconcile()
            self.sandboxes.wake_all()
        results += [await self._applied(each) for each in bodies if each["kind"] == "PodSandbox"]
        self.sandboxes.wake_failed()
        return results, warned

    async def _applied(self, body: Body) -> Body:
        kind, namespace, name = name_of(body)
        action = await self.objects.apply(body)
        return {"kind": kind, "namespace": namespace, "name": name, "action": action}

    async def run(self, source: Source, *, stdin: bool, tty: bool) -> tuple[Body, Body, list[str]]:
        """A new sandbox with containers created, not started: object, attach ends, warnings.

        What can't be created is not left behind.
        """
        (resource,) = read([source], "default")
        name = name_of(to_body(resource))
        if self.objects.get(*name) is not None:
            raise Conflict(
                f"podsandbox {name[2]} exists already: delete it or choose another name (--name)"
            )
        (body,), warned = self.validated([source], "default")
        try:
            attach = await self.sandboxes.run(body, stdin=stdin, tty=tty)
        except BaseException:
            if self.objects.get(*name) is not None:
                await self.delete(name, 0)
            raise
        return self.objects.get(*name) or body, attach, warned

    def validated(self, sources: Sequence[Source], namespace: str) -> tuple[list[Body], list[str]]:
        """The objects as they would be stored, and warnings; Invalid with every problem."""
        bodies: list[Body] = []
        warned: list[str] = []
        for resource in read(sources, namespace, self._further):
            bodies.append(to_body(resource))
            if isinstance(resource, PodSandbox):
                warned += warnings(resource)
        return bodies, warned

    def _further(self, resource: Resource) -> Found:
        """What is wrong with an object beside what there is."""
        found = self.refused(resource)
        old = self.objects.get(*name_of(to_body(resource)))
        if old is not None and "deletionTimestamp" in old["metadata"]:
            found.append((("metadata", "name"), "is being deleted: wait, then apply again"))
        elif old is not None and not self.networks.may_replace(old):
            found += changes_refused(from_body(old), resource)
        return found

    def refused(self, resource: Resource) -> Found:
        """Fields that can't be honoured here."""
        return refused(resource)

    async def delete(
        self, name: Name, grace_seconds: float | None = None, *, wait: bool = True
    ) -> Body:
        """Delete an object; KeyError when there is none."""
        return await self._take_down(name, grace_seconds, wait=wait)

    async def _take_down(
        self, name: Name, grace_seconds: float | None = None, *, wait: bool = True
    ) -> Body:
        """Take the object down and wait until it is gone; KeyError when there is none."""
        body = self.objects.get(*name)
        if body is None:
            raise KeyError(name)
        if name[0] == "PodSandbox":
            await self.objects.mark_deleted(name, grace_seconds)
            self.sandboxes.wake(name)
            if wait:
                await self.objects.gone(name)
            return body
        users = [
            f"{other['metadata']['namespace']}/{other['metadata']['name']}"
            for other in self.objects.list("PodSandbox")
            if self.networks.is_used_by(name[2], other)
        ]
        users = [f"PodSandbox {user}" for user in users] or await self.attached.users(name[2])
        if users:
            raise Conflict(
                f"PodNetwork/{name[2]} is in use by {', '.join(users[:5])}:"
                f" delete {'them' if len(users) > 1 else 'it'} first"
            )
        await self.objects.remove(name)
        await self.networks.forget(name[2])
        await self.keeper.reconcile()
        return body

    async def delete_all(
        self,
        sources: Sequence[Source],
        namespace: str,
        grace_seconds: float | None = None,
        *,
        wait: bool = True,
    ) -> list[Body]:
        """Delete every object the sources name; the answer says which were not there."""
        names = [name_of(to_body(resource)) for resource in read(sources, namespace)]
        found = [name for name in names if self.objects.get(*name)]
        for kind in ("PodSandbox", "PodNetwork"):  # sandboxes before their networks
            deletions = [
                self.delete(name, grace_seconds, wait=wait) for name in found if name[0] == kind
            ]
            await asyncio.gather(*deletions)
        return [
            {
                "kind": name[0],
                "namespace": name[1],
                "name": name[2],
                "action": "deleted" if name in found else "missing",
            }
            for name in names
        ]

    async def plan(self, sources: Sequence[Source], namespace: str) -> Plan:
        """What `apply` of the sources would do to the kernel; nothing is done."""
        bodies, _ = self.validated(sources, namespace)
        observed = await self.keeper.look()
        plan: Plan = await self.threads.write(self._plan, bodies, observed)
        return plan

    def _plan(self, bodies: Sequence[Body], observed: Observed) -> Plan:
        """In the writer thread: the same steps as ever, on a copy of the records."""
        with self.agent.store.copy() as store:
            agent = replace(self.agent, store=store)
            networks = [body for body in bodies if body["kind"] == "PodNetwork"]
            self.networks.resolve_with(agent, networks)
            for body in bodies:
                if body["kind"] == "PodSandbox":
                    self.sandboxes.pretend(agent, body)
            return agent.plan(observed, agent.state())

    async def explain(self, body: Body) -> tuple[Line, ...]:
        """Every kernel object of one sandbox, beside what is there."""
        sandbox_id = body["status"].get("sandboxID", "")
        path = body["status"].get("netns", {}).get("path", "")
        observed = await self.keeper.look([Netns(path)] if path.startswith("/run/netns/") else ())
        lines: tuple[Line, ...] = await self.threads.write(self.agent.explain, sandbox_id, observed)
        return lines

    async def down(self) -> Body:
        """Take everything away that podnet made on this machine; the agent ends afterwards."""
        names = [name_of(body) for body in self.objects.list("PodSandbox")]
        removed = {"podsandboxes": len(names), "podnetworks": len(self.objects.list("PodNetwork"))}
        notes = await self._delete_sandboxes(names)
        notes += await self.attached.detach_all()
        for body in self.objects.list("PodNetwork"):
            name = name_of(body)
            await self.objects.remove(name)
            await self.networks.forget(name[2])
        try:
            await self.keeper.reconcile()
            await self.threads.write(self.agent.kernel.sweep)
        except PodNetError as error:
            notes.append(str(error))
        notes += [str(conflict) for conflict in self.agent.conflicts]
        self.emptied = not notes
        return {"removed": removed, "kept": self.agent.kept, "notes": notes}

    async def _delete_sandboxes(self, names: Sequence[Name]) -> list[str]:
        """Delete them all at once; sentences about those that did not go."""
        deletions = {name: asyncio.create_task(self._take_down(name)) for name in names}
        if deletions:
            await asyncio.wait(deletions.values(), timeout=DOWN_SECONDS)
        notes = []
        for (_, namespace, name), task in deletions.items():
            if not task.done():
                task.cancel()
                notes.append(
                    f"PodSandbox/{namespace}/{name} is not gone after {DOWN_SECONDS:.0f} s: the"
                    f" agent's log says why; `podnet down` tries again"
                )
            elif error := task.exception():
                notes.append(str(error))
        return notes
