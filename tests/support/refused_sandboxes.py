"""What is refused of PodSandboxes, a case for each rule; and what is just right."""

from collections.abc import Callable
from typing import Any

from support.cases import Accepted, Body, Refused, changed

IP = "write an IP address such as 172.17.0.9 or fd00::9"
MAC = "02:42:00:00:00:01"
LEAVE = "leave it out, the joined sandbox's counts"
PUBLISHED = "conflicting options: port publishing and the container type network mode"
UNPLACED = {"mode": "Container", "sandbox": "nobody"}
"""Of a sandbox that no operator gives a node."""


def _box(sentence: str, place: str, by_server: str = "", **spec: Any) -> Refused:
    return Refused("PodSandbox", spec, f"spec.{place}", sentence, by_server=by_server)


def _wired(sentence: str, place: str, by_server: str = "", **network: Any) -> Refused:
    return _box(sentence, f"network.{place}", by_server, network=network)


def _other_mode(field_: str, value: Any, mode: str, owner: str = "Bridge") -> Refused:
    more = {"sandbox": "db"} if mode == "Container" and field_ != "sandbox" else {}
    return _wired(
        f"belongs to mode {owner}, and mode is {mode}: leave it out or write mode: {owner}",
        field_,
        mode=mode,
        **{field_: value},
        **more,
    )


def _port(**fields: Any) -> Body:
    return {"hostPort": 80, "containerPort": 80} | fields


def _container(sentence: str, place: str, by_server: str = "", **fields: Any) -> Refused:
    whole = {"name": "a", "image": "host", "command": ["x"]} | fields
    return _box(sentence, f"containers[0].{place}", by_server, containers=[whole])


NO_ADDRESSES = {
    "that is none": ("010.0.0.1", f"is 010.0.0.1, which is no IP address: {IP}"),
    "with a prefix": (
        "10.0.0.1/24",
        "is 10.0.0.1/24, which is no IP address: write the address without the prefix length"
        " behind /",
    ),
    "with a zone": ("fe80::1%eth0", "is fe80::1%eth0: write the address without its zone (%)"),
    "that is mapped": ("::ffff:10.0.0.1", "is ::ffff:10.0.0.1: write the IPv4 address 10.0.0.1"),
}
"""What is refused wherever an address stands, and the sentence."""
ADDRESSES: dict[str, tuple[str, Callable[[str], Body]]] = {
    "an address": ("network.addresses[0]", lambda ip: {"network": {"addresses": [ip]}}),
    "a port's address": (
        "network.ports[0].hostIP",
        lambda ip: {"network": {"ports": [_port(hostIP=ip)]}},
    ),
    "a name server": ("dns.nameservers[0]", lambda ip: {"dns": {"nameservers": [ip]}}),
    "a host alias": (
        "hostAliases[0].ip",
        lambda ip: {"hostAliases": [{"ip": ip, "hostnames": ["a"]}]},
    ),
}
"""Where addresses stand: the API server has the rules at each of these places by themselves."""

