"""Interfaces given to running sandboxes by hand: `podnet attach` and `podnet detach`.

They go the one way of every attachment. They last as long as the sandbox's network namespace.
"""

from collections.abc import Callable
from ipaddress import ip_address, ip_network
from typing import Any

from podnet.addresses import IPAddress, IPNetwork
from podnet.attachment import IFNAME, MAC, Attachment, AttachRequest
from podnet.errors import Conflict, Invalid, Problem
from podnet.objects import Netns
from podnet_agent.agent import Agent
from podnet_agent.attached import attachment_body
from podnet_agent.objects import Body, NotFound, Write, name_of
from podnet_agent.sandboxes import Sandboxes
from podnet_agent.wiring import OWN_IFNAME

_OPTION = {"addresses": "--address", "routes": "--route"}


class Wires:
    """Lives in the asyncio loop."""

    def __init__(self, agent: Agent, write: Write, sandboxes: Sandboxes) -> None:
        self._agent, self._write, self._sandboxes = agent, write, sandboxes

    async def attach(self, owner: Body, given: Body) -> Body:
        """Plug a running sandbox into a network; Invalid with every problem of what was given."""
        _refuse_borrowed(owner)
        request = _request(owner, given)
        await self._sandboxes.need_network(request.network)
        attachment: Attachment = await self._write(self._agent.attach, request)
        self._sandboxes.refresh(name_of(owner))
        return attachment_body(attachment)

    async def detach(self, owner: Body, ifname: str) -> None:
        """Take an interface away; NotFound where there is none."""
        name = owner["metadata"]["name"]
        if ifname == OWN_IFNAME and owner["spec"].get("network", {}).get("mode") != "None":
            raise Conflict(
                f"{ifname} is podsandbox {name}'s own interface, from its spec.network: delete the"
                f" sandbox to take it away"
            )
        if not await self._write(self._agent.detach, owner["status"].get("sandboxID", ""), ifname):
            raise NotFound(f"podsandbox {name} has no interface {ifname} from podnet")
        self._sandboxes.refresh(name_of(owner))


def _refuse_borrowed(owner: Body) -> None:
    """Docker's refusal to connect what has no network namespace of its own."""
    name = owner["metadata"]["name"]
    if owner["spec"].get("network", {}).get("mode") in ("Host", "Container"):
        raise Conflict(
            f"podsandbox {name}: container sharing network namespace with another container or host"
            f" cannot be connected to any other network"
        )
    if not owner["status"].get("netns"):
        raise Conflict(
            f"podsandbox {name} has no network namespace yet: `podnet describe psb {name}` says why"
        )


def _request(owner: Body, given: Body) -> AttachRequest:
    problems: list[Problem] = []

    def parsed(key: str, parse: Callable[[str], Any], right: str) -> list[Any]:
        found = []
        for text in given.get(key) or ():
            try:
                found.append(parse(str(text)))
            except ValueError:
                problems.append(Problem(_OPTION[key], f"{text!r} is no {right}"))
        return found

    addresses: list[IPAddress] = parsed("addresses", ip_address, "address: write 172.17.0.9")
    routes: list[IPNetwork] = parsed("routes", ip_network, "destination: write 10.9.0.0/16")
    ifname, mac = str(given.get("ifname") or ""), given.get("mac")
    if not IFNAME.fullmatch(ifname):
        problems.append(
            Problem(
                "--ifname",
                f"{ifname!r} is no interface name: 1 to 15 bytes without / : % or blanks",
            )
        )
    if mac is not None and not MAC.fullmatch(str(mac).lower()):
        problems.append(Problem("--mac", f"{mac!r} is no MAC of one machine: 02:42:ac:11:00:09"))
    if len({address.version for address in addresses}) < len(addresses):
        problems.append(Problem("--address", "is given twice for one family: leave one out"))
    if problems:
        raise Invalid(problems)
    meta, status = owner["metadata"], owner["status"]
    return AttachRequest(
        sandbox_id=status["sandboxID"],
        ifname=ifname,
        netns=Netns(status["netns"]["path"]),
        network=str(given.get("network") or "default"),
        owner=f"PodSandbox/{meta['namespace']}/{meta['name']}",
        addresses=tuple(addresses),
        mac=str(mac).lower() if mac else None,
        routes=tuple(routes),
        by_hand=True,
    )
