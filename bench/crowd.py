"""A hundred sandboxes at once, asked for at the agent's socket; the same by CNI in a row."""

import json
import os
import sys
import time
from collections.abc import Iterator
from typing import Any

from bench.hosts import resident
from bench.row import Row
from podnet_cli.client import Request, call
from support.host import Host, until
from support.podnet import SOCKET, Podnet

COUNT = 100
ROUNDS = 7


class Crowd:
    """COUNT sandboxes of an agent, without containers: what is timed is the network alone."""

    def __init__(self, host: Host) -> None:
        self.host, self.podnet = host, Podnet(host)
        self.agent_pid = self.podnet.agent()
        os.environ["PODNET_SOCKET"] = str(host.path(SOCKET))
        text = "\n---\n".join(json.dumps(_sandbox(number)) for number in range(COUNT))
        self._sources = {"sources": [{"name": "crowd", "text": text}]}

    def __enter__(self) -> "Crowd":
        return self

    def __exit__(self, *_: object) -> None:
        """What else is measured in this process has an agent of its own."""
        del os.environ["PODNET_SOCKET"]

    def up(self) -> float:
        """Apply them in one request; seconds until each has said that it is ready."""
        watch = Request("GET", "/watch/podsandboxes?namespace=default")
        watch.limit(60)
        events = watch.events()
        ready: set[str] = set()
        start = time.perf_counter()
        call("POST", "/apply", self._sources)
        while len(ready) < COUNT:
            found = next(events)["object"]
            if _is_ready(found):
                ready.add(found["metadata"]["name"])
        seconds = time.perf_counter() - start
        watch.close()
        return seconds

    def down(self) -> float:
        """Delete them in one request; seconds until the last link is gone."""
        start = time.perf_counter()
        call("POST", "/delete", self._sources | {"wait": True})
        until(lambda: not self._host_ends(), "the end of the host ends", 60)
        return time.perf_counter() - start

    def _host_ends(self) -> list[str]:
        links = os.listdir(self.host.path("/sys/class/net"))
        return [name for name in links if name.startswith("vethpn")]


def _sandbox(number: int) -> dict[str, Any]:
    return {
        "apiVersion": "podnet.dev/v1alpha1",
        "kind": "PodSandbox",
        "metadata": {"name": f"s{number:03}", "namespace": "default"},
        "spec": {},
    }


def _is_ready(sandbox: dict[str, Any]) -> bool:
    claims = sandbox.get("status", {}).get("conditions", [])
    return any(claim["type"] == "Ready" and claim["status"] == "True" for claim in claims)


class Chain:
    """The peer: bench/chain.py in a host of its own."""

    def __init__(self, host: Host) -> None:
        self._process = resident(host, "bench.chain", COUNT)

    def act(self, what: str) -> float:
        """`up` or `down`; the seconds it took."""
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(what + "\n")
        self._process.stdin.flush()
        return float(self._process.stdout.readline())


def measure(rounds: int | None) -> Iterator[Row]:
    """Up and down in turns with the peer."""
    samples: dict[str, list[float]] = {"up": [], "peer up": [], "down": [], "peer down": []}
    with Host("crowd") as ours, Host("chain") as theirs, Crowd(ours) as crowd:
        chain = Chain(theirs)
        for turn in range(rounds or ROUNDS):
            print(f"  crowd: round {turn + 1}", file=sys.stderr)
            samples["up"].append(crowd.up())
            samples["peer up"].append(chain.act("up"))
            samples["down"].append(crowd.down())
            samples["peer down"].append(chain.act("down"))
    for way in ("up", "down"):
        yield Row(
            name=f"crowd-{way}",
            what=f"{COUNT} sandboxes without containers {way}"
            + (", until the last link is gone" if way == "down" else ", until each is Ready"),
            against=f"{COUNT} x CNI bridge + host-local in a row, no masquerading; namespaces are"
            f" made and let go in both",
            ours=samples[way],
            peer=samples[f"peer {way}"],
            goal=0.15,
        )
