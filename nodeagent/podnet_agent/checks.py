"""A check of this machine as a value, and how checks are shown. Pure."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

Verdict = Literal["ok", "warning", "missing"]
"""`missing`: podnet cannot do its work without it. `warning`: not all of it."""


@dataclass(frozen=True, slots=True)
class Check:
    """What was asked, how it is, and the command that changes it; no command where none does."""

    name: str
    verdict: Verdict
    sentence: str
    command: str = ""


def is_fit(checks: Sequence[Check]) -> bool:
    """Whether podnet can do its work here."""
    return all(check.verdict != "missing" for check in checks)


def checks_body(checks: Sequence[Check]) -> dict[str, Any]:
    """As JSON has it."""
    return {"fit": is_fit(checks), "checks": [asdict(check) for check in checks]}


def lines(checks: Sequence[Check]) -> list[str]:
    """A line each, its command below it, and the sum of it all."""
    wide = max((len(check.name) for check in checks), default=0)
    shown = []
    for check in checks:
        shown.append(f"{check.verdict:<8} {check.name:<{wide}}  {check.sentence}")
        if check.command:
            shown.append(f"{'':<8} {'':<{wide}}    {check.command}")
    missing = [check.name for check in checks if check.verdict == "missing"]
    warnings = sum(check.verdict == "warning" for check in checks)
    also = f", {warnings} warning{'s' if warnings != 1 else ''}" if warnings else ""
    if missing:
        shown.append(f"this machine lacks {', '.join(missing)}{also}")
    else:
        shown.append(f"this machine is fit for podnet{also}")
    return shown
