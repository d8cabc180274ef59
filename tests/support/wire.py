"""A cable between two hosts: a veth pair with an end, addresses and routes in each."""

import itertools
import subprocess
from dataclasses import dataclass
from ipaddress import IPv4Interface, IPv4Network, IPv6Interface, IPv6Network

from support.host import Host, HostError

_indexes = itertools.count(1000, 2)
"""Interface indexes that differ at the two ends of a cable.

Where they are equal the kernel takes a veth for no stacked device (linkwatch_urgent_event) and
may report its carrier a second late, and until then IPv6 does not answer.
"""


@dataclass(frozen=True)
class End:
    """One end of a cable: an interface of a host, with its addresses."""

    host: Host
    ifname: str
    ipv4: IPv4Interface
    ipv6: IPv6Interface


def connect(
    a: Host,
    b: Host,
    *,
    ipv4: str = "192.0.2.0/24",
    ipv6: str = "2001:db8:0:2::/64",
    ifnames: tuple[str, str] = ("eth0", "eth0"),
    default: bool = True,
) -> tuple[End, End]:
    """Connect two hosts; `a` gets the first address of each network, `b` the second.

    With `default`, `b` is where `a` sends what it has no route for, as a machine's uplink; `b`
    has no route back beyond the cable, as the outside of a masquerading host.
    Both ends are up, their addresses usable at once.
    """
    v4, v6 = IPv4Network(ipv4), IPv6Network(ipv6)
    ends = tuple(
        End(
            host,
            ifname,
            IPv4Interface((v4[number], v4.prefixlen)),
            IPv6Interface((v6[number], v6.prefixlen)),
        )
        for number, host, ifname in zip((1, 2), (a, b), ifnames, strict=True)
    )
    near, far = ends
    _cable(a, near.ifname, b, far.ifname)
    for end in ends:
        end.host.sysctl(f"net/ipv6/conf/{end.ifname}/accept_dad", 0)
        end.host.run(
            ["ip", "-batch", "-"],
            input=f"address add {end.ipv4} dev {end.ifname}\n"
            f"address add {end.ipv6} dev {end.ifname}\n"
            f"link set {end.ifname} up\n",
        )
    if default:
        for option, gateway in (("-4", far.ipv4.ip), ("-6", far.ipv6.ip)):
            a.run(["ip", option, "route", "add", "default", "via", str(gateway)])
    return near, far


class Switch:
    """A switch that hosts are plugged into, in a host that is their way out."""

    OUTSIDE = "198.51.100.1"
    """An address of that host beyond the switch; it has no route to what hosts hide."""

    def __init__(self, host: Host, ipv4: str = "192.0.2.0/24", ipv6: str = "2001:db8:0:2::/64"):
        self.host = host
        self._v4, self._v6 = IPv4Network(ipv4), IPv6Network(ipv6)
        self.gateways = self._v4[254], self._v6[254]
        host.run(
            ["ip", "-batch", "-"],
            input="link add switch type bridge\n"
            f"address add {self.gateways[0]}/{self._v4.prefixlen} dev switch\n"
            f"address add {self.gateways[1]}/{self._v6.prefixlen} dev switch nodad\n"
            f"address add {self.OUTSIDE}/32 dev lo\n"
            "link set switch up\n",
        )

    def plug(self, host: Host, number: int) -> End:
        """Plug a host in as eth0, with those host numbers; its default routes lead here."""
        port = f"port{number}"
        _cable(host, "eth0", self.host, port)
        self.host.run(["ip", "link", "set", port, "master", "switch", "up"])
        end = End(
            host,
            "eth0",
            IPv4Interface((self._v4[number], self._v4.prefixlen)),
            IPv6Interface((self._v6[number], self._v6.prefixlen)),
        )
        host.sysctl("net/ipv6/conf/eth0/accept_dad", 0)
        host.run(
            ["ip", "-batch", "-"],
            input=f"address add {end.ipv4} dev eth0\naddress add {end.ipv6} dev eth0 nodad\n"
            "link set eth0 up\n"
            + "".join(f"route add default via {gateway}\n" for gateway in self.gateways),
        )
        return end


def _cable(a: Host, a_ifname: str, b: Host, b_ifname: str) -> None:
    """In a's network, but among the machine's processes: b's pid means nothing inside a."""
    index = next(_indexes)
    words = f"ip link add {a_ifname} index {index} type veth"
    words += f" peer name {b_ifname} index {index + 1} netns {b.pid}"
    made = subprocess.run(
        ["nsenter", f"--net={a.netns_path}", *words.split()], capture_output=True, text=True
    )
    if made.returncode:
        raise HostError(f"no cable from {a.name} to {b.name}: {made.stderr.strip()}")
