"""The experiments' pages, executed as a person would: every output is compared, nothing is left."""

import os
from pathlib import Path
from typing import Any

import pytest

from support.host import Host
from support.pages import OF_CLUSTERS, OVERVIEW, PAGES, ROOT, follow
from support.podnet import PROGRAM, Podnet

HERE = {name: page for name, page in PAGES.items() if name not in OF_CLUSTERS}
HERE |= {"overview": OVERVIEW, "readme": ROOT / "README.md"}


def test_there_is_a_page_for_each_mode() -> None:
    assert {"bridge", "container", "host", "none"} <= {*HERE}


@pytest.mark.parametrize("page", [*HERE.values()], ids=[*HERE])
def test_a_page_is_true_and_leaves_nothing_behind(page: Path, host: Host) -> None:
    before = machine(host)
    podnet = Podnet(host)
    podnet.run("up")
    fresh = machine(host)
    done = host.run(follow(page, 20), cwd=page.parent, env=environment(), check=False, timeout=50)
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
