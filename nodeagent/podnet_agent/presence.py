"""Seeing to it that containerd calls podnet while the agent runs, and saying when it does not."""

import asyncio
import logging

from podnet.errors import Conflict, PodNetError
from podnet.status import Claim
from podnet_agent.install import Installation
from podnet_agent.networks import Networks
from podnet_agent.threads import Threads

log = logging.getLogger(__name__)

WAITING_SECONDS, CHECK_SECONDS = 1.0, 10.0
"""How often it is looked at: until containerd calls podnet, and from then on."""
CONDITION = "CNIConfigured"


class Presence:
    """Lives in the asyncio loop, beside the service."""

    def __init__(self, installation: Installation, networks: Networks, threads: Threads) -> None:
        self._installation, self._networks, self._threads = installation, networks, threads
        self._claim: Claim | None = None

    async def keep(self) -> None:
        """Keep the program and its configuration in place until cancelled; both stay."""
        while True:
            claim = await self._threads.read(self._look)
            if claim != self._claim:
                said = claim.message or f"containerd calls podnet: {self._installation.program}"
                log.log(logging.INFO if claim.holds else logging.WARNING, "%s", said)
                self._claim = claim
                self._networks.beside = (claim,)
                await self._networks.report()
            await asyncio.sleep(CHECK_SECONDS if claim.holds else WAITING_SECONDS)

    def _look(self) -> Claim:
        """In the reader thread: asking for STATUS needs the loop and the writer."""
        try:
            for path in self._installation.appear():
                log.info("%s: written", path)
            self._installation.refuse_foreign()
        except Conflict as error:
            return Claim(CONDITION, False, "ForeignConfiguration", str(error))
        except PodNetError as error:
            return Claim(CONDITION, False, error.reason, str(error))
        return Claim(CONDITION, True, "Installed")
