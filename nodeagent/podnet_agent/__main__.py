"""`podnet-agent VERB`: the agent as a process, and what commands there are for no other program."""

import argparse
import contextlib
import json
import logging
import os
import signal
import sys
import time
from collections.abc import Callable, Coroutine, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path
from typing import TYPE_CHECKING, Any

from podnet.errors import PodNetError, Retryable

if TYPE_CHECKING:
    from podnet_agent.install import Installation

INSTALL_SECONDS = 10.0
"""How long `install` waits for an agent that has just been started to have built its network."""
INSTALL_RETRY_SECONDS = 0.2

CONTAINERD = "PODNET_CONTAINERD"
"""Of a Pod's environment, which what is executed in the Pod has as well."""


def main() -> None:
    """Entry point; an error is one sentence on standard error and exit code 1."""
    parser = argparse.ArgumentParser(prog="podnet-agent", description=__doc__)
    verbs = parser.add_subparsers(dest="verb", required=True)
    serve = verbs.add_parser(
        "serve", help="build what the objects want, and keep it so, until stopped"
    )
    serve.add_argument("--node", help="as a Pod of a cluster: the objects of this node of it")
    serve.add_argument(
        "--containerd",
        type=Path,
        default=os.environ.get(CONTAINERD),
        help=f"run containers by the one on this socket; also ${CONTAINERD}",
    )
    serve.add_argument("--cni", action="store_true", help="be the CNI plugin of this node's Pods")
    verbs.add_parser("plan", help="read a request as of POST /plan from standard input, answer it")
    doctor = verbs.add_parser("doctor", help="say what this machine lacks, and how to get it")
    doctor.add_argument("-o", "--output", choices=["json"], help="as JSON")
    verbs.add_parser("ruleset", help="print the nftables table without its elements")
    shortcut = verbs.add_parser("shortcut", help="take begun TCP connections past the rules")
    shortcut.add_argument("--neighbours", action="store_true", help="on the link itself as well")
    shortcut.add_argument("--remove", action="store_true", help="no more")
    shortcut.add_argument("ifname", help="the link that they come in by")
    endpoint = verbs.add_parser("endpoint", help="have those connections go straight into a pod")
    endpoint.add_argument("--remove", action="store_true", help="no more")
    endpoint.add_argument("address", type=ip_address, help="the pod's")
    endpoint.add_argument("host_end", nargs="?", default="", help="the pod's link on this machine")
    install = verbs.add_parser("install", help="have containerd call podnet for Pods")
    uninstall = verbs.add_parser("uninstall", help="have containerd call podnet no more")
    for verb in (serve, install, uninstall):
        verb.add_argument("--bin-dir", type=Path, help="where containerd looks for CNI plugins")
        verb.add_argument("--conf-dir", type=Path, help="and for their configurations")
    arguments = parser.parse_args()
    try:
        if arguments.verb == "ruleset":
            from podnet.ruleset import TEXT

            print(TEXT, end="")
        elif arguments.verb == "shortcut":
            _need_root()
            _shortcut(arguments.ifname, arguments.neighbours, arguments.remove)
        elif arguments.verb == "endpoint":
            _need_root()
            _endpoint(arguments.address, arguments.host_end, arguments.remove)
        elif arguments.verb == "doctor":
            sys.exit(_doctor(arguments.output == "json"))
        elif arguments.verb in ("install", "uninstall"):
            _need_root()
            change = _install if arguments.verb == "install" else _uninstall
            change(_installation(arguments.bin_dir, arguments.conf_dir))
        else:
            _need_root()
            if arguments.verb == "plan" or arguments.node is None:
                _leave_out_tls()
            import asyncio

            if arguments.verb == "plan":
                sys.exit(asyncio.run(_plan()))
            logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
            installation = None
            if arguments.cni:
                installation = _installation(arguments.bin_dir, arguments.conf_dir)
            _run_beside(partial(_serve, arguments.node, arguments.containerd, installation))
    except PodNetError as error:
        sys.exit(f"podnet-agent: {error}")


def _shortcut(ifname: str, neighbours: bool, remove: bool) -> None:
    from podnet.objects import Shortcut
    from podnet.plan import Add
    from podnet.plan import Remove as Removal
    from podnet.shortcut import ON_BRIDGE, ON_UPLINK
    from podnet_agent.shortcuts import Shortcuts

    thing = Shortcut(ifname=ifname, version=ON_BRIDGE if neighbours else ON_UPLINK)
    Shortcuts().commit([Removal(thing) if remove else Add(thing)])


def _endpoint(address: IPv4Address | IPv6Address, host_end: str, remove: bool) -> None:
    from podnet.objects import Endpoint
    from podnet.plan import Add
    from podnet.plan import Remove as Removal
    from podnet_agent.shortcuts import Shortcuts

    thing = Endpoint(address=address, host_end=host_end)
    Shortcuts().commit([Removal(thing) if remove else Add(thing)])


