"""Watching objects at the agent. `podnet run` loads this, so its imports are few."""

from __future__ import annotations

import time

from podnet_cli.client import Request, path_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from podnet.kinds import Kind

    Body = dict[str, Any]
    Name = tuple[Kind, str, str]


def states(name: Name, deadline: float) -> Iterator[Body | None]:
    """The object as it is and as it becomes, None whenever it is not there, until the deadline."""
    kind, namespace, wanted = name
    known = False
    for event, body in events(kind, namespace if kind.namespaced else None, deadline):
        if event == "BOOKMARK":
            if not known:
                yield None
        elif body["metadata"]["name"] == wanted:
            known = True
            yield None if event == "DELETED" else body


def events(kind: Kind, namespace: str | None, deadline: float) -> Iterator[tuple[str, Body]]:
    """What happens to objects of a kind; BOOKMARK once all there are were told. TimeoutError."""
    request = Request("GET", path_of("watch", kind.plural, namespace=namespace))
    try:
        request.limit(deadline - time.monotonic())
        for event in request.events():
            yield event["type"], event["object"]
            request.limit(deadline - time.monotonic())
    finally:
        request.close()
