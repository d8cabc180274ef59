"""All that iproute2, nft and /proc/sys tell of a machine and its pods, to compare two machines.

Left out is what no two machines share: random MACs of host ends, numbers that the kernel gives,
clocks and counters.
"""

import json
import re
from collections.abc import Mapping
from typing import Any

from support.host import Host

RUNNING = re.compile(
    r"\w*_?timer|(preferred|valid)_life_time|tentative|handle|packets|bytes|link_netnsid|link"
)
"""Keys of ip's, bridge's and nft's JSON. `link` is link_index read in the wrong namespace."""
COUNTED = re.compile(r"netfilter/nf_conntrack_(count|events)")
"""Settings that count."""
SETTINGS = """
import json, os
found = {}
for folder, _, files in os.walk("/proc/sys/net"):
    for name in files:
        path = os.path.join(folder, name)
        try:
            found[path[14:]] = open(path).read().split()
        except OSError:
            pass  # one that is only written, or has no value yet
print(json.dumps(found))
"""
Picture = dict[str, Any]


def picture(host: Host, pods: Mapping[str, str]) -> Picture:
    """What the machine and each of its pods is like; `pods`: owner by namespace's name."""
    places = {"node": None, **{owner: f"/run/netns/{name}" for name, owner in pods.items()}}
    links = {place: host.ip_json("link", netns=netns) for place, netns in places.items()}
    found = {place: _place(host, netns) for place, netns in sorted(places.items())}
    for place, views in found.items():
        for view in "links", "addresses":
            for link in views[view].values():
                if "link_index" in link:
                    link["link_index"] = _other_end(link, place, links)
                if link.get("ifname", "").startswith("vethpn"):
                    del link["address"]  # the kernel's choice
    return {place: _still(views) for place, views in found.items()}


def differences(one: Picture, other: Picture, at: str = "") -> list[str]:
    """Where two pictures differ, a line each."""
    if isinstance(one, dict) and isinstance(other, dict):
        return [
            line
            for key in sorted(one.keys() | other.keys())
            for line in differences(one.get(key), other.get(key), f"{at}/{key}")  # type: ignore[arg-type]
        ]
    if isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        return [
            line
            for number, pair in enumerate(zip(one, other, strict=True))
            for line in differences(*pair, f"{at}/{number}")
        ]
    return [] if one == other else [f"{at}: {one!r} and {other!r}"]


def _place(host: Host, netns: str | None) -> dict[str, Any]:
    bridges = host.run(["bridge", "-j", "-d", "link"], netns=netns).stdout

    def by_name(links: list[Any]) -> dict[str, Any]:
        return {link["ifname"]: link for link in links}

    return {
        "links": by_name(host.ip_json("link", netns=netns)),
        "addresses": by_name(host.ip_json("address", netns=netns)),
        "routes": [
            sorted(host.ip_json(family, "route", "show", "table", "all", netns=netns), key=str)
            for family in ("-4", "-6")
        ],
        "ports": by_name(json.loads(bridges or "[]")),
        "rules": host.nft_json(netns=netns),
        "settings": {
            name: value
            for name, value in json.loads(host.python(SETTINGS, netns=netns).stdout).items()
            if not COUNTED.fullmatch(name)
        },
    }


def _other_end(link: dict[str, Any], place: str, links: Mapping[str, Any]) -> str:
    """The place and name of a veth pair's other end."""
    for elsewhere, candidates in links.items():
        for end in candidates:
            pair = (end["ifindex"], end.get("link_index"))
            if elsewhere != place and pair == (link["link_index"], link["ifindex"]):
                return f"{elsewhere} {end['ifname']}"
    return "nowhere"


def _still(value: Any) -> Any:
    """Without what runs or is only a number; the elements of sets, which have no order, sorted."""
    if isinstance(value, dict):
        return {
            key: sorted(map(_still, item), key=str) if key == "elem" else _still(item)
            for key, item in value.items()
            if not RUNNING.fullmatch(key) and key != "ifindex"
        }
    return [_still(item) for item in value] if isinstance(value, list) else value
