"""`python -m bench [--only NAME ...] [--rounds N] [--profile]`: a table, then a JSON line a row."""

import argparse
import os
import sys
from subprocess import SubprocessError

from bench import cni, cni_full, cni_path, counts, crowd, size, whole, wire
from bench.hosts import script
from bench.report import Measurements, collect, show
from bench.row import Missing
from podnet_cli.client import Failure
from support.guard import changes, machine_state
from support.host import Host, HostError

MEASUREMENTS: Measurements = {
    "wire": wire.measure,
    "run": whole.measure_run,
    "crowd": crowd.measure,
    "get": whole.measure_get,
    "size": size.measure,
    "counts": counts.measure,
    "cni": cni.measure,
    "cni-full": cni_full.measure,
    "cni-path": cni_path.measure,
}
CNI = ("cni", "cni-full", "cni-path", "counts")
"""`make bench-cni` measures these; without --only, all others are measured, and the counts."""


def main() -> int:
    """Exit code 1 only when something could not be measured: a missed goal is no error here."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument(
        "--only",
        metavar="NAME",
        nargs="+",
        choices=MEASUREMENTS,
        default=[name for name in MEASUREMENTS if name not in CNI or name == "counts"],
        help=", ".join(MEASUREMENTS),
    )
    parser.add_argument("--rounds", metavar="N", type=int, help="instead of each row's own number")
    parser.add_argument("--profile", action="store_true", help="where the agent's attach spends")
    options = parser.parse_args()
    if os.geteuid():
        parser.error("private hosts need root")
    if options.profile:
        with Host("profile") as host:
            print(script(host, "bench.wire", "profile", 0, options.rounds or 500))
        return 0
    before = machine_state()
    failures = (HostError, Failure, AssertionError, OSError, SubprocessError)
    rows, missing = collect(MEASUREMENTS, options.only, options.rounds, failures)
    if difference := changes(before, machine_state()):
        missing.append(Missing("bench", f"it changed this machine: {difference}"))
    return show(rows, missing)


if __name__ == "__main__":
    sys.exit(main())
