"""The official programs that drive CNI plugins, cnitool and crictl, built from Go's modules.

They are built once, by the versions and checksums in tests/drivers, and kept where the kind
cluster's programs are (`KIND_CACHE`).
"""

import fcntl
import hashlib
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

MODULE = Path(__file__).parents[1] / "drivers"
LINES_KEPT = 5
"""Of what Go says where it fails."""


class NoDrivers(Exception):
    """This machine can't build them; says what it lacks."""


def built() -> Path:
    """The folder with `cnitool` and `crictl`; NoDrivers. The first time takes a minute.

    Where the modules are there and do not compile, CalledProcessError.
    """
    digest = hashlib.sha256()
    for name in ("go.mod", "go.sum"):
        digest.update((MODULE / name).read_bytes())
    folder = _cache() / f"drivers-{digest.hexdigest()[:12]}"
    if folder.exists():
        return folder
    if shutil.which("go") is None:
        raise NoDrivers("cnitool and crictl are built by Go, which this machine lacks")
    folder.parent.mkdir(parents=True, exist_ok=True)
    with (folder.parent / "drivers.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.exists():
            _build(folder)
    return folder


def _build(folder: Path) -> None:
    modules = _go("list", "-deps", "tool")
    if modules.returncode:
        lines = modules.stderr.strip().splitlines()[-LINES_KEPT:]
        raise NoDrivers(f"no Go modules for cnitool and crictl: {'; '.join(lines)}")
    unfinished = folder.with_suffix(".new")
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir()
    _go("build", "-buildvcs=false", "-trimpath", "-o", f"{unfinished}/", "tool").check_returncode()
    unfinished.rename(folder)


def _go(*words: str) -> "subprocess.CompletedProcess[str]":
    environment: dict[str, Any] = {**os.environ, "CGO_ENABLED": "0", "GOFLAGS": "-mod=readonly"}
    return subprocess.run(
        ["go", *words],
        cwd=MODULE,
        env=environment,
        capture_output=True,
        text=True,
    )


def _cache() -> Path:
    given = os.environ.get("KIND_CACHE")
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return Path(given) if given else home / "podnet-kind"
