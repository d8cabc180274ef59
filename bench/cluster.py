"""`python -m bench.cluster [--only NAME] [--rounds N]`: what podnet costs a cluster.

Where the cluster can be reached, with podnet in it: `make bench-cluster`.
"""

import argparse
import sys
from subprocess import SubprocessError

from bench import fleet, pods, startup, streams
from bench.kube import Kube, KubeError
from bench.report import Measurements, collect, show
from support.cluster import Cluster, ClusterError
from support.host import HostError

NAMES = ("sandbox", "pods", "stream", "route", "fleet")


def main() -> int:
    """Exit code 1 only when something could not be measured: a missed goal is no error here."""
    parser = argparse.ArgumentParser(prog="python -m bench.cluster", description=__doc__)
    parser.add_argument("--only", metavar="NAME", choices=NAMES, help=", ".join(NAMES))
    parser.add_argument("--rounds", metavar="N", type=int, help="instead of each row's own number")
    options = parser.parse_args()
    cluster = Cluster()  # with the image of the tests on its nodes
    workers = cluster.workers()
    kube = Kube()
    nodes = [each["metadata"]["name"] for each in kube.items(fleet.NODE_PATH)]
    measurements: Measurements = {
        "sandbox": lambda rounds: startup.measure(cluster, kube, workers[0], rounds),
        "pods": lambda rounds: pods.measure(cluster, kube, workers[0], rounds),
        "stream": lambda _: streams.measure(cluster, startup.NAMESPACE),
        "route": lambda _: fleet.measure_routes(kube, nodes),
        "fleet": lambda _: fleet.measure_fleet(kube, nodes, workers[0]),
    }
    failures = (
        ClusterError,
        HostError,
        KubeError,
        TimeoutError,
        AssertionError,
        OSError,
        SubprocessError,
    )
    with kube.namespace(startup.NAMESPACE):
        return show(
            *collect(
                measurements, [options.only] if options.only else NAMES, options.rounds, failures
            )
        )


if __name__ == "__main__":
    sys.exit(main())
