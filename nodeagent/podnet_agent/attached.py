"""Attachments by whose they are, a PodSandbox's or a Pod's: listed, explained, taken away."""

from collections.abc import Awaitable, Callable, Sequence

from podnet.attachment import Attachment
from podnet.errors import PodNetError
from podnet.objects import Netns, Observed
from podnet.status import interface_body
from podnet.views import line_body
from podnet_agent.agent import Agent
from podnet_agent.objects import Body, NotFound
from podnet_agent.reports import inode_of
from podnet_agent.threads import Threads
from podnet_agent.wiring import facts

Look = Callable[[Sequence[Netns]], Awaitable[Observed]]


class Attached:
    """Lives in the asyncio loop."""

    def __init__(self, agent: Agent, threads: Threads, look: Look) -> None:
        self._agent, self._threads, self._look = agent, threads, look

    async def all(self) -> list[Body]:
        """Every attachment of this machine, oldest first."""
        records = await self._threads.write(self._agent.store.records)
        networks = self._agent.networks
        return [
            attachment_body(record.attachment) | {"bridge": network.bridge if network else None}
            for record in records
            for network in [networks.get(record.attachment.request.network)]
        ]

    async def users(self, network: str) -> list[str]:
        """Whose attachments are on that network, in words."""
        requests = [
            record.attachment.request
            for record in await self._threads.write(self._agent.store.records)
        ]
        owners = [each.owner.replace("/", " ", 1) for each in requests if each.network == network]
        return list(dict.fromkeys(owners))

    async def explain(self, owner: str) -> Body:
        """Every kernel object of every sandbox of that owner, as of a PodSandbox; NotFound."""
        records = await self._threads.write(self._agent.store.of_owner, owner)
        if not records:
            raise NotFound(f"{owner}: podnet attached nothing of it on this node")
        observed = await self._look([each.attachment.request.netns for each in records])
        answer: Body = await self._threads.write(self._explained, owner, observed)
        return answer

    async def detach_all(self) -> list[str]:
        """Take away what CNI attached; sentences about what did not go."""
        notes = []
        for record in await self._threads.write(self._agent.store.records):
            request = record.attachment.request
            if request.cni:
                try:
                    await self._threads.write(
                        self._agent.detach, request.sandbox_id, request.ifname
                    )
                except PodNetError as error:
                    notes.append(str(error))
        return notes

    def _explained(self, owner: str, observed: Observed) -> Body:
        """In the writer thread. A Pod that is made anew may have two sandboxes for a while."""
        requests = [each.attachment.request for each in self._agent.store.of_owner(owner)]
        ids = list(dict.fromkeys(request.sandbox_id for request in requests))
        lines = [line for each in ids for line in self._agent.explain(each, observed)]
        kind, _, name = owner.partition("/")
        namespace, _, name = name.rpartition("/")
        newest = requests[-1]
        return {
            "sandbox": {
                "kind": kind,
                "metadata": {"namespace": namespace, "name": name},
                "spec": {"network": {"mode": "Bridge", "podNetwork": newest.network}},
                "status": {
                    "phase": "Attached",
                    "sandboxID": newest.sandbox_id,
                    "netns": {"path": newest.netns, "inode": inode_of(newest.netns)},
                    "interfaces": [
                        interface_body(each) for one in ids for each in facts(self._agent, one)
                    ],
                },
            },
            "lines": [line_body(line) for line in lines],
        }


def attachment_body(attachment: Attachment) -> Body:
    """As GET /attachments has it."""
    request = attachment.request
    return {
        "number": attachment.number,
        "owner": request.owner,
        "sandboxID": request.sandbox_id,
        "ifname": request.ifname,
        "network": request.network,
        "addresses": [str(interface) for interface in attachment.addresses],
        "mac": attachment.mac,
        "hostEnd": attachment.host_end,
        "netns": request.netns,
        "routes": [str(route) for route in request.routes],
        "cniNetwork": request.cni or None,
    }
