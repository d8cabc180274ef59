"""Records that were lost are made anew, of what the kernel has and what libcni remembers of it.

The kernel holds pairs, addresses and namespaces; whose they are, and what was asked for, is told by
libcni's file about the same ADD. Where both agree the attachment is as if it had never been lost.
"""

import logging
import os
import socket
from collections.abc import Iterator, Mapping
from pathlib import Path

from podnet.attachment import AttachRequest
from podnet.cni.cached import cached
from podnet.errors import PodNetError
from podnet.objects import TRASH_GROUP
from podnet_agent.agent import Agent
from podnet_agent.cni.plugin import request_of
from podnet_agent.links import Link, links, namespace_id, number_of
from podnet_agent.namespaces import entered, interface_index, route_socket
from podnet_agent.observe import is_marked
from podnet_agent.store import Survivor

log = logging.getLogger(__name__)


def recall(agent: Agent, results: Path) -> None:
    """Before the first look: running Pods keep address and network. Writer thread.

    Nothing is done where there are records. Numbers of links that nobody knows are not given out
    again either way.
    """
    if agent.store.newest():
        return
    with route_socket() as route:
        ends = {link.name: link for link in links(route) if number_of(link)}
        newest = max(map(number_of, ends.values()), default=0)
        found = list(_survivors(agent, results, route, ends))
    for name in agent.store.restore(newest, found):
        log.warning("%s: its record was lost, and is made anew", name)


def _survivors(
    agent: Agent, results: Path, route: socket.socket, ends: Mapping[str, Link]
) -> Iterator[Survivor]:
    """What libcni remembers and the kernel confirms. A boot leaves files about what is gone."""
    if not (ends and results.is_dir()):
        return
    for file in sorted(results.iterdir()):
        try:
            remembered = cached(file.read_bytes())
            if remembered is None or (end := ends.get(remembered.host_end)) is None:
                continue
            request = request_of(remembered.call)
            network = agent.network(request.network)
            if _leads_there(route, end, request):
                yield Survivor(number_of(end), network, request, remembered.addresses)
        except (OSError, PodNetError) as error:
            log.warning("%s tells of nothing that is there: %s", file, error)


def _leads_there(route: socket.socket, end: Link, request: AttachRequest) -> bool:
    """Whether the pair's other end is the interface of that name in that namespace."""
    if not is_marked(end) or end.group == TRASH_GROUP or end.peer_nsid is None:
        return False
    fd = os.open(request.netns, os.O_RDONLY | os.O_CLOEXEC)
    try:
        if namespace_id(route, fd) != end.peer_nsid:
            return False
    finally:
        os.close(fd)
    with entered(request.netns), route_socket() as inside:
        return interface_index(inside, request.ifname) == end.peer
