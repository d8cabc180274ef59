"""`podnet run`: one command in a sandbox of its own, in the shape of `docker run`.

Its arguments are read by getopt and its imports are few, some of them while the agent works: as a
whole process it takes a third of what `docker run` does.
"""

from __future__ import annotations

import contextlib
import os
import sys
import time
from getopt import GetoptError, getopt

from podnet.kinds import find
from podnet_cli.client import Away, Failure, Refused, Request, call, path_of
from podnet_cli.wanted import CONTAINER, Options, sandbox

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    Body = dict[str, Any]

OUR_FAULT = 125
"""What `docker run` exits with when it, and not the command, failed (docker run, Exit status)."""
FOREVER = float(10**9)
RESTARTS = ("no", "on-failure", "always", "unless-stopped")

HELP = """\
Usage: podnet run [OPTIONS] [--] COMMAND [ARG...]

  Run a command in a sandbox of its own.

  For example: podnet run --rm -it --net none -- sh. The exit code is the command's; 125 where
  podnet failed, 126 where the command may not be run, 127 where it is not there.

Options:
  --name NAME               The sandbox's name; chosen when left out.
  -d, --detach              Print the name and leave it running.
  -i, --interactive         Pass standard input on.
  -t, --tty                 Give it a terminal.
  --rm                      Delete the sandbox when it has ended.
  --net, --network none|bridge|host|container:NAME|NETWORK
                            Its network; a PodNetwork's name is bridge mode on that.
  -p, --publish [IP:]HOSTPORT:PORT[/udp]
                            A port of this machine that leads into the sandbox.
  -e, --env KEY[=VALUE]     A variable; ours by its name.
  -v, --volume SOURCE:TARGET[:ro]
                            A bind mount.
  --hostname NAME           Its hostname; the name when left out.
  --dns IP                  A nameserver.
  --add-host NAME:IP        A line of /etc/hosts.
  --mac-address MAC         Its MAC; from the address when left out.
  --ip IP                   Its IPv4 address.
  --ip6 IP                  Its IPv6 address.
  -m, --memory SIZE         At most so much memory: 512m, 1g.
  --cpus NUMBER             At most so many processors: 1.5.
  --pids-limit NUMBER       At most so many processes.
  -u, --user USER           Who runs it: UID[:GID] or a name of the image.
  -w, --workdir PATH        Where it starts.
  --read-only               Nothing can be written to its root.
  --restart no|on-failure|always|unless-stopped
                            Start it again when it ends.
  --image IMAGE             `host` (this machine's root) or an archive's path.
  -n, --namespace NAME      The namespace; `default` when left out.
  -h, --help                Show this message and exit.
"""
"""docker run's options, as far as podnet has what they ask for."""
_SHORT = "ditp:e:v:m:u:w:n:h"
_ALIASES = {
    "-d": "detach",
    "-i": "interactive",
    "-t": "tty",
    "-p": "publish",
    "-e": "env",
    "-v": "volume",
    "-m": "memory",
    "-u": "user",
    "-w": "workdir",
    "-n": "namespace",
    "-h": "help",
    "--network": "net",
}
_FLAGS = ("detach", "interactive", "tty", "rm", "read-only", "help")
_MANY = ("publish", "env", "volume", "dns", "add-host")
_ONE = (
    *("name", "net", "network", "hostname", "mac-address", "ip", "ip6", "memory", "cpus"),
    *("pids-limit", "user", "workdir", "restart", "image", "namespace"),
)
_NUMBERS = {"cpus": float, "pids_limit": int}


def run(arguments: Sequence[str]) -> int:
    """Do it; the exit code is the command's, or docker's for what went wrong before."""
    try:
        given = _read(arguments)
        if given is None:
            print(HELP, end="")
            return 0
        namespace = given.pop("namespace", "default")
        detach, remove = given.pop("detach", False), given.pop("rm", False)
        stdin, options = given.pop("interactive", False), Options(**given)
        if stdin and options.tty and not detach and not os.isatty(0):
            raise Failure("the input device is not a TTY: leave out -t")
        if remove and options.restart != "no":
            raise Failure("conflicting options: --restart and --rm")
        options.name = options.name or f"run-{os.urandom(4).hex()}"
        body = {"object": sandbox(options, namespace), "stdin": stdin, "tty": options.tty}
        job = _Job(namespace, options.name, remove=remove)
        return job.detached(body) if detach else job.attached(body)
    except Refused as refused:
        refused.code = refused.exit_code or OUR_FAULT
        raise
    except Failure as failure:
        failure.code = OUR_FAULT
        raise


def _read(arguments: Sequence[str]) -> Body | None:
    """What was given, by names as `Options` has them; None where help is asked for."""
    long = [*_FLAGS, *(f"{name}=" for name in (*_ONE, *_MANY))]
    try:
        pairs, command = getopt(list(arguments), _SHORT, long)
    except GetoptError as error:
        raise Failure(f"{error}: `podnet run --help` lists the options") from None
    given: Body = {"command": command}
    for key, value in pairs:
        name = _ALIASES.get(key, key.removeprefix("--"))
        field = name.replace("-", "_")
        if name == "help":
            return None
        if name in _MANY:
            given.setdefault(field, []).append(value)
        else:
            given[field] = True if name in _FLAGS else _value(field, value)
    return given


def _value(field: str, text: str) -> Any:
    if field == "restart" and text not in RESTARTS:
        raise Failure(f"--restart {text} is not known: it is {', '.join(RESTARTS)}")
    try:
        return _NUMBERS.get(field, str)(text)
    except ValueError:
        raise Failure(f"--{field.replace('_', '-')} {text} is no number") from None


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
        from podnet_cli.terminal import Streams

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
        try:
            request = Request("POST", "/run", body)
        except Away:
            from podnet_cli import starting

            made: Body = starting.call_or_start("POST", "/run", body)
        else:
            import podnet_cli.terminal
            import podnet_cli.watching  # noqa: F401 - while the agent is at work

            made = request.answer()
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
        from podnet_cli.watching import states

        kind = find("PodSandbox")
        assert kind is not None
        for body in states((kind, self._namespace, self._name), time.monotonic() + FOREVER):
            if body is None:
                raise Failure(f"podsandbox {self._name} was deleted while its command ran")
            for container in body.get("status", {}).get("containers", ()):
                if container.get("exitCode") is not None:
                    return int(container["exitCode"])
        raise AssertionError("a watch ends with an error")
