"""What attachments leave on a node while they are there: in the kernel, in records, in files."""

import json
from contextlib import suppress
from pathlib import Path

from support.host import Host, until

STORE, QUEUE = "/run/podnet/store.db", "/run/podnet/cni"
RESULTS = "/var/lib/cni/results"
"""Where libcni keeps what ADD answered."""
QUERIES = {
    "records": "SELECT sandbox_id || ' ' || ifname || ' ' || state FROM attachment",
    "addresses": "SELECT network || ' ' || hex(host_number) FROM address WHERE released IS NULL",
    "ports": "SELECT protocol || ' ' || host_port || ' ' || host_ip FROM port",
    "MACs": "SELECT mac FROM mac",
}
READ = """
import json, os, sqlite3, sys
there = os.path.exists(sys.argv[1])
store = sqlite3.connect(f"file:{sys.argv[1]}?mode=ro", uri=True) if there else None
queries = json.loads(sys.argv[2]).items()
rows = {kind: [row[0] for row in store.execute(query)] if store else [] for kind, query in queries}
print(json.dumps(rows))
"""
"""Inside: SQLite follows /proc/PID/root to the machine's own root."""


def traces(host: Host) -> dict[str, list[str]]:
    """By kind, sorted; the same before and after where nothing leaked."""
    elements = [
        f"{kind} {each[kind]['name']} {json.dumps(element)}"
        for each in host.nft_json()
        for kind in ("set", "map")
        if kind in each
        for element in each[kind].get("elem", [])
    ]
    routes = [
        f"{route['dst']} {route['dev']}"
        for family in ("-4", "-6")
        for route in host.ip_json(family, "route", "show", "table", "all")
        if "dev" in route and not route["dst"].startswith(("fe80", "ff00"))  # they come late
    ]
    mounts = host.path("/proc/1/mountinfo").read_text().splitlines()
    found = {
        "links": list(host.links()),
        "routes": routes,
        "nft elements": elements,
        "namespaces": [line.split()[4] for line in mounts if " nsfs nsfs " in line],
        "queue": _names(host.path(QUEUE)),
        "results": _names(host.path(RESULTS)),
        **json.loads(host.python(READ, STORE, json.dumps(QUERIES)).stdout),
    }
    return {kind: sorted(values) for kind, values in found.items()}


def until_same(host: Host, before: dict[str, list[str]], seconds: float = 10.0) -> None:
    """Wait until nothing but what was there is there; links of DELs follow after some ms."""

    def difference() -> dict[str, set[str]]:
        after = traces(host)
        return {kind: set(after[kind]) ^ set(before[kind]) for kind in before}

    with suppress(AssertionError):
        until(lambda: not any(difference().values()), "no difference", seconds)
    assert not any((found := difference()).values()), {k: v for k, v in found.items() if v}


def _names(folder: Path) -> list[str]:
    return [entry.name for entry in folder.iterdir()] if folder.exists() else []
