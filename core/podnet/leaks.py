"""Records, kernel and runtime held against each other: what one has and the others don't. Pure."""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

from podnet.attachment import Attachment, AttachRequest
from podnet.plan import Operation, Remove

BY_ITSELF = "the agent, by itself within seconds; its log says what keeps it"
BY_RUNTIME = "DEL or GC by the runtime, or a restart of the agent"


@dataclass(frozen=True, slots=True)
class Leak:
    """Something nobody needs any more: why it is one, and what takes it away."""

    kind: str
    name: str
    owner: str
    why: str
    removed_by: str


def leaks(
    begun: Sequence[Attachment],
    strays: Sequence[Attachment],
    ready: Sequence[Attachment],
    operations: Sequence[Operation],
    known: Collection[str] | None,
) -> Iterator[Leak]:
    """Every orphan. `begun`: attachments that are not whole; `strays`: their namespace is gone.

    `operations`: what a reconcile would do now; `known`: ids of the runtime's sandboxes, None
    where it can't be asked.
    """
    for attachment in begun:
        yield _attachment(attachment, "was begun or given up, and that was not ended", BY_ITSELF)
    for attachment in strays:
        why = f"its network namespace {attachment.request.netns} is gone"
        yield _attachment(attachment, why, BY_RUNTIME)
    numbers = {attachment.number for attachment in strays}
    for attachment in ready:
        request = attachment.request
        is_known = known is None or not request.cni or request.sandbox_id in known
        if not is_known and attachment.number not in numbers:
            yield _attachment(attachment, "the runtime has no such sandbox", _remedy(request))
    for operation in operations:
        if isinstance(operation, Remove):
            kind, netns, name = operation.what.key
            where = f"{netns}: {name}" if netns else name
            yield Leak(kind, where, "", "it bears podnet's mark and no record wants it", BY_ITSELF)


def _attachment(attachment: Attachment, why: str, removed_by: str) -> Leak:
    request = attachment.request
    addresses = ", ".join(str(interface.ip) for interface in attachment.addresses)
    name = f"{request.ifname} of {request.sandbox_id} ({addresses})"
    return Leak("attachment", name, request.owner, why, removed_by)


def _remedy(request: AttachRequest) -> str:
    return f"GC by the runtime (CNI 1.1); or `umount {request.netns}`, then a restart of the agent"
