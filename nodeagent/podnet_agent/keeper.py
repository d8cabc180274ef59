"""Keeping the node as it should be: look, reconcile, again when something changed, now and then.

An event says when to look, never what happened.
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Mapping, Sequence

from podnet.commands import commands
from podnet.errors import PodNetError
from podnet.network import Network
from podnet.objects import Netns, Observed
from podnet.plan import Plan
from podnet_agent.agent import Agent, Question
from podnet_agent.networks import Networks
from podnet_agent.sandboxes import Sandboxes
from podnet_agent.threads import Threads

log = logging.getLogger(__name__)

RESYNC_SECONDS = 60.0
"""How often everything is looked at though nothing was heard."""
WAITING_SECONDS = 2.0
"""How often, while a network waits for something to go: a route of others, which is not heard."""
REPORT_SECONDS = 10.0
"""How often at most the networks' numbers of addresses are written down."""
FIRST_RETRY_SECONDS, LONGEST_RETRY_SECONDS = 0.5, 30.0
PODS_A_LOOK = 50
"""Each takes some 0.3 ms of the reader, which should not be long away from the node."""
SWEEP_SECONDS = 0.05
"""How long removed links wait for company: with the deletion itself under 100 ms."""

Look = Callable[[Question], Observed]


class Keeper:
    """Lives in the asyncio loop."""

    def __init__(
        self, agent: Agent, threads: Threads, networks: Networks, sandboxes: Sandboxes, look: Look
    ) -> None:
        self._agent, self._threads, self._look = agent, threads, look
        self._networks, self._sandboxes = networks, sandboxes
        self._reconciling = asyncio.Lock()  # one look and what follows from it at a time
        self._changed = asyncio.Event()
        self._sweep = asyncio.Event()
        self._counts = asyncio.Event()  # attachments came or went since networks were reported on
        self._counted = 0
        threads.written = self._written

    def wake(self) -> None:
        """Something of ours may have changed, in the kernel or among the objects: look soon."""
        self._changed.set()

    def _written(self) -> None:
        if self._agent.kernel.waiting:
            self._sweep.set()
        if self._agent.attachments != self._counted:
            self._counts.set()

    async def look(self, namespaces: Sequence[Netns] = ()) -> Observed:
        """What the kernel holds of ours, now."""
        question = await self._threads.write(self._agent.question, tuple(namespaces))
        observed: Observed = await self._threads.read(self._look, question)
        return observed

    async def reconcile(self, namespaces: Sequence[Netns] = ()) -> Plan:
        """Look at the node and at those pods' namespaces, and make them as desired."""
        async with self._reconciling:
            observed = await self.look(namespaces)
            try:
                plan: Plan = await self._threads.write(self._agent.reconcile, observed)
            except PodNetError as error:
                await self._networks.report(error)
                raise
        for operation in plan.operations:
            log.info("%s", "; ".join(commands(operation)))
        await self._networks.report()
        if plan.operations or self._agent.lost:
            self._sandboxes.check_wiring(self._agent.lost)
        return plan

    async def keep(self) -> None:
        """Repair what changed, sweep what was removed, until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._repairing())
            group.create_task(self._sweeping())
            group.create_task(self._counting())

    async def _repairing(self) -> None:
        delay = FIRST_RETRY_SECONDS
        next_round = time.monotonic()  # a dead agent may have been at work in a pod
        while True:
            with contextlib.suppress(TimeoutError):
                seconds = max(0.0, next_round - time.monotonic())
                waiting = self._networks.waiting
                async with asyncio.timeout(min(seconds, WAITING_SECONDS) if waiting else seconds):
                    await self._changed.wait()
            self._changed.clear()
            before = self._agent.networks
            try:
                new = await self._networks.refresh()
                if self._mtu_changed(before):
                    next_round = time.monotonic()  # a pair with two MTUs loses packets
                await self.reconcile()
                if new:
                    self._sandboxes.wake_all()
                if time.monotonic() >= next_round:
                    await self._inspect_pods()
                    next_round = time.monotonic() + RESYNC_SECONDS
                delay = FIRST_RETRY_SECONDS
            except PodNetError as error:
                log.warning("reconcile failed, again in %.1f s: %s", delay, error)
                await asyncio.sleep(delay)
                delay = min(delay * 2, LONGEST_RETRY_SECONDS)
                next_round = time.monotonic()  # a pod's pair may be there and not what is in it

    def _mtu_changed(self, before: Mapping[str, Network]) -> bool:
        return any(
            name in before and before[name].pod_mtu != network.pod_mtu
            for name, network in self._agent.networks.items()
        )

    async def _inspect_pods(self) -> None:
        """Look into every pod's namespace, some at a time: nobody tells what changed in there."""
        namespaces = await self._threads.write(self._agent.homes)
        failure: PodNetError | None = None
        for begin in range(0, len(namespaces), PODS_A_LOOK):
            some = namespaces[begin : begin + PODS_A_LOOK]
            try:
                await self.reconcile(some)
            except PodNetError as error:  # one pod's trouble is not the others'
                failure = failure or error
        if failure:
            raise failure

    async def _sweeping(self) -> None:
        while True:
            await self._sweep.wait()
            await asyncio.sleep(SWEEP_SECONDS)
            self._sweep.clear()
            await self._threads.sweep(self._agent.kernel.sweep)

    async def _counting(self) -> None:
        while True:
            await self._counts.wait()
            self._counts.clear()
            self._counted = self._agent.attachments
            await self._networks.report()
            await asyncio.sleep(REPORT_SECONDS)
            await self._networks.report()  # what a cluster was told so soon before was not counted
