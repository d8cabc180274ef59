"""Where this node's containerd looks for CNI plugins and their configurations, by its own word."""

import os
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from glob import glob
from pathlib import Path
from typing import Any

from podnet.errors import PodNetError

CONFIG = Path("/etc/containerd/config.toml")
_CRI = ("io.containerd.cri.v1.runtime", "io.containerd.grpc.v1.cri", "cri")
"""The plugin that calls CNI, in versions 3, 2 and 1 of the file."""


@dataclass(frozen=True, slots=True)
class CniFolders:
    """The two folders; containerd's own defaults (pkg/cri/config) where it names none."""

    programs: Path = Path("/opt/cni/bin")
    configurations: Path = Path("/etc/cni/net.d")


def cni_folders(config: Path = CONFIG) -> CniFolders:
    """As the file and those that it imports say; a later one has the last word."""
    found = CniFolders()
    for path, content in _with_imports(config):
        plugins = _table(content, "plugins", path)
        for cri in _CRI:
            cni = _table(_table(plugins, cri, path), "cni", path)
            programs, configurations = (
                cni.get("bin_dirs") or cni.get("bin_dir"),
                cni.get("conf_dir"),
            )
            if isinstance(programs, list):  # since 2.1; the first one is tried first
                programs = programs[0]
            if not all(isinstance(each, str | None) for each in (programs, configurations)):
                raise _unreadable(path, f"plugins.{cri!r}.cni names no folders")
            found = CniFolders(
                Path(programs or found.programs), Path(configurations or found.configurations)
            )
    return found


def _with_imports(config: Path) -> Iterator[tuple[Path, Mapping[str, Any]]]:
    """Files in containerd's order: one, then what it imports. Each is read once."""
    waiting, seen = [config], set[Path]()
    while waiting:
        path = waiting.pop(0)
        if path in seen:
            continue
        seen.add(path)
        try:
            content = tomllib.loads(path.read_text())
        except FileNotFoundError:
            continue
        except (OSError, ValueError) as error:
            raise _unreadable(path, str(error)) from error
        yield path, content
        imports = content.get("imports", [])
        if not isinstance(imports, list) or not all(isinstance(each, str) for each in imports):
            raise _unreadable(path, "imports is no list of paths")
        for each in imports:
            there = os.path.normpath(path.parent / each)  # an absolute one stays as it is
            waiting += map(Path, sorted(glob(there)) if "*" in there else [there])


def _table(content: Mapping[str, Any], name: str, path: Path) -> Mapping[str, Any]:
    found = content.get(name, {})
    if not isinstance(found, dict):
        raise _unreadable(path, f"{name} is no table")
    return found


def _unreadable(path: Path, problem: str) -> PodNetError:
    return PodNetError(
        f"{path}: {problem}: repair it, or say where containerd looks with --bin-dir and --conf-dir"
    )
