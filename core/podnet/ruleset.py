"""The nftables table `inet podnet`: constant rules; only elements of its sets and maps come and go.

| hook        | chain             | what for                                                     |
|-------------|-------------------|--------------------------------------------------------------|
| prerouting  | pn_guard (raw)    | what no pod may send                                         |
| prerouting  | pn_pre (dstnat)   | to one of the node's addresses, published: to the pod        |
| output      | pn_out (dstnat)   | the same for what the node itself sends                      |
| input       | pn_held (filter)  | UDP to a published port that was not led to a pod: refused   |
| forward     | pn_fwd (filter)   | isolated networks; what is closed to the outside             |
| postrouting | pn_post (srcnat)  | answers that would go past the node's NAT; masquerade        |

Numbers instead of names of protocols: nft looks those up in /etc/protocols, which a small machine
may not have.
"""

import re
from hashlib import sha256

from podnet.objects import Key, Ruleset

HELD_MARK = 0x706E
"""The mark of sockets that hold a published UDP port ('pn'), as pn_held has it."""

_DEFINITION = """\
  set pn_bridges { type ifname; }
  set pn_closed { type ifname; }
  set pn_isolated { type ifname; }
  set pn_l2 { type ifname; }
  set pn_own4 { type ifname . ipv4_addr; flags interval; }
  set pn_own6 { type ifname . ipv6_addr; flags interval; }
  set pn_nets4 { type ipv4_addr; flags interval; }
  set pn_nets6 { type ipv6_addr; flags interval; }
  set pn_masq4 { type ipv4_addr; flags interval; }
  set pn_masq6 { type ipv6_addr; flags interval; }
  map pn_ip4 { type ipv4_addr . inet_proto . inet_service : ipv4_addr . inet_service; }
  map pn_ip6 { type ipv6_addr . inet_proto . inet_service : ipv6_addr . inet_service; }
  map pn_any4 { type inet_proto . inet_service : ipv4_addr . inet_service; }
  map pn_any6 { type inet_proto . inet_service : ipv6_addr . inet_service; }
  set pn_self4 { type ipv4_addr . ipv4_addr; }
  set pn_self6 { type ipv6_addr . ipv6_addr; }

  # route_localnet on the bridge would let pods reach what listens on the node's 127.0.0.1. A source
  # must be routed back where it came from; asking @pn_own4 here would lose packets on every load,
  # since the kernel fills a set of ranges a moment after the rules are in force.
  chain pn_guard {
    type filter hook prerouting priority raw; policy accept;
    iifname @pn_bridges ip daddr 127.0.0.0/8 drop
    iifname @pn_bridges ip saddr != 0.0.0.0 fib saddr . iif oif missing drop
    iifname @pn_bridges ip6 saddr != { ::, fe80::/10 } fib saddr . iif oif missing drop
  }

  chain pn_ports {
    dnat ip to ip daddr . meta l4proto . th dport map @pn_ip4
    dnat ip6 to ip6 daddr . meta l4proto . th dport map @pn_ip6
    dnat ip to meta l4proto . th dport map @pn_any4
    dnat ip6 to meta l4proto . th dport map @pn_any6
  }

  # Before kube-proxy's -100: the first translation of a connection wins.
  chain pn_pre {
    type nat hook prerouting priority -105; policy accept;
    ip daddr 127.0.0.0/8 return
    fib daddr type local jump pn_ports
  }

  # What is sent to ::1 cannot be routed off lo, so it is refused there instead of lost.
  chain pn_out {
    type nat hook output priority -105; policy accept;
    ip6 daddr ::1 return
    fib daddr type local jump pn_ports
  }

  # UDP (17) to a published port that was not led to a pod: the socket would swallow it.
  chain pn_held {
    type filter hook input priority filter; policy accept;
    meta l4proto 17 socket mark 0x706e reject
  }

  chain pn_fwd {
    type filter hook forward priority filter; policy accept;
    ct state established,related accept
    oifname @pn_bridges ct status dnat accept
    iifname @pn_isolated ip daddr @pn_nets4 iifname . ip daddr != @pn_own4 drop
    iifname @pn_isolated ip6 daddr @pn_nets6 iifname . ip6 daddr != @pn_own6 drop
    oifname @pn_isolated ip saddr @pn_nets4 oifname . ip saddr != @pn_own4 drop
    oifname @pn_isolated ip6 saddr @pn_nets6 oifname . ip6 saddr != @pn_own6 drop
    iifname != @pn_bridges oifname @pn_closed drop
  }

  # A pod that asks its own published port; the node's 127.0.0.1; a neighbour on the same bridge
  # where bridged answers would go past us.
  chain pn_post {
    type nat hook postrouting priority srcnat; policy accept;
    ip saddr . ip daddr @pn_self4 masquerade
    ip6 saddr . ip6 daddr @pn_self6 masquerade
    oifname @pn_bridges ip saddr 127.0.0.0/8 masquerade
    oifname @pn_l2 ct status dnat oifname . ip saddr @pn_own4 masquerade
    oifname @pn_l2 ct status dnat oifname . ip6 saddr @pn_own6 masquerade
    ip saddr @pn_masq4 ip daddr != @pn_nets4 masquerade fully-random
    ip6 saddr @pn_masq6 ip6 daddr != @pn_nets6 masquerade fully-random
  }
"""
VERSION = sha256(_DEFINITION.encode()).hexdigest()[:12]
VERSION_PREFIX = "pn_version_"
"""The table's version is the rest of an empty chain's name: every nft can read that back."""
TEXT = f"""\
table inet podnet
delete table inet podnet
table inet podnet {{
{_DEFINITION}
  chain {VERSION_PREFIX}{VERSION} {{
  }}
}}
"""
"""Replaces the table, whatever is there, in one transaction; nft 1.0.6 and later take it."""
TABLE: Key = Ruleset(version=VERSION).key
"""What every element is within."""

_BY_INTERFACE = {
    *("pn_bridges", "pn_closed", "pn_isolated", "pn_l2"),
    *("pn_own4", "pn_own6"),
}
"""Containers whose matches begin with an interface's name."""
_PLAIN = re.compile(r"(?:podnet|pn-)[0-9a-z]*")
"""Names that nft takes as they are: no word of its language begins like these."""


def spelled(container: str, match: str) -> str:
    """An element's match as nft reads it: an interface name quoted where it could be its word."""
    name, dot, rest = match.partition(" . ")
    if container in _BY_INTERFACE and not _PLAIN.fullmatch(name):
        name = f'"{name}"'
    return f"{name}{dot}{rest}"
