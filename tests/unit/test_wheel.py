"""The wheel brings all that podnet needs where it is installed, C programs too."""

import zipfile
from pathlib import Path

from hatchling.builders.wheel import WheelBuilder

ROOT = Path(__file__).parents[2]


def wheel(folder: Path) -> Path:
    (built,) = WheelBuilder(str(ROOT)).build(directory=str(folder), versions=["standard"])
    return Path(built)


def test_the_c_programs_are_scripts_of_the_wheel(tmp_path: Path) -> None:
    built = wheel(tmp_path / "one")
    assert "-py3-none-linux_" in built.name  # of any Python, of one architecture
    with zipfile.ZipFile(built) as archive:
        scripts = {
            Path(entry.filename).name: (archive.read(entry)[:4], entry.external_attr >> 16 & 0o777)
            for entry in archive.infolist()
            if ".data/scripts/" in entry.filename
        }
    program = (b"\x7fELF", 0o755)
    assert scripts == {"podnet-cni": program, "podnet-logger": program}
    assert wheel(tmp_path / "two").read_bytes() == built.read_bytes()
