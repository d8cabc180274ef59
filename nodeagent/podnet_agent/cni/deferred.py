"""Calls that the shim wrote down while the agent was away: worked off before anything is added.

Each file is the request that would have been sent, byte by byte, and was renamed into place.
"""

import contextlib
import logging
import os
import time
from pathlib import Path

from podnet.cni.call import Call, parse
from podnet.cni.error import CniError, Code
from podnet.errors import PodNetError, Retryable
from podnet_agent.cni.http import read
from podnet_agent.cni.plugin import Plugin

log = logging.getLogger(__name__)

LEFT_OVER_SECONDS = 60.0


class Deferred:
    """The folder of such files. The writer's alone."""

    def __init__(self, folder: Path, plugin: Plugin) -> None:
        self._folder, self._plugin = folder, plugin

    def work_off(self) -> None:
        """None is left but what could not be done now. Oldest first; of several GC the newest.

        Retryable where the folder can't be read: what waits there goes before all else.
        """
        try:
            calls = self._waiting()
        except OSError as error:  # no descriptor left to open it with
            raise Retryable(
                f"calls that wait in {self._folder} can't be read: {error.strerror}"
            ) from error
        newest = {call.config.name: file for file, call in calls.items() if call.verb == "GC"}
        for file, call in calls.items():
            if call.verb == "DEL" or newest[call.config.name] == file:
                self._work(file, call)
            else:
                file.unlink()

    def _waiting(self) -> dict[Path, Call]:
        """Oldest first."""
        calls: dict[Path, Call] = {}
        try:
            names = sorted(os.listdir(self._folder))
        except FileNotFoundError:
            return calls
        for file in (self._folder / name for name in names):
            if file.name.startswith("."):
                _remove_if_left_over(file)
                continue
            try:
                calls[file] = _call(file.read_bytes())
            except CniError as error:
                log.error("%s can't be understood and is removed: %s", file, error)
                file.unlink()
        return calls

    def _work(self, file: Path, call: Call) -> None:
        try:
            self._plugin.answer(call)
        except PodNetError as error:
            log.warning("%s stays for another time: %s", file, error)
            return
        log.info("%s of %s, while no agent ran: done", call.verb, call.container_id or "all")
        file.unlink()


def _remove_if_left_over(file: Path) -> None:
    """One that is being written has a dot in front; after a minute nobody writes it any more."""
    with contextlib.suppress(FileNotFoundError):
        if time.time() - file.stat().st_mtime > LEFT_OVER_SECONDS:
            file.unlink()


def _call(data: bytes) -> Call:
    request = read(data)
    if request is None:
        raise CniError(Code.IO_FAILURE, "not a whole request", f"{len(data)} bytes")
    call = parse(request.environment, request.stdin)
    if call.verb not in ("DEL", "GC"):
        raise CniError(Code.IO_FAILURE, f"{call.verb} is not done later")
    return call
