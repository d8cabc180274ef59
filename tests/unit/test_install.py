"""Where containerd looks for CNI plugins, and whose configuration it takes."""

import json
from pathlib import Path

import pytest

from podnet.errors import Conflict, PodNetError
from podnet_agent.install import CONFLIST, Installation
from podnet_agent.runtime.containerd.config import CniFolders, cni_folders
from support.shim import SOURCE

DEFAULTS = CniFolders(Path("/opt/cni/bin"), Path("/etc/cni/net.d"))
CRI = '[plugins."io.containerd.grpc.v1.cri".cni]\n'
CONFIGS = {
    "no file": (None, DEFAULTS),
    "an empty file": ("", DEFAULTS),
    "nothing of CNI": ('version = 2\n[plugins."io.containerd.grpc.v1.cri"]\n', DEFAULTS),
    "Debian's": (
        f'version = 2\n{CRI}bin_dir = "/usr/lib/cni"\nconf_dir = "/etc/cni/net.d"\n',
        CniFolders(Path("/usr/lib/cni"), DEFAULTS.configurations),
    ),
    "version 1": (
        '[plugins.cri.cni]\nbin_dir = "/b"\nconf_dir = "/c"\n',
        CniFolders(Path("/b"), Path("/c")),
    ),
    "version 3": (
        "version = 3\n[plugins.'io.containerd.cri.v1.runtime'.cni]\nbin_dir = '/b'\n",
        CniFolders(Path("/b"), DEFAULTS.configurations),
    ),
    "version 3 with several folders": (
        "version = 3\n[plugins.'io.containerd.cri.v1.runtime'.cni]\n"
        "bin_dirs = ['/first', '/second']\nconf_dir = '/c'\n",
        CniFolders(Path("/first"), Path("/c")),
    ),
    "empty words": (f'{CRI}bin_dir = ""\nconf_dir = ""\nbin_dirs = []\n', DEFAULTS),
}


@pytest.mark.parametrize(("text", "folders"), CONFIGS.values(), ids=CONFIGS)
def test_containerd_says_where_it_looks(
    tmp_path: Path, text: str | None, folders: CniFolders
) -> None:
    config = tmp_path / "config.toml"
    if text is not None:
        config.write_text(text)
    assert cni_folders(config) == folders


def test_imported_files_have_the_last_word_and_may_import_each_other(tmp_path: Path) -> None:
    config = tmp_path / "config.toml"
    (tmp_path / "d").mkdir()
    config.write_text(f'imports = ["d/*.toml", "{tmp_path}/other.toml"]\n{CRI}bin_dir = "/main"\n')
    (tmp_path / "d/1.toml").write_text(f'{CRI}bin_dir = "/one"\nconf_dir = "/one"\n')
    (tmp_path / "d/2.toml").write_text(f'imports = ["../config.toml"]\n{CRI}bin_dir = "/two"\n')
    assert cni_folders(config) == CniFolders(Path("/two"), Path("/one"))
    (tmp_path / "other.toml").write_text(f'{CRI}conf_dir = "/other"\n')
    assert cni_folders(config) == CniFolders(Path("/two"), Path("/other"))


@pytest.mark.parametrize(
    "text",
    [
        "a = ",
        "plugins = 1",
        "imports = 1",
        "imports = [1]",
        f"{CRI}bin_dir = 1",
        f"{CRI}bin_dirs = [1]",
    ],
)
def test_a_file_that_can_not_be_read_is_named_with_the_remedy(tmp_path: Path, text: str) -> None:
    config = tmp_path / "config.toml"
    config.write_text(text)
    with pytest.raises(PodNetError, match=f"^{config}: .*--bin-dir and --conf-dir$"):
        cni_folders(config)


@pytest.fixture
def installation(tmp_path: Path) -> Installation:
    (tmp_path / "net.d").mkdir()
    return Installation(tmp_path / "bin", tmp_path / "net.d")


OTHER = json.dumps({"cniVersion": "1.0.0", "name": "other", "plugins": [{"type": "bridge"}]})
CHAIN = json.dumps({"name": "chain", "plugins": [{"type": "podnet-cni"}, {"type": "bandwidth"}]})
FOLDERS: dict[str, tuple[dict[str, str], str | None]] = {
    "nothing else": ({}, None),
    "one behind ours": ({"87-podman.conflist": OTHER, "10-q.conf": OTHER}, None),
    "one before ours": ({"10-containerd-net.conflist": OTHER, "05-x.json": OTHER}, "05-x.json"),
    "one that is no JSON": ({"05-x.conf": "{"}, "05-x.conf"),
    "one that is none": ({"05-x.conf": "[]"}, "05-x.conf"),
    "of another suffix": ({"05-x.txt": OTHER, "05-x.conflist.off": OTHER, ".05-x": OTHER}, None),
    "a chain with podnet in it": ({"05-x.conflist": CHAIN}, None),
    "that chain and another behind it": ({"05-x.conflist": CHAIN, "06-x.conf": OTHER}, None),
    "another before that chain": (
        {"04-x.conflist": OTHER, "05-x.conflist": CHAIN},
        "04-x.conflist",
    ),
    "letters before digits do not count": ({"A.conf": OTHER}, None),
    "a dot is before all": ({".conf": OTHER}, ".conf"),
}


@pytest.mark.parametrize(("files", "foreign"), FOLDERS.values(), ids=FOLDERS)
def test_the_first_configuration_by_name_is_the_one_that_counts(
    installation: Installation, files: dict[str, str], foreign: str | None
) -> None:
    """S32"""
    (installation.configurations / "00-folder.conf").mkdir()
    for name, text in files.items():
        (installation.configurations / name).write_text(text)
    expected = installation.configurations / foreign if foreign else None
    assert installation.foreign() == expected
    if expected:
        with pytest.raises(Conflict, match=f"^{expected} comes before 10-podnet.conflist"):
            installation.refuse_foreign()
    else:
        installation.refuse_foreign()


def test_a_folder_that_is_not_there_has_no_foreign_configuration(tmp_path: Path) -> None:
    assert Installation(tmp_path, tmp_path / "nowhere").foreign() is None


def test_uninstalling_takes_both_files_and_nothing_else(installation: Installation) -> None:
    installation.programs.mkdir()
    others = [installation.programs / "bridge", installation.configurations / "87-podman.conflist"]
    ours = [installation.configuration, installation.program]
    for path in (*ours, *others):
        path.write_text("")
    assert installation.remove() == ours
    assert installation.remove() == []
    assert all(path.exists() for path in others)


def test_what_containerd_reads_is_what_the_program_speaks() -> None:
    assert CONFLIST["cniVersion"] == "1.0.0"  # the newest of containerd 1.6
    for version in CONFLIST["cniVersions"]:
        assert f'\\"{version}\\"' in SOURCE.read_text()
