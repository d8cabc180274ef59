"""What makes objects and what takes them away again, as a person would type it."""

from collections.abc import Callable, Iterable

from podnet.commands import commands
from podnet.objects import NOTHING, KernelObject
from podnet.plan import as_seen, plan

Typed = Callable[..., tuple[int, str, str]]
"""`podnet` with these words: its exit code, output and error output."""


def lines(objects: Iterable[KernelObject]) -> list[str]:
    """The commands of the plan that makes the objects."""
    return [line for operation in plan(objects, NOTHING).operations for line in commands(operation)]


def undoing(objects: Iterable[KernelObject]) -> list[str]:
    """The commands of the plan that takes them away again."""
    return [
        line for operation in plan((), as_seen(objects)).operations for line in commands(operation)
    ]
