"""`podnet-agent serve | plan | doctor | ruleset`: the agent as a process."""

import argparse
import contextlib
import json
import logging
import os
import signal
import sys
from pathlib import Path

from podnet.errors import PodNetError


def main() -> None:
    """Entry point; an error is one sentence on standard error and exit code 1."""
    parser = argparse.ArgumentParser(prog="podnet-agent", description=__doc__)
    verbs = parser.add_subparsers(dest="verb", required=True)
    serve = verbs.add_parser(
        "serve", help="build what the objects want, and keep it so, until stopped"
    )
    serve.add_argument("--node", help="as a Pod of a cluster: the objects of this node of it")
    serve.add_argument("--containerd", type=Path, help="run containers by the one on this socket")
    verbs.add_parser("plan", help="read a request as of POST /plan from standard input, answer it")
    doctor = verbs.add_parser("doctor", help="say what this machine lacks, and how to get it")
    doctor.add_argument("-o", "--output", choices=["json"], help="as JSON")
    verbs.add_parser("ruleset", help="print the nftables table without its elements")
    arguments = parser.parse_args()
    try:
        if arguments.verb == "ruleset":
            from podnet.ruleset import TEXT

            print(TEXT, end="")
        elif arguments.verb == "doctor":
            sys.exit(_doctor(arguments.output == "json"))
        else:
            _need_root()
            if arguments.verb == "plan" or arguments.node is None:
                _leave_out_tls()
            import asyncio

            if arguments.verb == "plan":
                sys.exit(asyncio.run(_plan()))
            logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
            asyncio.run(_serve(arguments.node, arguments.containerd))
    except PodNetError as error:
        sys.exit(f"podnet-agent: {error}")


def _doctor(as_json: bool) -> int:
    """Exit code 1 where something needed is missing."""
    from podnet_agent import checks
    from podnet_agent.doctor import examine
    from podnet_agent.paths import Paths

    found = examine(Paths())
    print(json.dumps(checks.checks_body(found)) if as_json else "\n".join(checks.lines(found)))
    return 0 if checks.is_fit(found) else 1


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


async def _serve(node: str | None, containerd: Path | None) -> None:
    import asyncio

    from podnet_agent.daemon import Machine, running
    from podnet_agent.paths import Paths

    paths, place = Paths(containerd=containerd), Machine()
    if node is not None:
        from podnet_agent.cluster.service import Member

        place = Member.of_cluster(node, paths)
    async with running(paths, place) as service:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, service.stopping.set)
        beside = asyncio.create_task(service.keep())
        stopped = asyncio.create_task(service.stopping.wait())
        await asyncio.wait({beside, stopped}, return_when=asyncio.FIRST_COMPLETED)
        beside.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await beside  # a bug in there ends the process; the next one repairs
        if service.bug:
            raise service.bug


if __name__ == "__main__":
    main()
