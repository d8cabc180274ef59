"""`podnet get attachments`: every interface that podnet plugged in here, and whose it is."""

from __future__ import annotations

from podnet_cli.client import Failure, call
from podnet_cli.screen import BOLD, Columns

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    Body = dict[str, Any]

WORDS = ("attachments", "attachment", "att")
_COLUMNS: tuple[tuple[str, bool, Callable[[Body], str]], ...] = (
    ("OWNER", False, lambda body: str(body["owner"])),
    ("INTERFACE", False, lambda body: str(body["ifname"])),
    ("NETWORK", False, lambda body: str(body["network"])),
    ("ADDRESSES", False, lambda body: ",".join(body["addresses"])),
    ("HOST END", False, lambda body: str(body["hostEnd"])),
    ("MAC", True, lambda body: str(body["mac"])),
    ("SANDBOX", True, lambda body: str(body["sandboxID"])),
    ("NETNS", True, lambda body: str(body["netns"])),
)


def show(form: str, *, headings: bool) -> str:
    """The table, or with `-o json` and `-o yaml` what the agent gave."""
    items = call("GET", "/attachments")["items"]
    if form in ("json", "yaml"):
        from podnet_cli.listing import machine_text

        return machine_text({"items": items}, form)
    if form not in ("", "wide"):
        raise Failure(f"-o {form}: attachments are no objects; ask for wide, json or yaml")
    columns = [(head, cell) for head, wide, cell in _COLUMNS if form or not wide]
    rows = [[cell(body) for _, cell in columns] for body in items]
    return "\n".join(_lines([head for head, _ in columns], rows, headings=headings))


def ports(items: Sequence[Body]) -> list[Body]:
    """The attachments as `explain` wants neighbours: bridges' ports with a name each."""
    return [
        {
            "metadata": {"name": body["owner"].rpartition("/")[2]},
            "status": {
                "interfaces": [{"bridge": body["bridge"], "peer": {"name": body["hostEnd"]}}]
            },
        }
        for body in items
    ]


def _lines(heads: list[str], rows: list[list[str]], *, headings: bool) -> list[str]:
    layout = Columns([heads, *rows])
    first = [layout.line(heads, [BOLD] * len(heads))] if headings and rows else []
    return [*first, *(layout.line(row) for row in rows)]
