"""`podnet`, which answers to the names `kubectl` and `kubectl-podnet` as well: the entry point.

As `kubectl-podnet`, kubectl's plugin, it asks a cluster; otherwise the agent of this machine.
`get` and `run` go straight to their modules; every other command goes through click, whose import
takes as long as all that `get` does.
"""

import os
import sys

from podnet_cli.client import Failure

PLUGIN = "kubectl-podnet"
"""What kubectl looks for on the PATH when somebody types `kubectl podnet`."""
SIGPIPE_EXIT, SIGINT_EXIT = 141, 130
"""What a shell reports of a program that a signal ended: 128 + its number."""


def main() -> None:
    """Run the command and end the process; all is said and done then, so nothing is tidied up.

    Taking the interpreter apart would cost `get` a tenth of its time; and it would try once more to
    write what nobody reads.
    """
    if sys.stdout:
        sys.stdout.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    os._exit(run(sys.argv[1:]))


def run(arguments: list[str]) -> int:
    """Run the command that the arguments name; returns the exit code. Errors are sentences."""
    try:
        code = _dispatch(arguments)
        sys.stdout.flush()
        return code
    except Failure as failure:
        return _fail(failure.text, failure.code)
    except KeyboardInterrupt:
        return SIGINT_EXIT
    except BrokenPipeError:
        return SIGPIPE_EXIT
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        return _fail(f"error: {where}{error.strerror or error}", 1)


def _dispatch(arguments: list[str]) -> int:
    program = program_name()
    if program == PLUGIN:
        from podnet_cli.remote import run

        return run(arguments)
    if program == "kubectl" and arguments[:1] == ["podnet"]:  # as in a cluster
        arguments = arguments[1:]
    if arguments[:1] == ["get"]:
        from podnet_cli.listing import get

        return get(arguments[1:])
    if arguments[:1] == ["run"]:
        from podnet_cli.running import run as run_in_sandbox

        return run_in_sandbox(arguments[1:])
    from podnet_cli import commands

    if arguments == ["--version"]:
        arguments = ["version", "--client"]
    return commands.run(program, arguments)


def program_name() -> str:
    """What the person calls us."""
    name = os.path.basename(sys.argv[0])
    return name if name in ("kubectl", PLUGIN) else "podnet"


def _fail(text: str, code: int) -> int:
    try:
        sys.stdout.flush()
    except OSError as error:
        text = f"{text}\nerror: standard output: {error.strerror}"
    print(text, file=sys.stderr)
    return code
