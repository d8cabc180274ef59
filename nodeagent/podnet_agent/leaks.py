"""`podnet doctor --leaks`: what records, kernel and runtime have that the others don't know of."""

from collections.abc import Awaitable, Callable
from dataclasses import asdict
from pathlib import Path

from podnet.errors import PodNetError
from podnet.leaks import Leak, leaks
from podnet.objects import Observed
from podnet_agent.agent import Agent
from podnet_agent.objects import Body
from podnet_agent.pending import without_younger
from podnet_agent.threads import Threads

SANDBOXES = 'labels."io.cri-containerd.kind"==sandbox'
"""containerd's CRI marks a Pod's sandbox so; the container's id is the one that CNI is told."""
ASK_SECONDS = 5.0


class Leaks:
    """Lives in the asyncio loop. `runtime` is the socket of the node's containerd."""

    def __init__(
        self,
        agent: Agent,
        threads: Threads,
        look: Callable[[], Awaitable[Observed]],
        runtime: Path,
    ) -> None:
        self._agent, self._threads, self._look, self._runtime = agent, threads, look, runtime

    async def find(self) -> Body:
        """Every orphan, and whether the runtime was asked; why not, where it was not."""
        known, why_not = await self._sandboxes()
        observed = await self._look()
        found: list[Leak] = await self._threads.write(self._compare, observed, known)
        return {"leaks": [asdict(each) for each in found], "runtimeNotAsked": why_not}

    def _compare(self, observed: Observed, known: frozenset[str] | None) -> list[Leak]:
        """In the writer thread."""
        records = self._agent.store.records()
        ready = [each.attachment for each in records if each.state == "ready"]
        begun = [each.attachment for each in records if each.state != "ready"]
        strays = [each.attachment for each in self._agent.strays() if each.state == "ready"]
        younger = [each for each in records if each.attachment.number > observed.newest]
        todo = self._agent.plan(without_younger(observed, younger))
        return list(leaks(begun, strays, ready, todo.operations, known))

    async def _sandboxes(self) -> tuple[frozenset[str] | None, str | None]:
        if not self._runtime.exists():
            return None, f"no containerd has {self._runtime}"
        try:
            from podnet_agent.runtime.containerd import messages
            from podnet_agent.runtime.containerd.client import Client

            client = Client(self._runtime)
        except ImportError:
            return None, "grpcio is not installed: pip install podnet[cluster]"
        try:
            request = messages.Filters((SANDBOXES,))
            found = await client.call(
                "containers.v1.Containers/List", request, messages.Records, seconds=ASK_SECONDS
            )
        except PodNetError as error:
            return None, str(error)
        finally:
            await client.close()
        return frozenset(record.id for record in found.containers), None
