"""Overlap: two ranges that hold the same addresses, so that one of them can't be used (S11)."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from podnet.addresses import IPNetwork


@dataclass(frozen=True, slots=True)
class Range:
    """Addresses that belong to somebody."""

    owner: str  # as a sentence names it: "PodNetwork/blue", "node w1"
    network: IPNetwork


def overlaps(networks: Sequence[Range], taken: Iterable[Range]) -> dict[str, str]:
    """A sentence for each owner in `networks` whose range is another's already.

    `networks` comes with the one first that stays: what an earlier one has, a later one can't.
    What was refused is in nobody's way.
    """
    others = list(taken)
    refused: dict[str, str] = {}
    for each in networks:
        other = next((other for other in others if _same(each, other)), None)
        if other is not None:
            refused.setdefault(
                each.owner,
                f"{each.network} overlaps {other.network} of {other.owner}: delete {each.owner} and"
                f" make it with another range",
            )
        if each.owner not in refused:
            others.append(each)
    return refused


def _same(one: Range, other: Range) -> bool:
    mine, theirs = one.network, other.network
    return (
        one.owner != other.owner
        and mine.version == theirs.version
        and bool(theirs.prefixlen)
        and mine.overlaps(theirs)
    )
