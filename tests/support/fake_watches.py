"""What the fake API server tells of a change: each watch, by its selector, its own event."""

import asyncio
import copy
from dataclasses import dataclass, field
from typing import Any

from support.fake_kinds import Body


@dataclass(eq=False)
class Watch:
    """One stream."""

    plural: str
    selector: str
    queue: asyncio.Queue[Body | None] = field(default_factory=asyncio.Queue)

    def hear(self, change: "Change") -> None:
        """Something changed: for who selects, an object comes and goes also by its fields."""
        if event := change.as_seen(self.selector):
            self.queue.put_nowait(event)


@dataclass(frozen=True)
class Change:
    """One write: what stood there before, and what after it."""

    version: int
    old: Body | None
    new: Body | None

    def as_seen(self, selector: str) -> Body | None:
        """The event of it, for a watch with that selector."""
        was, now = selects(selector, self.old), selects(selector, self.new)
        if now:
            return {"type": "MODIFIED" if was else "ADDED", "object": self.new}
        if not was:
            return None
        last = copy.deepcopy(self.new or self.old)
        assert last is not None
        last["metadata"]["resourceVersion"] = str(self.version)
        return {"type": "DELETED", "object": last}


def selects(selector: str, body: Body | None) -> bool:
    """Whether the object is there, and has all fields as a field selector says."""
    for part in filter(None, selector.split(",")):
        path, _, wanted = part.partition("=")
        value: Any = body
        for word in path.split("."):
            value = value.get(word) if isinstance(value, dict) else None
        if value != wanted:
            return False
    return body is not None
