"""The C programs, compiled into the wheel as its scripts; `make install` has them from here too.

They are static: a node runs them whatever it has, also where the agent is a Pod of another system.
With musl where it is there: glibc asks the processor for its features before main, and on a virtual
machine each question goes to the hypervisor. The CNI plugin starts and ends in 0.2 ms, not 0.45.
"""

import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

ROOT = Path(__file__).parent
PROGRAMS = {
    "podnet-cni": "nodeagent/cni-shim/shim.c",
    "podnet-logger": "nodeagent/logger/logger.c",
}
FLAGS = ("-O2", "-s", "-static", "-Wall", "-Wextra", "-Werror")


def build(folder: Path) -> dict[str, str]:
    """The programs are in the folder; their paths there, with their names."""
    wanted = [os.environ["CC"]] if "CC" in os.environ else ["musl-gcc", "cc"]
    compiler = next(filter(None, map(shutil.which, wanted)), None)
    if compiler is None:
        sys.exit("podnet's C programs need a C compiler: apt-get install gcc musl-tools")
    for name, source in PROGRAMS.items():
        subprocess.run([compiler, *FLAGS, "-o", folder / name, ROOT / source], check=True)
    return {str(folder / name): name for name in PROGRAMS}


class Programs(BuildHookInterface):  # type: ignore[type-arg]
    """Hatchling's hook. An editable install has no scripts of this kind: the Makefile puts them."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Before a wheel is put together."""
        if version == "editable":
            return
        self._folder = Path(tempfile.mkdtemp(prefix="podnet-programs-"))
        build_data["shared_scripts"] = build(self._folder)
        build_data["pure_python"] = False
        platform = sysconfig.get_platform().replace("-", "_").replace(".", "_")
        build_data["tag"] = f"py3-none-{platform}"

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        """After it was."""
        if version != "editable":
            shutil.rmtree(self._folder)


if __name__ == "__main__":
    build(Path(sys.argv[1]))
