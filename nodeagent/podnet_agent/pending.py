"""Of a plan's operations, those that can be carried out now. Pure."""

from collections.abc import Collection, Sequence
from dataclasses import replace

from podnet.desired import port_objects
from podnet.errors import Conflict
from podnet.network import Network
from podnet.objects import KernelObject, Namespace, Netns, Observed, Ruleset, Veth
from podnet.plan import Add, Operation, Remove
from podnet.shortcuts import endpoint_objects
from podnet_agent.kernel import ApplyError
from podnet_agent.store import Record


def without_younger(observed: Observed, younger: Sequence[Record]) -> Observed:
    """Elements carry no number: those of attachments younger than the look are taken out."""
    keys = {thing.key for record in younger for thing in port_objects(record.attachment)}
    keys |= {thing.key for record in younger for thing in endpoint_objects(record.attachment)}
    if not keys:
        return observed
    kept = {key: found for key, found in observed.seen.items() if key not in keys}
    return replace(observed, seen=kept)


def with_younger(pending: list[Operation], younger: Sequence[Record]) -> list[Operation]:
    """A table that is loaded is empty: their elements go in with it, in one transaction."""
    for place, each in enumerate(pending, start=1):
        if isinstance(each.what, Ruleset) and not isinstance(each, Remove):
            elements = [
                Add(thing)
                for record in younger
                if record.state == "ready"
                for thing in port_objects(record.attachment)
            ]
            return [*pending[:place], *elements, *pending[place:]]
    return pending


def without_basis(pending: Sequence[Operation], error: ApplyError) -> list[Operation]:
    """Without what hangs on a link that could not be made: one of its name may be another's."""
    if not isinstance(error.failed, Add):
        return list(pending)
    missing, left = {error.failed.what.key}, []
    for each in pending:
        if missing.isdisjoint((each.what.within, *each.what.needs)):
            left.append(each)
        else:
            missing.add(each.what.key)
    return left


def is_in(thing: KernelObject, places: Collection[Netns]) -> bool:
    """Whether it is one of these namespaces, or in one, or leads there."""
    if isinstance(thing, Namespace):
        return thing.path in places
    return thing.netns in places or (isinstance(thing, Veth) and thing.pod_netns in places)


def conflicts_of(conflicts: Sequence[Conflict], network: Network) -> tuple[Conflict, ...]:
    """Those that keep one network from being as it should."""
    return tuple(conflict for conflict in conflicts if f"{network.cause} " in str(conflict))
