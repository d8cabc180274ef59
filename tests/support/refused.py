"""What both the models and the API server refuse, with the same sentence: a case for each rule."""

import re
from dataclasses import dataclass, field
from typing import Any

Body = dict[str, Any]


@dataclass(frozen=True)
class Refused:
    """A spec that is refused; where `was` is given, only as a change of that."""

    kind: str
    spec: Body
    place: str  # as podnet apply names it; the API server names no entry of a list
    sentence: str
    was: Body | None = None
    name: str = "web"
    by_server: str = ""

    @property
    def served(self) -> str:
        """The API server's sentence, which names no value that it would have to compute."""
        return self.by_server or re.sub("is immutable[^:]*:", "is immutable:", self.sentence)

    @property
    def body(self) -> Body:
        """The object as it is applied."""
        return body(self.kind, self.name, self.spec)


@dataclass(frozen=True)
class Accepted:
    """A spec just on the right side of the rules."""

    kind: str
    spec: Body = field(default_factory=dict)
    name: str = "web"
    was: Body | None = None

    @property
    def body(self) -> Body:
        """The object as it is applied."""
        return body(self.kind, self.name, self.spec)


def body(kind: str, name: str, spec: Body) -> Body:
    """An object as a person writes it."""
    meta = {"name": name} | ({"namespace": "default"} if kind == "PodSandbox" else {})
    return {"apiVersion": "podnet.dev/v1alpha1", "kind": kind, "metadata": meta, "spec": spec}


def _net(sentence: str, place: str, by_server: str = "", **spec: Any) -> Refused:
    return Refused("PodNetwork", spec, f"spec.{place}", sentence, by_server=by_server)


def _subnet(cidr: str, sentence: str, by_server: str = "") -> Refused:
    return _net(sentence, "subnets[0]", by_server, subnets=[cidr])


def _share(sentence: str, place: str, **spec: Any) -> Refused:
    whole = {"podNetwork": "blue", "nodeName": "w1", "podCIDRs": ["10.8.1.0/24"]} | spec
    return Refused("NodeSubnet", whole, f"spec.{place}", sentence, name="blue.w1")


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


def _changed(kind: str, place: str, was: Body, now: Body, words: str, name: str = "web") -> Refused:
    sentence = f"is immutable{words}: delete the {kind} and apply it again"
    return Refused(kind, now, f"spec.{place}", sentence, was, name)


CIDR = "write a CIDR such as 10.8.0.0/16 or fd00:8::/64"
IP = "write an IP address such as 172.17.0.9 or fd00::9"
PRIVATE = "write a private range such as 10.8.0.0/16"
PRIVATE6 = "write a private range such as fd00:8::/64"
MAC = "02:42:00:00:00:01"
LEAVE = "leave it out, the joined sandbox's counts"
PUBLISHED = "conflicting options: port publishing and the container type network mode"
LARGER = "is too little, and a share is no larger than the subnet: write its prefix length or more"
LESS = (
    "is less than a node's share, which is /{} where nodePrefixLength.ipv{} is left out: write that"
    " too, or a larger subnet"
)
SHARE = {"podNetwork": "blue", "nodeName": "w1", "podCIDRs": ["10.8.1.0/24"]}

