"""Attachment: one interface of one sandbox on one network. The unit the agent turns on."""

import re
from dataclasses import dataclass
from typing import Literal

from podnet.addresses import IPAddress, IPInterface, IPNetwork
from podnet.objects import Netns

Protocol = Literal["tcp", "udp"]

IFNAME = re.compile(r"(?!\.{1,2}$)[^\s/:%]{1,15}")
"""What the kernel takes as an interface's name (net/core/dev.c, dev_valid_name), in characters."""
IFNAME_BYTES = 15
"""IFNAMSIZ less the zero at the end (linux/if.h)."""
MAC = re.compile(r"[0-9a-f][02468ace](:[0-9a-f]{2}){5}")
"""A hardware address of one machine: the first byte's lowest bit means many."""

_GIVEN_BY_CNI = {
    "addresses": "CNI runtimeConfig.ips",
    "mac": "CNI runtimeConfig.mac",
    "ports": "CNI runtimeConfig.portMappings",
}
"""What the runtime hands on, by our field."""


@dataclass(frozen=True, slots=True, order=True)
class PublishedPort:
    """A port of the node that leads to a port of the sandbox; `host_ip` None is any address."""

    host_port: int
    container_port: int
    protocol: Protocol = "tcp"
    host_ip: IPAddress | None = None


@dataclass(frozen=True, slots=True)
class AttachRequest:
    """What every way of attaching has in common: a sandbox's network, `podnet attach`."""

    sandbox_id: str
    ifname: str
    netns: Netns
    network: str
    owner: str  # "PodSandbox/default/web": the first words of every cause
    addresses: tuple[IPAddress, ...] = ()  # fixed ones; a family left out is chosen
    mac: str | None = None
    ports: tuple[PublishedPort, ...] = ()
    routes: tuple[IPNetwork, ...] = ()  # destinations behind the network's gateway
    by_hand: bool = False  # `podnet attach` asked for it, and no field of the owner
    cni: str = ""  # the CNI network that a runtime attached it to; then `netns` is the runtime's
    netns_cookie: int = 0  # which namespace that path led to; 0 in records of older agents

    def is_of(self, cookie: int | None) -> bool:
        """Whether it is that namespace; None: there is none."""
        return cookie is not None and self.netns_cookie in (0, cookie)

    def cause(self, field: str) -> str:
        """What wants it: the owner's field of that name below spec.network, or the command."""
        if self.cni:
            return f"{self.owner} {_GIVEN_BY_CNI.get(field, f'CNI ADD {self.ifname}')}"
        if self.by_hand:
            return f"{self.owner} podnet attach --ifname {self.ifname}"
        return f"{self.owner} spec.network.{field}"


@dataclass(frozen=True, slots=True)
class Attachment:
    """A request with everything decided, written down before the kernel is touched.

    `number` is never used again while the node is up, so neither is the name of the host end: a
    late removal, an old event or a link in the trash cannot hit a successor.
    """

    number: int
    request: AttachRequest
    addresses: tuple[IPInterface, ...]
    mac: str
    mtu: int = 0  # bytes, of a runtime's, which keeps what it was given; else 0: the network's

    @property
    def host_end(self) -> str:
        """The veth pair's end in the node's namespace: 8 to 15 bytes."""
        return f"vethpn{self.number:x}"
