"""Files that others read or run at any moment: put in place whole, by rename in the same folder."""

import contextlib
import os
import shutil
import sys
import tempfile
from pathlib import Path

from podnet.errors import PodNetError


def place(path: Path, content: bytes, mode: int) -> bool:
    """The file has this content and mode; False where it had them. Its folder is made if need be.

    Who has the old one open, or runs it, goes on with that. A power cut leaves the old or the new.
    """
    try:
        with contextlib.suppress(FileNotFoundError):
            if path.read_bytes() == content and path.stat().st_mode & 0o7777 == mode:
                return False
        path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        file, name = tempfile.mkstemp(dir=path.parent, prefix=_unfinished(path))
        try:
            with open(file, "wb") as new:
                new.write(content)
                new.flush()
                os.fchmod(file, mode)
                os.fsync(file)
            os.rename(name, path)  # after it was closed: what is open for writing can't be run
        except BaseException:
            os.unlink(name)
            raise
    except OSError as error:
        raise PodNetError(f"{path.name} can't be put at {path}: {error.strerror}") from error
    return True


def remove(path: Path) -> bool:
    """The file is gone, with what a killed `place` may have left; False where it was not there."""
    try:
        for unfinished in path.parent.glob(f"{_unfinished(path)}*"):
            unfinished.unlink(missing_ok=True)
        path.unlink()
    except FileNotFoundError:
        return False
    except OSError as error:
        raise PodNetError(f"{path} can't be removed: {error.strerror}") from error
    return True


def own_program(name: str) -> bytes:
    """A program that came with this agent: compiled, to be put where a node finds it."""
    # Beside our own programs, before PATH: a virtual environment need not be in there.
    own = os.pathsep.join((os.path.dirname(sys.executable), os.environ.get("PATH", "")))
    source = shutil.which(name, path=own)
    if source is None:
        raise PodNetError(
            f"{name} is neither beside {sys.executable} nor in PATH: podnet's wheel and"
            f" `make install` bring it"
        )
    return Path(source).read_bytes()


def _unfinished(path: Path) -> str:
    """How names of files begin that are not whole; to containerd they are no configurations."""
    return f".{path.name}."
