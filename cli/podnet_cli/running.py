"""`podnet run`: one command in a sandbox of its own, in the shape of `docker run`."""

import contextlib
import os
import sys
import time
from collections.abc import Callable
from typing import Any

import click

from podnet.kinds import find
from podnet_cli import starting
from podnet_cli.client import Failure, Refused, call, path_of
from podnet_cli.commands import namespace_option
from podnet_cli.terminal import Streams
from podnet_cli.waiting import states
from podnet_cli.wanted import CONTAINER, Options, sandbox

OUR_FAULT = 125
"""What `docker run` exits with when it, and not the command, failed (docker run, Exit status)."""
FOREVER = float(10**9)
Body = dict[str, Any]


OPTIONS = (
    click.option("--name", help="The sandbox's name; chosen when left out."),
    click.option("-d", "--detach", is_flag=True, help="Print the name and leave it running."),
    click.option("-i", "--interactive", "stdin", is_flag=True, help="Pass standard input on."),
    click.option("-t", "--tty", is_flag=True, help="Give it a terminal."),
    click.option("--rm", "remove", is_flag=True, help="Delete the sandbox when it has ended."),
    click.option(
        "--net",
        "--network",
        default="bridge",
        metavar="none|bridge|host|container:NAME|NETWORK",
        help="Its network; a PodNetwork's name is bridge mode on that.",
    ),
    click.option(
        "-p",
        "--publish",
        multiple=True,
        metavar="[IP:]HOSTPORT:PORT[/udp]",
        help="A port of this machine that leads into the sandbox.",
    ),
    click.option(
        "-e", "--env", multiple=True, metavar="KEY[=VALUE]", help="A variable; ours by its name."
    ),
    click.option(
        "-v", "--volume", multiple=True, metavar="SOURCE:TARGET[:ro]", help="A bind mount."
    ),
    click.option("--hostname", help="Its hostname; the name when left out."),
    click.option("--dns", multiple=True, metavar="IP", help="A nameserver."),
    click.option("--add-host", multiple=True, metavar="NAME:IP", help="A line of /etc/hosts."),
    click.option("--mac-address", help="Its MAC; from the address when left out."),
    click.option("--ip", help="Its IPv4 address."),
    click.option("--ip6", help="Its IPv6 address."),
    click.option("-m", "--memory", help="At most so much memory: 512m, 1g."),
    click.option("--cpus", type=float, help="At most so many processors: 1.5."),
    click.option("--pids-limit", type=int, help="At most so many processes."),
    click.option("-u", "--user", help="Who runs it: UID[:GID] or a name of the image."),
    click.option("-w", "--workdir", help="Where it starts."),
    click.option("--read-only", is_flag=True, help="Nothing can be written to its root."),
    click.option(
        "--restart",
        type=click.Choice(["no", "on-failure", "always", "unless-stopped"]),
        default="no",
        help="Start it again when it ends.",
    ),
    click.option(
        "--image", default="host", help="`host` (this machine's root) or an archive's path."
    ),
)
"""docker run's options, as far as podnet has what they ask for."""


def _options(function: Callable[..., Any]) -> Callable[..., Any]:
    for option in reversed(OPTIONS):
        function = option(function)
    return function


@click.command(context_settings={"allow_interspersed_args": False})
@click.argument("command", nargs=-1, type=click.UNPROCESSED)
@_options
@namespace_option
def run(
    command: tuple[str, ...],
    namespace: str,
    detach: bool,
    stdin: bool,
    tty: bool,
    remove: bool,
    **given: Any,
) -> int:
    """Run a command in a sandbox of its own.

    For example: podnet run --rm -it --net none -- sh. The exit code is the command's; 125 where
    podnet failed, 126 where the command may not be run, 127 where it is not there.
    """
    try:
        if stdin and tty and not detach and not os.isatty(0):
            raise Failure("the input device is not a TTY: leave out -t")
        if remove and given["restart"] != "no":
            raise Failure("conflicting options: --restart and --rm")
        given["name"] = given["name"] or f"run-{os.urandom(4).hex()}"
        options = Options(command=command, tty=tty, **given)
        job = _Job(namespace, options.name, remove=remove)
        body = {"object": sandbox(options, namespace), "stdin": stdin, "tty": tty}
        return job.detached(body) if detach else job.attached(body)
    except Refused as refused:
        refused.code = refused.exit_code or OUR_FAULT
        raise
    except Failure as failure:
        failure.code = OUR_FAULT
        raise


class _Job:
    """One sandbox from its making to its end."""

    def __init__(self, namespace: str, name: str, *, remove: bool) -> None:
        self._namespace, self._name, self._remove = namespace, name, remove
        self._path = path_of("objects", "podsandboxes", namespace, name)

    def detached(self, body: Body) -> int:
        """Make it, start it, leave it."""
        self._make(body)
        self._start()
        print(self._name)
        return 0

    def attached(self, body: Body) -> int:
        """Make it, be attached, start it, and go on until it ends."""
        made = self._make(body)
        ends = made["attach"][CONTAINER]
        try:
            streams = Streams(ends["socket"], ends["control"], stdin=body["stdin"], tty=body["tty"])
            self._start()
            sys.stdout.flush()
            streams.pump(self._signal)
            return self._exit_code()
        finally:
            if self._remove:
                with contextlib.suppress(Refused):  # somebody else has deleted it
                    call("DELETE", self._path)

    def _make(self, body: Body) -> Body:
        made: Body = starting.call_or_start("POST", "/run", body)
        for warning in made.get("warnings", ()):
            print(f"WARNING: {warning}", file=sys.stderr)
        return made

    def _start(self) -> None:
        """What can't be started is not left behind."""
        try:
            call("POST", path_of("start", self._namespace, self._name))
        except Refused:
            call("DELETE", self._path)
            self._remove = False
            raise

    def _signal(self, name: str) -> None:
        path = path_of("kill", self._namespace, self._name, container=CONTAINER, signal=name)
        with contextlib.suppress(Refused):  # it has ended meanwhile
            call("POST", path)

    def _exit_code(self) -> int:
        """The command's, once the agent has seen it end."""
        kind = find("PodSandbox")
        assert kind is not None
        for body in states((kind, self._namespace, self._name), time.monotonic() + FOREVER):
            if body is None:
                raise Failure(f"podsandbox {self._name} was deleted while its command ran")
            for container in body.get("status", {}).get("containers", ()):
                if container.get("exitCode") is not None:
                    return int(container["exitCode"])
        raise AssertionError("a watch ends with an error")