def _doctor(as_json: bool) -> int:
    """Exit code 1 where something needed is missing."""
    from podnet_agent import checks
    from podnet_agent.doctor import examine
    from podnet_agent.paths import Paths

    containerd = os.environ.get(CONTAINERD)
    found = examine(Paths(containerd=Path(containerd) if containerd else None))
    print(json.dumps(checks.checks_body(found)) if as_json else "\n".join(checks.lines(found)))
    return 0 if checks.is_fit(found) else 1


def _installation(programs: Path | None, configurations: Path | None) -> "Installation":
    """In the folders given; for one that is not, where this node's containerd says."""
    from podnet_agent.install import Installation
    from podnet_agent.runtime.containerd.config import cni_folders

    if programs is None or configurations is None:
        folders = cni_folders()
        programs = programs or folders.programs
        configurations = configurations or folders.configurations
    return Installation(programs, configurations)


def _install(installation: "Installation") -> None:
    end = time.monotonic() + INSTALL_SECONDS
    while True:
        try:
            written = installation.appear()
            break
        except Retryable:
            if time.monotonic() > end:
                raise
            time.sleep(INSTALL_RETRY_SECONDS)
    for path in (installation.program, installation.configuration):
        print(f"{path} {'written' if path in written else 'unchanged'}")
    installation.refuse_foreign()


def _uninstall(installation: "Installation") -> None:
    removed = installation.remove()
    for path in removed:
        print(f"{path} removed")
    if not removed:
        print(f"podnet is not in {installation.programs} and {installation.configurations}")


def _need_root() -> None:
    if os.geteuid() != 0:
        raise PodNetError("the agent makes namespaces and links: run it as root")


def _leave_out_tls() -> None:
    """asyncio and aiohttp do without the module where it is not there; loaded, it takes 4 MiB.

    All that is spoken here goes over a Unix socket.
    """
    sys.modules["ssl"] = None  # type: ignore[assignment]


async def _plan() -> int:
    """Where no agent runs, what one would do; a refusal is answered like the agent's own."""
    from podnet_agent.daemon import planning
    from podnet_agent.handlers import plan_answer, refusal
    from podnet_agent.paths import Paths

    try:
        async with planning(Paths()) as service:
            print(json.dumps(await plan_answer(service, json.load(sys.stdin))))
            return 0
    except PodNetError as error:
        print(json.dumps(refusal(error)[1]))
        return 1


def _run_beside(serve: Callable[["Future[Callable[[], None]]"], Coroutine[Any, Any, None]]) -> None:
    """Run the loop in a thread of its own, and hand it the signals that end it.

    The loop enters pods' namespaces, and who is exec'd into the agent's container comes out where
    its main thread is. Until there is something to stop, a signal just ends the process.
    """
    import asyncio

    stop: Future[Callable[[], None]] = Future()

    def end(number: int, _: object) -> None:
        if stop.done():
            stop.result()()
        else:
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, end)
    with ThreadPoolExecutor(1, thread_name_prefix="loop") as thread:
        thread.submit(lambda: asyncio.run(serve(stop))).result()


async def _serve(
    node: str | None,
    containerd: Path | None,
    installation: "Installation | None",
    stop: "Future[Callable[[], None]]",
) -> None:
    """Until `stop`'s function is called, which any thread may do."""
    import asyncio

    from podnet_agent.daemon import Machine, running
    from podnet_agent.health import answers, attachable, listen, reachable, served
    from podnet_agent.paths import Paths
    from podnet_agent.presence import Presence

    paths, place = Paths(containerd=containerd), Machine()
    if node is not None:
        from podnet_agent.cluster.service import Member

        place = Member.of_cluster(node, paths)
    async with contextlib.AsyncExitStack() as stack:
        probed = stack.enter_context(listen()) if node is not None else None  # before all else
        service = await stack.enter_async_context(running(paths, place))
        loop = asyncio.get_running_loop()

        def end() -> None:
            with contextlib.suppress(RuntimeError):  # the loop has ended
                loop.call_soon_threadsafe(service.stopping.set)

        stop.set_result(end)
        if probed is not None:
            ready = attachable(service.agent, service.threads) if installation else answers
            await stack.enter_async_context(served(probed, reachable(paths.socket), ready))
        work = [service.keep()]
        if installation is not None:
            work.append(Presence(installation, service.networks, service.threads).keep())
        beside = asyncio.ensure_future(_all(work))
        stopped = asyncio.create_task(service.stopping.wait())
        await asyncio.wait({beside, stopped}, return_when=asyncio.FIRST_COMPLETED)
        if not (beside.done() or service.bug):
            await service.leave()
        beside.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await beside  # a bug in there ends the process; the next one repairs
        if service.bug:
            raise service.bug
    if service.emptied:
        _withdraw(installation)


def _withdraw(installation: "Installation | None") -> None:
    """After `down`: nobody sends containerd here any more."""
    try:
        removed = (installation or _installation(None, None)).remove()
    except PodNetError as error:
        logging.warning("containerd may go on calling podnet: %s", error)
    else:
        for path in removed:
            logging.info("%s: removed", path)


async def _all(work: Sequence[Coroutine[Any, Any, None]]) -> None:
    """Side by side; where one fails, that is the end of all."""
    import asyncio

    async with asyncio.TaskGroup() as group:
        for each in work:
            group.create_task(each)


if __name__ == "__main__":
    main()
