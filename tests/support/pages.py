"""The experiments' pages, executed as a person would: every output is compared."""

from pathlib import Path

from support.podnet import PROGRAM

ROOT = Path(__file__).parents[2]
PAGES = {page.parent.name: page for page in sorted(ROOT.glob("experiments/*/README.md"))}
"""By their folders' names; each is followed in its folder."""
OF_CLUSTERS = ("agent-killed", "between-nodes")
"""What one machine has not: other nodes, an agent that something starts anew."""
OVERVIEW = ROOT / "experiments/README.md"
OPTIONS = ["--language=shell", "--pretty=none", "--no-progress-bar", "--fail-fast"]
PASTE = ["--options", "+paste +norm-ws"]
"""A word in angle brackets means the same value wherever a page has it. How much space is between
two words depends on how long those are that differ."""


def follow(page: Path, seconds: int) -> list[str]:
    """The command that follows a page; each of the page's commands may take so long."""
    byexample = str(PROGRAM.with_name("byexample"))
    return [byexample, *OPTIONS, f"--timeout={seconds}", *PASTE, page.name]