REFUSED = {
    "a subnet that is none": _subnet("10.8/16", f"is 10.8/16, which is no CIDR: {CIDR}"),
    "a subnet without its length": _subnet(
        "10.8.0.0", f"is 10.8.0.0 without a prefix length: {CIDR}"
    ),
    "a subnet with host bits": _subnet(
        "10.8.0.1/16",
        "is 10.8.0.1/16, which has host bits set: write 10.8.0.0/16",
        "is 10.8.0.1/16, which has host bits set: write the address without them",
    ),
    "this host's addresses": _subnet(
        "0.0.0.0/0", f"0.0.0.0/0 holds addresses of this host (0.0.0.0/8): {PRIVATE}"
    ),
    "loopback": _subnet(
        "127.1.0.0/16", f"127.1.0.0/16 holds loopback addresses (127.0.0.0/8): {PRIVATE}"
    ),
    "link-local": _subnet(
        "169.254.1.0/24", f"169.254.1.0/24 holds link-local addresses (169.254.0.0/16): {PRIVATE}"
    ),
    "multicast": _subnet(
        "224.0.0.0/24", f"224.0.0.0/24 holds multicast addresses (224.0.0.0/4): {PRIVATE}"
    ),
    "reserved": _subnet(
        "240.0.0.0/24", f"240.0.0.0/24 holds reserved addresses (240.0.0.0/4): {PRIVATE}"
    ),
    "IPv6 loopback": _subnet(
        "::/64", f"::/64 holds the unspecified and the loopback address (::/127): {PRIVATE6}"
    ),
    "IPv6 link-local": _subnet(
        "fe80::/64", f"fe80::/64 holds link-local addresses (fe80::/10): {PRIVATE6}"
    ),
    "IPv6 multicast": _subnet(
        "ff02::/64", f"ff02::/64 holds multicast addresses (ff00::/8): {PRIVATE6}"
    ),
    "a subnet for no pod": _subnet(
        "10.8.0.0/31", "10.8.0.0/31 has no address for a pod: write a prefix length of 30 or less"
    ),
    "an IPv6 subnet for no pod": _subnet(
        "fd00::/127", "fd00::/127 has no address for a pod: write a prefix length of 126 or less"
    ),
    "two subnets of a family": _net(
        "10.9.0.0/16 is a second IPv4 subnet: write at most one per family",
        "subnets[1]",
        subnets=["10.8.0.0/16", "10.9.0.0/16"],
    ),
    "too small an MTU for IPv6": _net(
        "is 1279, and IPv6 needs 1280 or more",
        "mtu",
        "is too little, and IPv6 needs 1280 or more",
        subnets=["fd00::/48"],
        mtu=1279,
    ),
    "shares of a network without": _net(
        "cuts the subnets into nodes' shares, and with backend Local each node has all of them:"
        " leave it out",
        "nodePrefixLength",
        subnets=["10.8.0.0/16"],
        backend={"type": "Local"},
        nodePrefixLength={"ipv4": 24},
    ),
    "shares of no IPv4 subnet": _net(
        "cuts an IPv4 subnet, and there is none: leave it out",
        "nodePrefixLength.ipv4",
        subnets=["fd00::/48"],
        nodePrefixLength={"ipv4": 24},
    ),
    "shares of no IPv6 subnet": _net(
        "cuts an IPv6 subnet, and there is none: leave it out",
        "nodePrefixLength.ipv6",
        subnets=["10.8.0.0/16"],
        nodePrefixLength={"ipv6": 64},
    ),
    "shares of no subnet": _net(
        "cuts an IPv4 subnet, and there is none: leave it out",
        "nodePrefixLength.ipv4",
        nodePrefixLength={"ipv4": 24},
    ),
    "shares larger than all": _net(
        "is 16, and a share is no larger than 10.8.0.0/20: write 20 or more",
        "nodePrefixLength.ipv4",
        LARGER,
        subnets=["10.8.0.0/20"],
        nodePrefixLength={"ipv4": 16},
    ),
    "IPv6 shares larger than all": _net(
        "is 56, and a share is no larger than fd00::/64: write 64 or more",
        "nodePrefixLength.ipv6",
        LARGER,
        subnets=["fd00::/64"],
        nodePrefixLength={"ipv6": 56},
    ),
    "a subnet less than a share": _net(
        f"10.8.0.0/25 {LESS.format(24, 4)}",
        "subnets[0]",
        f"the IPv4 subnet {LESS.format(24, 4)}",
        subnets=["10.8.0.0/25"],
        backend={"type": "HostGateway"},
    ),
    "an IPv6 subnet less than a share": _net(
        f"fd00::/80 {LESS.format(64, 6)}",
        "subnets[0]",
        f"the IPv6 subnet {LESS.format(64, 6)}",
        subnets=["fd00::/80"],
        backend={"type": "HostGateway"},
    ),
    "a network's name with a dot": Refused(
        "PodNetwork",
        {"subnets": ["10.8.0.0/16"]},
        "metadata.name",
        "is a.b: write lower-case letters, digits and -, beginning and ending with a letter or"
        " digit (a DNS label)",
        name="a.b",
    ),
    "another subnet": _changed(
        "PodNetwork",
        "subnets[0]",
        {"subnets": ["10.8.0.0/16"]},
        {"subnets": ["10.9.0.0/16"]},
        " and was 10.8.0.0/16, not 10.9.0.0/16",
    ),
    "another size of shares": _changed(
        "PodNetwork",
        "nodePrefixLength",
        {"subnets": ["10.8.0.0/16"]},
        {"subnets": ["10.8.0.0/16"], "nodePrefixLength": {"ipv4": 25}},
        " and was left out, not a mapping",
    ),
    "another bridge": _changed(
        "PodNetwork",
        "bridge.name",
        {"bridge": {"name": "one"}},
        {"bridge": {"name": "other"}},
        " and was one, not other",
    ),
    "another backend": _changed(
        "PodNetwork",
        "backend.type",
        {"backend": {"type": "Local"}},
        {"backend": {"type": "HostGateway"}},
        " and was Local, not HostGateway",
    ),
    "a share that is no CIDR": _share(
        f"is x, which is no CIDR: {CIDR}", "podCIDRs[1]", podCIDRs=["10.8.1.0/24", "x"]
    ),
    "two CIDRs of a family": _share(
        "10.8.2.0/24 is a second IPv4 CIDR: write at most one per family",
        "podCIDRs[1]",
        podCIDRs=["10.8.1.0/24", "10.8.2.0/24"],
    ),
    "a share of another name": Refused(
        "NodeSubnet",
        SHARE,
        "metadata.name",
        "is blue.w2, not blue.w1: write podNetwork, a dot and nodeName",
        name="blue.w2",
    ),
    "another share": _changed(
        "NodeSubnet",
        "podCIDRs",
        SHARE,
        SHARE | {"podCIDRs": ["10.8.2.0/24"]},
        "",
        "blue.w1",
    ),
    "joining nobody": _wired(
        "is missing: write the name of the sandbox to join", "sandbox", mode="Container"
    ),
    "joining itself": _wired(
        "cannot join own network namespace: write another sandbox's name",
        "sandbox",
        mode="Container",
        sandbox="web",
    ),
    "two IPv6 subnets": _net(
        "fd01::/48 is a second IPv6 subnet: write at most one per family",
        "subnets[1]",
        subnets=["fd00::/48", "fd01::/48"],
    ),
    "two IPv6 CIDRs": _share(
        "fd02::/64 is a second IPv6 CIDR: write at most one per family",
        "podCIDRs[1]",
        podCIDRs=["fd01::/64", "fd02::/64"],
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
    "an address that is none": _wired(
        f"is 010.0.0.1, which is no IP address: {IP}", "addresses[0]", addresses=["010.0.0.1"]
    ),
    "an address with a prefix": _wired(
        "is 10.0.0.1/24, which is no IP address: write the address without the prefix length"
        " behind /",
        "addresses[0]",
        addresses=["10.0.0.1/24"],
    ),
    "an address with a zone": _wired(
        "is fe80::1%eth0: write the address without its zone (%)",
        "addresses[0]",
        addresses=["fe80::1%eth0"],
    ),
    "a mapped address": _wired(
        "is ::ffff:10.0.0.1: write the IPv4 address 10.0.0.1",
        "addresses[0]",
        addresses=["::ffff:10.0.0.1"],
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
    "another mode": _changed(
        "PodSandbox",
        "network.mode",
        {},
        {"network": {"mode": "None"}},
        " and was Bridge, not None",
    ),
    "another hostname": _changed(
        "PodSandbox", "hostname", {"hostname": "a"}, {"hostname": "b"}, " and was a, not b"
    ),
    "other DNS": _changed(
        "PodSandbox",
        "dns",
        {},
        {"dns": {"searches": ["b"]}},
        " and was left out, not a mapping",
    ),
    "other hosts": _changed(
        "PodSandbox",
        "hostAliases",
        {},
        {"hostAliases": [{"ip": "10.0.0.1", "hostnames": ["a"]}]},
        " and was left out, not a list of 1",
    ),
    "another restart policy": _changed(
        "PodSandbox",
        "restartPolicy",
        {},
        {"restartPolicy": "Never"},
        " and was Always, not Never",
    ),
    "another container": _changed(
        "PodSandbox",
        "containers",
        {},
        {"containers": [{"name": "a", "image": "host", "command": ["x"]}]},
        " and was left out, not a list of 1",
    ),
    "another node": _changed(
        "PodSandbox", "nodeName", {"nodeName": "w1"}, {"nodeName": "w2"}, " and was w1, not w2"
    ),
}

ACCEPTED = {
    "a network with every field": Accepted(
        "PodNetwork",
        {
            "subnets": ["10.8.0.0/16", "fd00:8::/48"],
            "nodePrefixLength": {"ipv4": 26, "ipv6": 72},
            "bridge": {"name": "blue0"},
            "mtu": 1280,
            "backend": {"type": "HostGateway"},
            "masquerade": False,
            "isolated": False,
        },
    ),
    "a network with nothing": Accepted("PodNetwork", name="default"),
    "the smallest subnets": Accepted(
        "PodNetwork", {"subnets": ["10.8.0.0/30", "fd00::/126"], "backend": {"type": "Local"}}
    ),
    "a subnet that is one share": Accepted("PodNetwork", {"subnets": ["10.8.0.0/24"]}),
    "another MTU": Accepted("PodNetwork", {"mtu": 1400}, was={"mtu": 1500}),
    "a share": Accepted("NodeSubnet", SHARE, "blue.w1"),
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
    "mode Host with ports, which are only warned of": Accepted(
        "PodSandbox", {"network": {"mode": "Host", "ports": [_port()]}}
    ),
    "mode Container": Accepted("PodSandbox", {"network": {"mode": "Container", "sandbox": "db"}}),
    "a node chosen later": Accepted("PodSandbox", {"nodeName": "w1"}, was={}),
    "the most ports": Accepted(
        "PodSandbox", {"network": {"ports": [_port(hostPort=1 + n) for n in range(256)]}}
    ),
}
