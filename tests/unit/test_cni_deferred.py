"""What the CNI shim wrote down while no agent ran, where it can't be read."""

from pathlib import Path
from typing import Any

import pytest

from podnet.errors import Retryable
from podnet_agent.cni.deferred import Deferred


def test_a_folder_that_cant_be_read_is_a_refusal_and_no_crash(tmp_path: Path) -> None:
    """As where the process has no file descriptor left."""
    folder = tmp_path / "cni"
    folder.write_text("no folder")
    nobody: Any = None
    with pytest.raises(Retryable, match=f"calls that wait in {folder} can't be read: Not a dir"):
        Deferred(folder, nobody).work_off()
    folder.unlink()
    Deferred(folder, nobody).work_off()  # nothing there is nothing to do
