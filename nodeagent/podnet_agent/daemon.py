"""The agent put together: one store, one kernel, three threads, one socket."""

import asyncio
import contextlib
import fcntl
import os
import resource
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

from aiohttp import web

from podnet.errors import PodNetError
from podnet_agent import forward, machine
from podnet_agent.agent import Agent
from podnet_agent.cni.deferred import Deferred
from podnet_agent.cni.door import Door
from podnet_agent.cni.plugin import Plugin
from podnet_agent.cni.recall import recall
from podnet_agent.containers import Containers
from podnet_agent.events import Events
from podnet_agent.kernel import Kernel
from podnet_agent.leaks import Leaks
from podnet_agent.looking import Looker
from podnet_agent.networks import Networks
from podnet_agent.nft import Context, Table
from podnet_agent.objects import Objects, Write
from podnet_agent.paths import Paths
from podnet_agent.ports import Ports
from podnet_agent.runtime import Runtime
from podnet_agent.runtime.containerd.client import SOCKET as RUNTIME
from podnet_agent.runtime.containerd.containerd import Containerd
from podnet_agent.runtime.runc import Runc
from podnet_agent.sandboxes import Sandboxes
from podnet_agent.server import application
from podnet_agent.service import Service
from podnet_agent.store import Store
from podnet_agent.threads import Threads
from podnet_agent.wiring import Wiring

BURST_SECONDS = 0.05
"""How long news gather before they are read: of several about one link only the last counts."""
GOODBYE_SECONDS = 1.0
"""How long who watches may keep an agent that ends from ending."""


class Machine:
    """One machine without a cluster: where objects come from, and what networks are there."""

    def networks(self, agent: Agent, write: Write, objects: Objects) -> Networks:
        """Each network has all of its subnets here."""
        return Networks(agent, write, objects)

    def service(self, *parts: Any) -> Service:
        """The socket writes the objects. `parts` are Service's."""
        return Service(*parts)


@asynccontextmanager
async def running(paths: Paths, place: Machine) -> AsyncIterator[Service]:
    """An agent that has taken over what it found and answers on its socket."""
    Context().close()  # a machine without the library is told so before anything is made
    paths.prepare()
    with alone(paths):
        async with _assembled(paths, place, listen(paths)) as service:
            yield service


@asynccontextmanager
async def planning(paths: Paths) -> AsyncIterator[Service]:
    """What an agent would be if it ran, to be asked for its plan: on copies, nothing is made."""
    records = Store(str(paths.store) if paths.store.exists() else ":memory:")
    threads = Threads()
    try:
        with records.copy() as store:
            service = await _service(paths, Machine(), threads, store)
            await service.load()
            yield service
    finally:
        threads.close()
        records.close()


@asynccontextmanager
async def _assembled(
    paths: Paths, place: Machine, listener: socket.socket
) -> AsyncIterator[Service]:
    threads = Threads()
    store = Store(str(paths.store))
    service = await _service(paths, place, threads, store)
    allow_open_files()
    plugin = Plugin(service.agent)
    deferred = Deferred(paths.deferred, plugin)
    leaks = Leaks(service.agent, threads, service.keeper.look, paths.containerd or RUNTIME)
    runner = web.AppRunner(
        application(service, leaks), access_log=None, shutdown_timeout=GOODBYE_SECONDS
    )
    door: Door | None = None
    events = Events()  # before the first look, so that nothing is missed between
    try:
        await service.start(partial(recall, service.agent, paths.results))
        await threads.write(deferred.work_off)
        with hearing(events, service.keeper.wake):
            await runner.setup()
            assert runner.server is not None
            door = Door(
                listener,
                threads,
                plugin,
                deferred,
                service.keeper.look,
                runner.server,
                service.crashed,
            )
            door.open()
            yield service
    finally:
        if door:
            door.close()
        events.close()
        await service.close()
        with contextlib.suppress(FileNotFoundError):
            paths.socket.unlink()
        await runner.cleanup()
        threads.close()
        store.close()
        if service.emptied:
            paths.clear()


def allow_open_files() -> None:
    """As many open files as may be had: each container is one, each published port two.

    Most processes are started with 1024. Containers get that limit all the same, see bundles.py.
    """
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


@contextlib.contextmanager
def hearing(events: Events, wake: Callable[[], None]) -> Iterator[None]:
    """While the block runs, `wake` is called when news concern us. A burst is read together."""
    loop = asyncio.get_running_loop()
    timer: asyncio.TimerHandle | None = None

    def begin() -> None:
        nonlocal timer
        loop.remove_reader(events.fileno())
        timer = loop.call_later(BURST_SECONDS, read)

    def read() -> None:
        if events.read():
            wake()
        loop.add_reader(events.fileno(), begin)

    loop.add_reader(events.fileno(), begin)
    try:
        yield
    finally:
        loop.remove_reader(events.fileno())
        if timer:
            timer.cancel()


async def _service(paths: Paths, place: Machine, threads: Threads, store: Store) -> Service:
    agent = await threads.write(_agent, store)
    objects = Objects(store, threads.write)
    networks = place.networks(agent, threads.write, objects)
    containers = Containers(paths, threads.write, _runtime(paths))
    sandboxes = Sandboxes(Wiring(agent, paths), threads.write, objects, containers, networks.need)
    containers.exited = sandboxes.wake_id
    return place.service(agent, threads, objects, networks, sandboxes, Looker())


def _runtime(paths: Paths) -> Runtime:
    if paths.containerd is None:
        return Runc(paths.run / "runc", paths.containers, paths.images)
    return Containerd(paths.containerd, paths.containers, paths.programs)


def _agent(store: Store) -> Agent:
    """In the writer thread, whose sockets and libnftables context these are."""
    kernel = Kernel(Table(), forward.Forward())
    return Agent(store, kernel, Ports(), machine.read_node())


@contextlib.contextmanager
def alone(paths: Paths) -> Iterator[None]:
    """No other agent runs on this machine while the block does; PodNetError if one does."""
    with open(paths.run / "agent.lock", "w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise PodNetError(
                f"an agent runs already on this machine (it holds {lock.name}): `podnet down` ends"
                f" it with all that it built"
            ) from None
        yield


def listen(paths: Paths) -> socket.socket:
    """The agent's socket, root's alone. What a killed agent left is replaced."""
    with contextlib.suppress(FileNotFoundError):
        paths.socket.unlink()
    listener = socket.socket(socket.AF_UNIX)
    mask = os.umask(0o177)
    try:
        listener.bind(str(paths.socket))
    finally:
        os.umask(mask)
    return listener