REFUSED: dict[str, Refused] = {
    f"{who} {what}": _box(sentence, place, **spec(address))
    for who, (place, spec) in ADDRESSES.items()
    for what, (address, sentence) in NO_ADDRESSES.items()
} | {
    "joining nobody": _wired(
        "is missing: write the name of the sandbox to join", "sandbox", mode="Container"
    ),
    "joining itself": _wired(
        "cannot join own network namespace: write another sandbox's name",
        "sandbox",
        mode="Container",
        sandbox="web",
    ),
    "two IPv6 addresses": _wired(
        "fd00::2 is a second IPv6 address: write at most one per family",
        "addresses[1]",
        addresses=["fd00::1", "fd00::2"],
    ),
    "two addresses of a family": _wired(
        "10.0.0.2 is a second IPv4 address: write at most one per family",
        "addresses[1]",
        addresses=["10.0.0.1", "10.0.0.2"],
    ),
    "a multicast MAC": _wired(
        "is 01:00:5e:00:00:01, a multicast address, which no interface may have: write an even"
        " first byte such as 02",
        "mac",
        mac="01:00:5e:00:00:01",
    ),
    "a MAC of zeros": _wired(
        "is 00:00:00:00:00:00, which the kernel takes for none: write six bytes such as"
        " 02:42:ac:11:00:09",
        "mac",
        mac="00:00:00:00:00:00",
    ),
    "a port of IPv6 loopback": _wired(
        "is ::1, which the kernel can't translate: write 127.0.0.1",
        "ports[0].hostIP",
        ports=[_port(hostIP="::1")],
    ),
    "a port of every address": _wired(
        "is 0.0.0.0, every address: leave it out",
        "ports[0].hostIP",
        ports=[_port(hostIP="0.0.0.0")],
    ),
    "a port of a multicast address": _wired(
        "is 239.0.0.1, a multicast address: write an address of this machine",
        "ports[0].hostIP",
        ports=[_port(hostIP="239.0.0.1")],
    ),
    "a port twice": _wired(
        "80/TCP is published twice: choose another port",
        "ports[1].hostPort",
        "a port is published twice: choose another port",
        ports=[_port(), _port(hostIP="10.0.0.1")],
    ),
    "a network in mode None": _other_mode("podNetwork", "blue", "None"),
    "a network in mode Host": _other_mode("podNetwork", "blue", "Host"),
    "a network in mode Container": _other_mode("podNetwork", "blue", "Container"),
    "an address in mode None": _other_mode("addresses", ["10.0.0.1"], "None"),
    "an address in mode Host": _other_mode("addresses", ["10.0.0.1"], "Host"),
    "an address in mode Container": _other_mode("addresses", ["10.0.0.1"], "Container"),
    "ports in mode None": _other_mode("ports", [_port()], "None"),
    "a MAC in mode None": _other_mode("mac", MAC, "None"),
    "joining in mode Bridge": _other_mode("sandbox", "db", "Bridge", "Container"),
    "joining in mode None": _other_mode("sandbox", "db", "None", "Container"),
    "joining in mode Host": _other_mode("sandbox", "db", "Host", "Container"),
    "a MAC in mode Container": _wired(
        "conflicting options: mac-address and the network mode: leave it out",
        "mac",
        mode="Container",
        sandbox="db",
        mac=MAC,
    ),
    "a MAC in mode Host": _wired(
        "conflicting options: mac-address and the network mode: leave it out",
        "mac",
        mode="Host",
        mac=MAC,
    ),
    "ports in mode Container": _wired(
        f"{PUBLISHED}: publish them at the sandbox that is joined",
        "ports",
        mode="Container",
        sandbox="db",
        ports=[_port()],
    ),
    "a hostname beside a joined sandbox": _box(
        f"conflicting options: hostname and the network mode: {LEAVE}",
        "hostname",
        network={"mode": "Container", "sandbox": "db"},
        hostname="a",
    ),
    "DNS beside a joined sandbox": _box(
        f"conflicting options: dns and the network mode: {LEAVE}",
        "dns",
        network={"mode": "Container", "sandbox": "db"},
        dns={"nameservers": ["1.1.1.1"]},
    ),
    "hosts beside a joined sandbox": _box(
        f"conflicting options: custom host-to-IP mapping and the network mode: {LEAVE}",
        "hostAliases",
        network={"mode": "Container", "sandbox": "db"},
        hostAliases=[{"ip": "10.0.0.1", "hostnames": ["a"]}],
    ),
    "no command for image host": _container(
        "is missing: image host has no command of its own", "command", command=[]
    ),
    "too little CPU": _container(
        "is 1m, which is too little: write CPUs such as 500m, 1 or 1.5",
        "resources.limits.cpu",
        "is less than 10m, which is too little: write CPUs such as 500m, 1 or 1.5",
        resources={"limits": {"cpu": "1m"}},
    ),
    "too little memory": _container(
        "is 1Mi, which is too little: write bytes such as 64Mi, 1Gi or 67108864",
        "resources.limits.memory",
        "is less than 6Mi, which is too little: write bytes such as 64Mi, 1Gi or 67108864",
        resources={"limits": {"memory": "1Mi"}},
    ),
    "another mode": changed(
        "PodSandbox",
        "network.mode",
        {},
        {"network": {"mode": "None"}},
        " and was Bridge, not None",
    ),
    "another hostname": changed(
        "PodSandbox", "hostname", {"hostname": "a"}, {"hostname": "b"}, " and was a, not b"
    ),
    "other DNS": changed(
        "PodSandbox",
        "dns",
        {},
        {"dns": {"searches": ["b"]}},
        " and was left out, not a mapping",
    ),
    "other hosts": changed(
        "PodSandbox",
        "hostAliases",
        {},
        {"hostAliases": [{"ip": "10.0.0.1", "hostnames": ["a"]}]},
        " and was left out, not a list of 1",
    ),
    "another restart policy": changed(
        "PodSandbox",
        "restartPolicy",
        {},
        {"restartPolicy": "Never"},
        " and was Always, not Never",
    ),
    "another container": changed(
        "PodSandbox",
        "containers",
        {},
        {"containers": [{"name": "a", "image": "host", "command": ["x"]}]},
        " and was left out, not a list of 1",
    ),
    "another node": changed(
        "PodSandbox", "nodeName", {"nodeName": "w1"}, {"nodeName": "w2"}, " and was w1, not w2"
    ),
}

