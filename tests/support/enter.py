#!/usr/bin/python3
"""Run a command in a private host made for it: `tests/support/enter.py CMD ARG...`.

Own networks, mounts, processes and control groups; the files, the folder and the terminal are
the caller's. The exit code is the command's, a signal's 128 + number; nothing is left behind.
"""

import signal
import sys
from pathlib import Path
from typing import NoReturn

if not __package__:  # run as a file: then `support` is not yet to be found
    sys.path[0] = str(Path(__file__).parents[1])

from support.host import Host, HostError


def main(argv: list[str]) -> int:
    """Run `argv` in a fresh host and return its exit code."""
    if argv[:1] == ["--"]:
        argv = argv[1:]
    if not argv or argv[0] in ("-h", "--help"):
        print(__doc__, file=sys.stderr if not argv else sys.stdout)
        return 0 if argv else 2
    try:
        with Host() as host:
            # The terminal's keys reach the command too; the others mean us, and we take it along.
            for number in (signal.SIGINT, signal.SIGQUIT):
                signal.signal(number, lambda *_: None)  # not SIG_IGN, which it would inherit
            told: list[int] = []
            for number in (signal.SIGTERM, signal.SIGHUP):  # not yet an end: see below
                signal.signal(number, lambda number, _: told.append(number))
            process = host.popen(argv, cwd=Path.cwd())
            # Only now, as the host can't end as long as it does not know of a process of its own.
            for number in (signal.SIGTERM, signal.SIGHUP):
                signal.signal(number, _stop)
            for number in told:
                _stop(number, None)
            code: int = process.wait()
    except HostError as error:
        print(f"enter: {error}", file=sys.stderr)
        return 125
    return code if code >= 0 else 128 - code


def _stop(number: int, frame: object) -> NoReturn:
    sys.exit(128 + number)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
