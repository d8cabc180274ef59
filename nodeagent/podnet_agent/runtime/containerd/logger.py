"""The program that writes containers' logs on the node: put where the node finds it.

containerd's shim starts it there, so the agent's image brings it, and a folder that agent and node
share takes it over. See nodeagent/logger/logger.c for what it does.
"""

import os
import shutil
import sys
import tempfile
from pathlib import Path

from podnet.errors import PodNetError

NAME = "podnet-logger"


def install(folder: Path) -> Path:
    """The program in `folder` is the one that came with this agent; where it is."""
    # Beside our own programs, before PATH: a virtual environment need not be in there.
    own = os.pathsep.join((os.path.dirname(sys.executable), os.environ.get("PATH", "")))
    source, target = shutil.which(NAME, path=own), folder / NAME
    if source is None:
        raise PodNetError(
            f"{NAME} is neither beside {sys.executable} nor in PATH: `make install` compiles it,"
            f" and the agent's image has it"
        )
    try:
        wanted = Path(source).read_bytes()
        if target.exists() and target.read_bytes() == wanted:
            return target
        folder.mkdir(mode=0o755, parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=folder, delete=False) as new:
            new.write(wanted)
        os.chmod(new.name, 0o755)
        os.rename(new.name, target)  # whoever runs the old one goes on
    except OSError as error:
        raise PodNetError(f"{NAME} can't be put at {target}: {error.strerror}") from error
    return target
