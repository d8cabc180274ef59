"""Files put in place whole: who reads or runs them meanwhile never meets half of one (S30)."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from podnet.errors import PodNetError
from podnet_agent.placing import own_program, place, remove


def test_a_file_is_there_with_its_mode_and_twice_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "deep/down/file"
    assert place(path, b"one", 0o755)
    before = path.stat()
    assert (path.read_bytes(), before.st_mode & 0o7777) == (b"one", 0o755)
    assert not place(path, b"one", 0o755)
    assert path.stat() == before


@pytest.mark.parametrize(("content", "mode"), [(b"two", 0o755), (b"one", 0o644)])
def test_another_content_or_mode_is_another_file(tmp_path: Path, content: bytes, mode: int) -> None:
    path = tmp_path / "file"
    place(path, b"one", 0o755)
    with path.open("rb") as old:
        assert place(path, content, mode)
        assert old.read() == b"one"
    assert (path.read_bytes(), path.stat().st_mode & 0o7777) == (content, mode)
    assert os.listdir(tmp_path) == ["file"]


def test_a_link_is_replaced_and_what_it_leads_to_stays(tmp_path: Path) -> None:
    (tmp_path / "other").write_text("other's")
    (tmp_path / "file").symlink_to("other")
    place(tmp_path / "file", b"ours", 0o644)
    assert not (tmp_path / "file").is_symlink()
    assert (tmp_path / "other").read_text() == "other's"


def test_what_can_not_be_put_is_said_and_nothing_is_left(tmp_path: Path) -> None:
    (tmp_path / "file").mkdir()
    with pytest.raises(PodNetError, match=f"file can't be put at {tmp_path}/file: Is a directory"):
        place(tmp_path / "file", b"", 0o644)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_removing_takes_what_a_killed_one_left_and_nothing_else(tmp_path: Path) -> None:
    for name in ("file", ".file.x7", ".file2", "file.conf"):
        (tmp_path / name).write_text("")
    assert remove(tmp_path / "file")
    assert not remove(tmp_path / "file")
    assert sorted(os.listdir(tmp_path)) == [".file2", "file.conf"]
    assert not remove(tmp_path / "nowhere/file")


REPLACING = """
import sys
from pathlib import Path
from podnet_agent.placing import own_program, place
program = own_program("podnet-cni")
for number in range(300):
    place(Path(sys.argv[1]), program + bytes(number % 2), 0o755)
"""


def test_a_program_can_be_started_at_any_moment_of_its_replacement(tmp_path: Path) -> None:
    """Never ETXTBSY, never half a program: it is written under another name."""
    program = tmp_path / "podnet-cni"
    place(program, own_program("podnet-cni"), 0o755)
    seen, starts = set(), 0
    with subprocess.Popen([sys.executable, "-c", REPLACING, program]) as replacing:
        while replacing.poll() is None:
            done = subprocess.run(
                [program],
                env={"CNI_COMMAND": "VERSION"},
                stdin=subprocess.DEVNULL,
                capture_output=True,
            )
            assert done.returncode == 0 and b"supportedVersions" in done.stdout
            seen.add(program.stat().st_mtime_ns)
            starts += 1
    assert replacing.returncode == 0
    assert len(seen) > 10 and starts > 10


def test_a_program_that_did_not_come_with_podnet_is_named() -> None:
    with pytest.raises(PodNetError, match="podnet-nothing is neither beside"):
        own_program("podnet-nothing")
