"""`python -m bench.cluster [--only NAME] [--rounds N]`: what podnet costs a cluster.

Where the cluster can be reached, with podnet in it: `make bench-cluster`.
"""

import argparse
import sys
from collections.abc import Callable, Iterator
from subprocess import SubprocessError

from bench import fleet, startup
from bench.kube import Kube, KubeError
from bench.row import Missing, Row, table
from support.cluster import Cluster


def main() -> int:
    """Exit code 1 only when something could not be measured: a missed goal is no error here."""
    parser = argparse.ArgumentParser(prog="python -m bench.cluster", description=__doc__)
    Cluster()  # with the image of the tests on its nodes
    kube = Kube()
    nodes = [each["metadata"]["name"] for each in kube.items(fleet.NODE_PATH)]
    workers = [name for name in nodes if "control-plane" not in name]
    measurements: dict[str, Callable[[int | None], Iterator[Row]]] = {
        "sandbox": lambda rounds: startup.measure(kube, workers[0], rounds),
        "route": lambda _: fleet.measure_routes(kube, nodes),
        "fleet": lambda _: fleet.measure_fleet(kube, nodes, workers[0]),
    }
    parser.add_argument("--only", metavar="NAME", choices=measurements)
    parser.add_argument("--rounds", metavar="N", type=int, help="instead of each row's own number")
    options = parser.parse_args()
    rows: list[Row] = []
    missing: list[Missing] = []
    with kube.namespace(startup.NAMESPACE):
        for name, measure in measurements.items():
            if options.only in (None, name):
                print(f"{name} ...", file=sys.stderr)
                try:
                    rows += measure(options.rounds)
                except (KubeError, TimeoutError, AssertionError, OSError, SubprocessError) as error:
                    missing.append(Missing(name, str(error)))
    print(table(rows))
    print("\n".join(row.json() for row in rows))
    for each in missing:
        print(f"{each.name} could not be measured: {each.why}", file=sys.stderr)
    return 1 if missing else 0


if __name__ == "__main__":
    sys.exit(main())
