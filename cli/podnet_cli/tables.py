"""What `get` shows of each kind: which columns, and what stands in them."""

from __future__ import annotations

from podnet_cli.resources import resource_name
from podnet_cli.screen import BOLD, GREEN, RED, YELLOW, Columns, age

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from typing import Any

    Body = dict[str, Any]
    Column = tuple[str, bool, Callable[[Body], str]]
    """Heading, whether only `-o wide` shows it, what stands there."""

NONE = "<none>"
_GOOD = ("Running", "Succeeded", "True", "Ready")
_WAITING = ("Pending", "Terminating", "ContainerCreating")


class Table:
    """A table of one kind, row by row: first those there are, later (`-w`) what comes."""

    def __init__(
        self, kind: str, *, wide: bool, namespaces: bool, labels: bool, kinds: bool
    ) -> None:
        columns: list[Column] = [(h, w, cell) for h, w, cell in COLUMNS[kind] if wide or not w]
        if kinds:
            columns[0] = ("NAME", False, resource_name)
        if namespaces:
            columns.insert(0, ("NAMESPACE", False, lambda body: _meta(body, "namespace")))
        if labels:
            columns.append(("LABELS", False, _labels))
        self._columns = columns
        self._layout = Columns([self.headings])

    @property
    def headings(self) -> list[str]:
        """The first line's cells."""
        return [heading for heading, _, _ in self._columns]

    def lines(self, items: Iterable[Body], *, headings: bool) -> list[str]:
        """The items as lines; later lines keep these widths."""
        rows = [self._cells(body) for body in items]
        self._layout = Columns([self.headings, *rows])
        first = [self._layout.line(self.headings, [BOLD] * len(self._columns))] if headings else []
        return [*first, *(self._layout.line(row, self._colours(row)) for row in rows)]

    def line(self, body: Body) -> str:
        """One more row."""
        row = self._cells(body)
        return self._layout.line(row, self._colours(row))

    def _cells(self, body: Body) -> list[str]:
        return [cell(body) or NONE for _, _, cell in self._columns]

    def _colours(self, row: Sequence[str]) -> list[str]:
        return [
            colour_of(cell) if heading in ("STATUS", "READY") and "/" not in cell else ""
            for heading, cell in zip(self.headings, row, strict=True)
        ]


def colour_of(word: str) -> str:
    """Green for what is well, yellow for what is on its way, red for the rest."""
    return GREEN if word in _GOOD else YELLOW if word in _WAITING else RED


def condition(body: Body, name: str) -> Body:
    """The condition of that type, empty where it is not there yet."""
    for each in body.get("status", {}).get("conditions", ()):
        if each["type"] == name:
            found: Body = each
            return found
    return {}


def standing(body: Body) -> str:
    """A PodSandbox's STATUS: its phase, or in one word why it is not further."""
    if body["metadata"].get("deletionTimestamp"):
        return "Terminating"
    status = body.get("status", {})
    phase: str = status.get("phase", "Pending")
    for container in status.get("containers", ()):
        if container.get("reason") and container.get("state") != "running":
            return str(container["reason"])
    ready = condition(body, "Ready")
    if phase == "Pending" and ready.get("status") == "False" and ready.get("message"):
        return str(ready["reason"])
    return phase


def _meta(body: Body, key: str) -> str:
    return str(body["metadata"].get(key, ""))


def _labels(body: Body) -> str:
    return ",".join(f"{k}={v}" for k, v in sorted(body["metadata"].get("labels", {}).items()))


def _age(body: Body) -> str:
    return age(_meta(body, "creationTimestamp"))


def _network(body: Body) -> Body:
    network: Body = body["spec"].get("network") or {}
    return network


def _mode(body: Body) -> str:
    return str(_network(body).get("mode", "Bridge"))


def _joined(body: Body) -> str:
    """Which network, or whose namespace, by the mode."""
    network = _network(body)
    if _mode(body) == "Bridge":
        return str(network.get("podNetwork", "default"))
    return str(network.get("sandbox", "")) if _mode(body) == "Container" else ""


