"""What the API server said last, kept on the node's disk: it boots without the server (S37)."""

import json
import logging
import os
from collections.abc import Sequence
from pathlib import Path

from podnet_agent.objects import Body, name_of

log = logging.getLogger(__name__)


class Cache:
    """One file, replaced as a whole. Of another node's name it is not read."""

    def __init__(self, file: Path, node: str) -> None:
        self._file, self._node = file, node
        self._written = ""

    def load(self) -> list[Body]:
        """The objects; none where there is no such file, or it is broken."""
        try:
            text = self._file.read_text()
            kept = json.loads(text)
            if kept["node"] != self._node:
                log.warning("%s is of node %s: not used", self._file, kept["node"])
                return []
            objects: list[Body] = [each for each in kept["objects"] if name_of(each)[2]]
            return objects
        except FileNotFoundError:
            return []
        except (OSError, ValueError, KeyError, TypeError) as error:
            log.warning(
                "%s can't be read, so nothing is known before the API server answers: %s",
                self._file,
                error,
            )
            return []

    def save(self, objects: Sequence[Body]) -> None:
        """Replace the file where it says something else. After a power cut it is old or new."""
        text = json.dumps({"node": self._node, "objects": list(objects)})
        if text == self._written:
            return
        new = self._file.with_suffix(".new")
        try:
            self._file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            with open(new, "w", opener=_private) as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            new.replace(self._file)
        except OSError as error:
            log.warning(
                "%s can't be written, the node could not boot without the API server: %s",
                self._file,
                error,
            )
            return
        self._written = text


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)