ACCEPTED: dict[str, Accepted] = {
    "a sandbox with nothing": Accepted("PodSandbox"),
    "a sandbox with every field": Accepted(
        "PodSandbox",
        {
            "nodeName": "w1.example",
            "network": {
                "mode": "Bridge",
                "podNetwork": "blue",
                "addresses": ["10.8.1.9", "fd00:8:0:1::9"],
                "mac": "02-42-0A-08-01-09",
                "ports": [
                    _port(hostIP="10.0.0.1"),
                    _port(hostIP="10.0.0.2"),
                    _port(protocol="UDP"),
                ],
            },
            "hostname": "web.example",
            "dns": {
                "nameservers": ["1.1.1.1"],
                "searches": ["Example_1."],
                "options": [{"name": "ndots", "value": "2"}],
            },
            "hostAliases": [{"ip": "fd00::1", "hostnames": ["a", "b"]}],
            "restartPolicy": "OnFailure",
            "containers": [
                {
                    "name": "a",
                    "image": "host",
                    "command": ["sh", "-c", "é"],
                    "args": [""],
                    "env": [{"name": "A", "value": "1\n2"}, {"name": "B"}],
                    "workingDir": "/srv/..x/.y/...",
                    "mounts": [{"source": "/etc", "target": "/data/", "readOnly": True}],
                    "user": "nobody:nogroup",
                    "readOnlyRootFilesystem": True,
                    "resources": {"limits": {"cpu": 1, "memory": "64Mi", "pids": 10}},
                },
                {
                    "name": "b",
                    "image": "/images/busybox.tar",
                    "resources": {"limits": {"cpu": "10m", "memory": 6291456}},
                },
            ],
        },
    ),
    "addresses of both families wherever one may stand": Accepted(
        "PodSandbox",
        {
            "network": {
                "addresses": ["fd00:8:0:1::9", "10.8.1.9"],
                "ports": [_port(hostIP="10.0.0.1"), _port(hostPort=81, hostIP="fd00::1")],
            },
            "dns": {"nameservers": ["10.0.0.53", "fd00::53"]},
            "hostAliases": [
                {"ip": "10.0.0.1", "hostnames": ["a"]},
                {"ip": "fd00::1", "hostnames": ["a"]},
            ],
        },
    ),
    "mode Host with ports, which are only warned of": Accepted(
        "PodSandbox", {"network": {"mode": "Host", "ports": [_port()]}}
    ),
    "mode Container": Accepted("PodSandbox", {"network": {"mode": "Container", "sandbox": "db"}}),
    "a node chosen later": Accepted(
        "PodSandbox", {"network": UNPLACED, "nodeName": "w1"}, was={"network": UNPLACED}
    ),
    "the most ports": Accepted(
        "PodSandbox", {"network": {"ports": [_port(hostPort=1 + n) for n in range(256)]}}
    ),
}