def _containers(body: Body) -> list[Body]:
    found: list[Body] = body.get("status", {}).get("containers", [])
    return found


def _ready(body: Body) -> str:
    running = [each for each in _containers(body) if each.get("state") == "running"]
    return f"{len(running)}/{len(body['spec'].get('containers', []))}"


def _restarts(body: Body) -> str:
    return str(sum(each.get("restarts", 0) for each in _containers(body)))


def _ips(body: Body) -> str:
    return ",".join(each["ip"] for each in body.get("status", {}).get("podIPs", ()))


def _interfaces(key: str) -> Callable[[Body], str]:
    def cell(body: Body) -> str:
        interfaces = body.get("status", {}).get("interfaces", ())
        return ",".join(str(each.get(key) or NONE) for each in interfaces)

    return cell


def _host_ends(body: Body) -> str:
    interfaces = body.get("status", {}).get("interfaces", ())
    return ",".join(each.get("peer", {}).get("name") or NONE for each in interfaces)


def _ports(body: Body) -> str:
    return ",".join(
        f"{_host_of(each)}{each['hostPort']}->{each['containerPort']}"
        f"/{each.get('protocol', 'TCP').lower()}"
        for each in _network(body).get("ports", ())
    )


def _host_of(port: Body) -> str:
    host = port.get("hostIP", "")
    return f"[{host}]:" if ":" in host else f"{host}:" if host else ""


def subnets_of(body: Body) -> str:
    """A PodNetwork's, as they are or as they are wanted; empty where nobody has said."""
    subnets = body.get("status", {}).get("subnets") or body["spec"].get("subnets") or ()
    return ",".join(subnets)


def _status(key: str) -> Callable[[Body], str]:
    return lambda body: str(body.get("status", {}).get(key) or "")


def addresses_used(body: Body) -> str:
    """How many of how many, where that is known."""
    status = body.get("status", {})
    total = status.get("addressesTotal")
    return f"{status.get('addressesUsed', 0)}" + (f"/{total}" if total else "")


def _node_addresses(body: Body) -> str:
    return ",".join(body.get("status", {}).get("nodeAddresses") or ())


def _flag(key: str) -> Callable[[Body], str]:
    return lambda body: str(body["spec"].get(key, True)).lower()


COLUMNS: dict[str, list[Column]] = {
    "PodSandbox": [
        ("NAME", False, lambda body: _meta(body, "name")),
        ("MODE", False, _mode),
        ("READY", False, _ready),
        ("STATUS", False, standing),
        ("RESTARTS", False, _restarts),
        ("IP", False, _ips),
        ("AGE", False, _age),
        ("NETWORK", True, _joined),
        ("MAC", True, _interfaces("mac")),
        ("HOST END", True, _host_ends),
        ("BRIDGE", True, _interfaces("bridge")),
        ("PORTS", True, _ports),
        ("NETNS", True, lambda body: body.get("status", {}).get("netns", {}).get("path", "")),
    ],
    "PodNetwork": [
        ("NAME", False, lambda body: _meta(body, "name")),
        ("SUBNETS", False, subnets_of),
        ("BRIDGE", False, _status("bridge")),
        ("READY", False, lambda body: condition(body, "Ready").get("status", "Unknown")),
        ("USED", False, addresses_used),
        ("AGE", False, _age),
        ("MTU", True, _status("mtu")),
        ("MASQUERADE", True, _flag("masquerade")),
        ("ISOLATED", True, _flag("isolated")),
    ],
    "NodeSubnet": [
        ("NAME", False, lambda body: _meta(body, "name")),
        ("NETWORK", False, lambda body: str(body["spec"]["podNetwork"])),
        ("NODE", False, lambda body: str(body["spec"]["nodeName"])),
        ("PODCIDRS", False, lambda body: ",".join(body["spec"]["podCIDRs"])),
        ("READY", False, lambda body: condition(body, "Ready").get("status", "")),
        ("USED", False, _status("addressesUsed")),
        ("AGE", False, _age),
        ("NODE ADDRESSES", True, _node_addresses),
    ],
}
