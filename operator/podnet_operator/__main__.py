"""The process: `python -m podnet_operator`, in a Pod or with a kubeconfig."""

import asyncio
import contextlib
import logging
import signal
import sys
from functools import partial

import kopf

from podnet.errors import PodNetError
from podnet_operator import access, handlers, shipped
from podnet_operator.client import Client
from podnet_operator.health import PORT, Health
from podnet_operator.lease import Lease
from podnet_operator.leaving import Leaving
from podnet_operator.loop import Loop
from podnet_operator.watchman import LOOK_SECONDS, Watchman

LEASE_SECONDS = 15.0
"""client-go's default: so long nobody decides when an operator's node dies."""


async def run(
    stop: asyncio.Event,
    *,
    port: int = PORT,
    lease_seconds: float = LEASE_SECONDS,
    look_seconds: float = LOOK_SECONDS,
) -> None:
    """Decide and watch until `stop` is set. A part that ends by itself ends all of it."""
    settings = handlers.settings()
    client = Client(partial(access.connection, settings))
    lease = Lease(client, access.namespace(), access.identity(), seconds=lease_seconds)
    leaving = Leaving(client, access.namespace())
    loop = Loop(client, lease, leaving)
    watchman = Watchman(client, loop.snapshot, loop.refresh, seconds=look_seconds)
    registry = handlers.registry(loop.snapshot, watchman.restarted)
    runner = await Health(loop, watchman).serve(port)
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [
                group.create_task(lease.keep(), name="lease"),
                group.create_task(loop.run(), name="loop"),
                group.create_task(watchman.run(), name="watchman"),
                group.create_task(shipped.keep(client), name="shipped"),
                group.create_task(_watch(registry, settings, stop), name="kopf"),
            ]
            await stop.wait()
            for task in tasks:
                task.cancel()
    finally:
        await leaving.leave()
        with contextlib.suppress(PodNetError):
            await lease.release()
        await client.close()
        await runner.cleanup()


async def _watch(
    registry: kopf.OperatorRegistry, settings: kopf.OperatorSettings, stop: asyncio.Event
) -> None:
    """kopf takes SIGTERM for itself in the main thread, and returns then; else it raises.

    Of its own stop flag it waits five seconds for the flag's waiter: so it is cancelled instead.
    """
    await kopf.operator(registry=registry, settings=settings, clusterwide=True, standalone=True)
    stop.set()


async def _until_told() -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    await run(stop)


def main() -> None:
    """Run until SIGTERM."""
    logging.basicConfig(
        level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s"
    )
    logging.getLogger("kopf").setLevel(logging.WARNING)
    try:
        asyncio.run(_until_told())
    except PodNetError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
