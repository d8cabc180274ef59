"""The two images: small, and without work left for the first start."""

import json

import pytest

from support.cluster import Cluster

PROGRAMS = {
    "operator": ("deployment/podnet-operator", 160),
    "agent": ("daemonset/podnet-agent", 180),
}
"""What runs each, and the megabytes it may have: Debian's Python is some 110 of them."""
UNCOMPILED = """
import importlib.util, json, pathlib, sysconfig
folders = {sysconfig.get_path(name) for name in ("stdlib", "purelib", "platlib")}
skipped = ("test", "tests", "idlelib", "lib2to3", "ensurepip", "dist-packages")
files = {
    file
    for folder in folders
    for file in pathlib.Path(folder).rglob("*.py")
    if not set(file.relative_to(folder).parts[:-1]) & set(skipped)
}
missing = [str(f) for f in files if not pathlib.Path(importlib.util.cache_from_source(f)).exists()]
print(json.dumps([len(files), sorted(missing)]))
"""


@pytest.mark.parametrize("program", PROGRAMS)
def test_an_image_is_small(deployed: Cluster, program: str) -> None:
    inspect = ("docker", "image", "inspect", f"podnet/{program}:dev")
    (image,) = json.loads(deployed.in_cluster(*inspect).stdout)
    assert image["Size"] < PROGRAMS[program][1] * 1e6


@pytest.mark.parametrize("program", PROGRAMS)
def test_all_that_is_imported_is_compiled(deployed: Cluster, program: str) -> None:
    """Nobody may write there at run time, so each start would compile anew."""
    what, _ = PROGRAMS[program]
    run = ("exec", "--namespace=podnet-system", what, "--", "python3", "-c", UNCOMPILED)
    count, missing = json.loads(deployed.kubectl(*run))
    assert count > 500
    assert missing == []
