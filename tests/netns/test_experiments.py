"""The experiments' pages, executed as a person would: every output is compared, nothing is left."""

import os
from pathlib import Path
from typing import Any

import pytest

from support.host import Host
from support.podnet import PROGRAM, Podnet

ROOT = Path(__file__).parents[2]
PAGES = {page.parent.name: page for page in sorted(ROOT.glob("experiments/*/README.md"))}
OPTIONS = ["--language=shell", "--timeout=20", "--pretty=none", "--no-progress-bar"]
PASTE = ["--options", "+paste"]
"""A word in angle brackets means the same value wherever a page has it."""


def test_there_is_a_page_for_each_mode() -> None:
    assert [*PAGES] == ["bridge", "container", "host", "none"]


@pytest.mark.parametrize("page", [*PAGES.values(), ROOT / "README.md"], ids=[*PAGES, "readme"])
def test_a_page_is_true_and_leaves_nothing_behind(page: Path, host: Host) -> None:
    before = machine(host)
    podnet = Podnet(host)
    podnet.run("up")
    fresh = machine(host)
    byexample = [PROGRAM.with_name("byexample"), *OPTIONS, *PASTE, page.name]
    done = host.run(byexample, cwd=page.parent, env=environment(), check=False, timeout=50)
    assert done.returncode == 0, done.stdout + done.stderr
    assert podnet.json("get", "podsandboxes", "--all-namespaces")["items"] == []
    assert machine(host) == fresh
    podnet.run("down")
    assert machine(host) == before


def environment() -> dict[str, str]:
    """That of a person who has podnet's programs on the PATH."""
    return {**os.environ, "PATH": f"{PROGRAM.parent}:{os.environ['PATH']}"}


def machine(host: Host) -> dict[str, Any]:
    """All that a page could leave behind: links, addresses, routes, rules, names, processes.

    Whether a bridge has a carrier is none of it, nor is the folder that `ip netns` needs.
    """

    def lines(*command: str) -> list[str]:
        return host.run(command).stdout.splitlines()

    return {
        "links": sorted(host.links()),
        "addresses": lines("ip", "-4", "-oneline", "address"),
        "routes": [line.replace("linkdown", "").rstrip() for line in lines("ip", "-4", "route")],
        "rules": lines("nft", "list", "ruleset"),
        "namespaces": lines("ip", "netns", "list"),
        "processes": sorted(
            {"conmon", "runc", "busybox", "sleep"} & {*lines("ps", "-eo", "comm=")}
        ),
        "mounts": [line for line in lines("findmnt", "-rno", "TARGET") if line != "/run/netns"],
    }
