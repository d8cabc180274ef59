"""What runc says when it can't, as a sentence. It has words only: there is no errno to go by."""

import re

from podnet.errors import PodNetError
from podnet_agent.runtime import CannotRun

_SAID = re.compile(r'msg="((?:[^"\\]|\\.)*)"')
_PREFIX = re.compile(
    r"^(failed to create shim task: |OCI runtime (create|exec) failed: |(runc \w+|exec) failed: "
    r"|unable to start container process: )+"
)
"""Of runc, its shim and containerd, each before the other's words."""
NOT_FOUND, NOT_ALLOWED = 127, 126
"""What a shell, and `docker run`, exit with for a command that is not there, or no program."""


def failure(name: str, said: str) -> PodNetError:
    """The error that its words mean; CannotRun where it is the command's."""
    match = _SAID.search(said)
    words = re.sub(r"\\(.)", r"\1", match[1]) if match else said
    words = _PREFIX.sub("", words.strip()) or "runc failed and said nothing"
    if words.startswith("exec: "):
        command = words.removeprefix("exec: ")
        if "not found" in words or "no such file" in words:
            return CannotRun(name, f"command {command}", NOT_FOUND)
        if "permission denied" in words or "is a directory" in words:
            return CannotRun(name, f"command {command}", NOT_ALLOWED)
    return PodNetError(f"container {name}: {words}")
