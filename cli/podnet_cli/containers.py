"""Inside running sandboxes: `podnet exec` and `podnet logs`."""

import os
import select
import sys
import time
from typing import Any, NoReturn

import click

from podnet_cli.client import Failure, call, path_of
from podnet_cli.commands import namespace_option
from podnet_cli.logfile import LogFile
from podnet_cli.resources import sandbox_name

FOLLOW_SECONDS = 0.05
"""How often a followed log is looked at."""
ASK_SECONDS = 0.5
"""How often the agent is asked whether what writes it still runs."""


@click.command(context_settings={"allow_interspersed_args": True})
@click.argument("name")
@click.argument("command", nargs=-1, type=click.UNPROCESSED)
@click.option("-c", "--container", help="Which one; the first when left out.")
@click.option("-i", "--stdin", is_flag=True, help="Pass standard input on.")
@click.option("-t", "--tty", is_flag=True, help="Give it a terminal.")
@namespace_option
def execute(
    name: str,
    command: tuple[str, ...],
    container: str | None,
    stdin: bool,
    tty: bool,
    namespace: str,
) -> NoReturn:
    """Run a command in a container: podnet exec -it NAME -- CMD.

    The exit code is the command's.
    """
    if not command:
        raise Failure("say what to run, behind two dashes: podnet exec NAME -- CMD ARG...")
    name = sandbox_name(name)
    chosen = _container(namespace, name, container)
    tty = has_terminal(tty)
    path = path_of("exec", namespace, name, container=chosen, tty="1" if tty else None)
    argv = [*call("GET", path)["argv"], *command]
    if not stdin:
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    sys.stdout.flush()
    try:
        os.execvp(argv[0], argv)
    except FileNotFoundError:
        raise Failure(f"{argv[0]} is not there: `podnet doctor` says how to get it") from None


def has_terminal(wanted: bool) -> bool:
    """Whether one can be passed on, if it is wanted; else that is said."""
    if wanted and not os.isatty(0):
        said = "Unable to use a TTY - input is not a terminal or the right kind of file"
        print(said, file=sys.stderr)
        return False
    return wanted


@click.command()
@click.argument("name")
@click.argument("container_word", metavar="[CONTAINER]", required=False)
@click.option("-c", "--container", help="Which one; the first when left out.")
@click.option("-f", "--follow", is_flag=True, help="Go on until the container ends.")
@click.option("--tail", type=int, default=-1, help="Only so many of the last lines.")
@click.option("--timestamps", is_flag=True, help="Begin each line with when it was written.")
@click.option("--until-stdin-ends", "held", is_flag=True, hidden=True)
@namespace_option
def logs(
    name: str,
    container_word: str | None,
    container: str | None,
    follow: bool,
    tail: int,
    timestamps: bool,
    held: bool,
    namespace: str,
) -> None:
    """Print what a container has written."""
    name = sandbox_name(name)
    chosen = _container(namespace, name, container or container_word)
    query = path_of("logs", namespace, name, container=chosen)
    place = call("GET", query)
    try:
        log = LogFile(place["path"], tail=tail, timestamps=timestamps)
    except FileNotFoundError:
        raise Failure(
            f'container "{chosen}" in sandbox "{name}" has no log yet: it has not started'
        ) from None
    out = sys.stdout.buffer
    asked = time.monotonic()
    while True:
        text = log.read()
        out.write(text)
        out.flush()
        if not follow or (not text and not place["running"]):
            return
        if not text and not _pause(held=held):
            return
        if time.monotonic() - asked > ASK_SECONDS:
            place, asked = call("GET", query), time.monotonic()


def _pause(*, held: bool) -> bool:
    """Wait a moment; False where our input has ended and that is to be our end.

    What runs through an API server's exec is not told otherwise that its caller has gone.
    """
    if not held:
        time.sleep(FOLLOW_SECONDS)
        return True
    readable, _, _ = select.select([0], [], [], FOLLOW_SECONDS)
    return not readable or os.read(0, 1) != b""


def _container(namespace: str, name: str, wanted: str | None) -> str:
    """The container that is meant; with several and none named, the first, and that is said."""
    body: dict[str, Any] = call("GET", path_of("objects", "podsandboxes", namespace, name))
    names = [each["name"] for each in body["spec"].get("containers") or ()]
    if not names:
        raise Failure(f"podsandbox {name} has no containers: only its network is built")
    if wanted is None:
        if len(names) > 1:
            said = f'Defaulted container "{names[0]}" out of: {", ".join(names)}'
            print(said, file=sys.stderr)
        wanted = names[0]
    if wanted not in names:
        raise Failure(
            f"container {wanted} is not valid for sandbox {name} out of: {', '.join(names)}"
        )
    return str(wanted)
