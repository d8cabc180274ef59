"""A hundred sandboxes by Debian's CNI plugins, one after the other. A script for a private host.

For each line on standard input, `up` or `down`, it prints the seconds. A namespace is made before
each ADD and let go after each DEL, in this process: the agent's sandboxes have theirs, too.
"""

import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bench.hosts import need_private_host
from podnet_agent.namespaces import CLONE_NEWNET, make, shared_folder, unpin
from support.cni import Network, bridge

FOLDER = Path("/run/netns")


def plain_bridge() -> Network:
    """The bridge plugin with host-local alone: no masquerading, no port mapping, no loopback."""
    chain: tuple[Mapping[str, Any], ...] = bridge(masquerade=False).plugins[:1]
    return Network("cni", chain)


def up(network: Network, count: int) -> None:
    """Make namespaces and wire them."""
    for number in range(count):
        path = FOLDER / f"cni-{number}"
        make({"net": CLONE_NEWNET}, {"net": path}, inside=lambda: None)
        network.add(f"cni-{number}", str(path))


def down(network: Network, count: int) -> None:
    """Unwire them, which waits for each link's end, and let the namespaces go."""
    for number in range(count):
        path = FOLDER / f"cni-{number}"
        network.delete(f"cni-{number}", str(path))
        unpin(path)


def main() -> None:
    """See above; the argument is how many."""
    need_private_host()
    count = int(sys.argv[1])
    shared_folder(FOLDER)
    network = plain_bridge()
    for line in sys.stdin:
        act = {"up": up, "down": down}[line.strip()]
        start = time.perf_counter()
        act(network, count)
        print(time.perf_counter() - start, flush=True)


if __name__ == "__main__":
    main()
