"""What `describe` shows: one object as a page for reading, in kubectl's manner."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from podnet_cli.screen import Columns, age
from podnet_cli.tables import NONE, standing

Body = dict[str, Any]
Entry = tuple[str, Any]
"""A title, and its text, its lines, or the entries below it."""

LABEL_WIDTH = 16


def page(body: Body) -> str:
    """The whole page, without a line end."""
    meta = body["metadata"]
    entries: list[Entry] = [
        ("Name", meta["name"]),
        ("Namespace", meta.get("namespace", "")),
        ("Labels", [f"{key}={value}" for key, value in sorted(meta.get("labels", {}).items())]),
        ("Created", f"{meta['creationTimestamp']} ({age(meta['creationTimestamp'])} ago)"),
        ("Being deleted", meta.get("deletionTimestamp", "")),
    ]
    sandbox = body["kind"] == "PodSandbox"
    entries += _sandbox(body) if sandbox else _network(body)
    lines = [line for entry in entries for line in _lines(entry)]
    lines += _conditions(body.get("status", {}).get("conditions", ()))
    return "\n".join(lines)


def _network(body: Body) -> list[Entry]:
    spec, status = body["spec"], body.get("status", {})
    total = status.get("addressesTotal")
    used = status.get("addressesUsed")
    return [
        ("Subnets", status.get("subnets") or spec.get("subnets") or NONE),
        ("Bridge", status.get("bridge") or NONE),
        ("MTU", status.get("mtu") or NONE),
        ("Backend", spec.get("backend", {}).get("type", "Local")),
        ("Masquerade", str(spec.get("masquerade", True)).lower()),
        ("Isolated", str(spec.get("isolated", True)).lower()),
        ("Addresses", "" if used is None else f"{used} used" + (f" of {total}" if total else "")),
    ]


def _sandbox(body: Body) -> list[Entry]:
    spec, status = body["spec"], body.get("status", {})
    network = spec.get("network") or {}
    netns = status.get("netns", {})
    mode = network.get("mode", "Bridge")
    containers = {each["name"]: each for each in status.get("containers", ())}
    return [
        ("Status", standing(body)),
        ("Mode", mode),
        ("Network", network.get("podNetwork", "default") if mode == "Bridge" else ""),
        ("Joins", network.get("sandbox", "")),
        ("IPs", [each["ip"] for each in status.get("podIPs", ())] or NONE),
        ("Netns", f"{netns['path']} (inode {netns.get('inode')})" if netns else NONE),
        ("Sandbox ID", status.get("sandboxID", "")),
        ("Hostname", spec.get("hostname", "")),
        ("DNS", _plain(spec.get("dns"))),
        ("Host Aliases", _plain(spec.get("hostAliases"))),
        ("Ports", [_port(each) for each in network.get("ports", ())]),
        ("Restart Policy", spec.get("restartPolicy", "Always")),
        ("Interfaces", [(each["name"], _interface(each)) for each in _of(status, "interfaces")]),
        (
            "Containers",
            [
                (each["name"], _container(each, containers.get(each["name"], {})))
                for each in _of(spec, "containers")
            ],
        ),
    ]


def _of(body: Mapping[str, Any], key: str) -> Sequence[Body]:
    return body.get(key) or ()


def _port(port: Body) -> str:
    host = port.get("hostIP") or "*"
    host = f"[{host}]" if ":" in host else host
    protocol = port.get("protocol", "TCP").lower()
    return f"{host}:{port['hostPort']} -> {port['containerPort']}/{protocol}"


def _interface(interface: Body) -> list[Entry]:
    peer = interface.get("peer") or {}
    pair = f"{peer.get('name')} (index {peer.get('ifindex')})" if peer.get("name") else ""
    return [
        ("Index", interface.get("ifindex", "")),
        ("Addresses", interface.get("addresses", ())),
        ("MAC", interface.get("mac", "")),
        ("MTU", interface.get("mtu", "")),
        ("Peer", pair),
        ("Bridge", interface.get("bridge", "")),
        ("Network", interface.get("podNetwork", "")),
    ]


def _container(spec: Body, status: Body) -> list[Entry]:
    limits = (spec.get("resources") or {}).get("limits") or {}
    return [
        ("ID", status.get("id", "")),
        ("Image", spec.get("image", "")),
        ("Command", _words(spec.get("command"))),
        ("Args", _words(spec.get("args"))),
        ("State", status.get("state", "waiting")),
        ("Reason", status.get("reason", "")),
        ("Message", status.get("message", "")),
        ("PID", status.get("pid") or ""),
        ("Exit Code", "" if status.get("exitCode") is None else status["exitCode"]),
        ("Restarts", status.get("restarts", 0)),
        ("Limits", [f"{key}: {value}" for key, value in limits.items()]),
        ("Environment", _plain(spec.get("env"))),
        ("Mounts", [_mount(each) for each in _of(spec, "mounts")]),
    ]


def _mount(mount: Body) -> str:
    return f"{mount['source']} at {mount['target']} ({'ro' if mount.get('readOnly') else 'rw'})"


def _words(words: Iterable[str] | None) -> str:
    from shlex import join

    return join(words) if words else ""


def _plain(value: Any) -> list[str]:
    """A part of a spec as lines: name=value pairs, or `key: value`."""
    if isinstance(value, dict):
        return [f"{key}: {_flat(each)}" for key, each in value.items() if each]
    return [_flat(each) for each in value or ()]


def _flat(value: Any) -> str:
    if isinstance(value, dict):
        if set(value) == {"name", "value"}:
            return f"{value['name']}={value['value']}"
        return " ".join(_flat(each) for each in value.values())
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def _conditions(conditions: Sequence[Body]) -> list[str]:
    if not conditions:
        return ["Conditions:      <none>"]
    rows = [["TYPE", "STATUS", "REASON", "SINCE", "MESSAGE"]]
    for each in conditions:
        since = age(each.get("lastTransitionTime", ""))
        rows.append([each["type"], each["status"], each["reason"], since, each.get("message", "")])
    columns = Columns(rows)
    return ["Conditions:", *(f"  {columns.line(row)}" for row in rows)]


def _lines(entry: Entry, indent: int = 0) -> Iterator[str]:
    """The lines of an entry; nothing where it has nothing to say."""
    title, value = entry
    space = " " * indent
    if isinstance(value, Sequence) and not isinstance(value, str):
        if value and isinstance(value[0], tuple):
            yield f"{space}{title}:"
            for each in value:
                yield from _lines(each, indent + 2)
            return
        for number, text in enumerate(value):
            label = f"{title}:" if number == 0 else ""
            yield f"{space}{label:<{LABEL_WIDTH}} {text}"
    elif value != "":
        yield f"{space}{title + ':':<{LABEL_WIDTH}} {value}"
