"""Packets between nodes while podnet's own Pods are killed, restarted and upgraded."""

from collections.abc import Iterator

from bench.row import Row
from support.cluster import Cluster
from support.cluster_traffic import place, probes
from support.plane import pair_of
from support.traffic import Stream, serve
from support.upgrading import EVENTS

PORT = 8080


def measure(cluster: Cluster, namespace: str) -> Iterator[Row]:
    """What a thousand datagrams a second and a TCP connection lose, between two workers."""
    lost, resets, notes = [], 0, []
    here, there = pair_of(cluster, namespace)
    address = there["status"]["podIPs"][0]["ip"]
    try:
        with probes(cluster, namespace, *cluster.workers()), serve(place(there), PORT):
            for name, happens in EVENTS.items():
                with Stream(place(here), address, PORT) as stream:
                    happens(cluster)
                    flows = stream.stop()
                lost.append(flows["udp"].lost + flows["tcp"].lost)
                resets += bool(flows["tcp"].error)
                notes.append(f"{name} {flows['udp'].sent}")
    finally:
        cluster.deploy()
        cluster.kubectl("delete", "podsandboxes", "--all", "--namespace", namespace)
    sent = f"datagrams sent: {', '.join(notes)}"
    what = "packets lost between nodes while agents and operator are taken away and come back"
    yield Row(name="stream-lost", what=what, ours=[sum(lost)], goal=0, unit="", note=sent)
    what = "TCP connections that ended meanwhile"
    yield Row(name="stream-resets", what=what, ours=[resets], goal=0, unit="")
