"""Messages to the kernel, as podnet packs them and as pyroute2 reads them."""

import struct
from typing import Any

from podnet.objects import HOST, Netns
from podnet.plan import Operation
from podnet_agent.message import messages
from support.values import netns

POD = netns("web")
NETNS_FD = 33
INDEXES = {(HOST, "podnet0"): 4, (POD, "eth0"): 2, (HOST, "eth0"): 9}


def index(where: Netns, ifname: str) -> int:
    """The number that an interface has."""
    return INDEXES[where, ifname]


def packed(operation: Operation) -> list[tuple[int, int, bytes]]:
    """Kind, flags and body of each message of it."""
    return list(messages(operation, index, lambda where: NETNS_FD))


def decoded(kind: type, body: bytes) -> Any:
    """The message as pyroute2 reads it; what it could not read fails."""
    message = kind(struct.pack("=IHHII", 16 + len(body), 0, 0, 0, 0) + body)
    message.decode()
    return message


def plain(message: Any) -> Any:
    """Attributes by name, nested ones as dictionaries of their own, each there at most once."""
    if not hasattr(message, "get_attr"):
        return message
    names = [name for name, _ in message["attrs"]]
    assert len(names) == len(set(names)), names
    return {name: plain(value) for name, value in message["attrs"]}
