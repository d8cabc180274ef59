"""Calls that the shim wrote down while the agent was away: worked off before anything is added.

Each file is the request that would have been sent, byte by byte, and was renamed into place.
"""

import logging
from pathlib import Path

from podnet.cni.call import Call, parse
from podnet.cni.error import CniError, Code
from podnet.errors import PodNetError
from podnet_agent.cni.http import read
from podnet_agent.cni.plugin import Plugin

log = logging.getLogger(__name__)


class Deferred:
    """The folder of such files. Writer thread only."""

    def __init__(self, folder: Path, plugin: Plugin) -> None:
        self._folder, self._plugin = folder, plugin
        self._seen: int | None = None  # when the folder was changed, as of the last time

    def work_off(self) -> None:
        """None is left but what could not be done now; one look at the folder where none is new."""
        try:
            changed = self._folder.stat().st_mtime_ns
            if changed == self._seen:
                return
            files = [each for each in self._folder.iterdir() if not each.name.startswith(".")]
        except FileNotFoundError:
            return
        # Its time is kept before the work: what comes meanwhile is a reason to look again.
        self._seen = changed
        for file in sorted(files, key=lambda each: each.name):
            self._work(file)

    def _work(self, file: Path) -> None:
        try:
            call = _call(file.read_bytes())
            self._plugin.answer(call)
            log.info("%s of %s, while no agent ran: done", call.verb, call.container_id or "all")
        except CniError as error:
            log.error("%s can't be understood and is removed: %s", file, error)
        except PodNetError as error:
            log.warning("%s stays for another time: %s", file, error)
            self._seen = None
            return
        file.unlink(missing_ok=True)


def _call(data: bytes) -> Call:
    request = read(data)
    if request is None:
        raise CniError(Code.IO_FAILURE, "not a whole request", f"{len(data)} bytes")
    call = parse(request.environment, request.stdin)
    if call.verb not in ("DEL", "GC"):
        raise CniError(Code.IO_FAILURE, f"{call.verb} is not done later")
    return call
