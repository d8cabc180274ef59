"""The desired objects of one sandbox beside what is seen: cause, command, kernel."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from podnet.commands import commands
from podnet.objects import KernelObject, Observed, Seen
from podnet.plan import Add

Verdict = Literal["right", "missing", "differs", "foreign"]


@dataclass(frozen=True, slots=True)
class Line:
    """One object: `what.cause` names the field that wants it, `found` what the kernel has."""

    what: KernelObject
    commands: tuple[str, ...]
    found: Seen | None

    @property
    def verdict(self) -> Verdict:
        """Whether the kernel holds the object as it should be."""
        if self.found is None:
            return "missing"
        if not self.found.ours:
            return "foreign"
        return "right" if self.found.what == self.what else "differs"


def explain(objects: Iterable[KernelObject], observed: Observed) -> tuple[Line, ...]:
    """One line an object, in the order given."""
    return tuple(
        Line(thing, commands(Add(thing)), observed.seen.get(thing.key)) for thing in objects
    )
