"""Errors, named by who can do something about them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar


class PodNetError(Exception):
    """What podnet can say in a sentence: the object, what is, what should be, the remedy."""

    reason: ClassVar[str] = "Failed"
    """A condition's word for it; an error of its own name has that."""

    def __init_subclass__(cls) -> None:
        cls.reason = vars(cls).get("reason", cls.__name__)


class Retryable(PodNetError):
    """The world may change: the same request can succeed later."""

    reason = "Waiting"


class PodNetworkMissing(Retryable):
    """There is no network of that name, or it can't be built yet."""


class SubnetOverlaps(Retryable):
    """A network's range is another's, too, or one that the machine has a route to."""


class Conflict(PodNetError):
    """A person decides: something that is not podnet's stands where an object of ours belongs."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One mistake in what a person wrote: where it stands, and what would be right."""

    place: str
    message: str


class Invalid(PodNetError):
    """What a person wrote can't be meant; every mistake at once, nothing was touched."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(f"{each.place}: {each.message}" for each in self.problems))
