"""What an image's file holds: both forms, their names and machines, and what is wrong with some."""

import io
import json
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from podnet_agent.runtime.archives import BadImage, image_config, read_archive
from podnet_agent.runtime.bundle import ImageConfig
from support.images import config, digest, docker_archive, layer, oci_layout

ONE, TWO = layer(("a", "file", "1")), layer(("b", "file", "2"))
GIVEN = {"Entrypoint": ["/a"], "Cmd": None, "Env": ["A=1"], "WorkingDir": "/w", "User": "u"}


def test_a_docker_archive_is_read(tmp_path: Path) -> None:
    path = docker_archive(tmp_path / "i.tar", [ONE, TWO], GIVEN)
    contents = read_archive(path, None, "x86_64")
    assert contents.digest == digest(config([ONE, TWO], GIVEN))
    assert [each.diff_id for each in contents.layers] == [digest(ONE), digest(TWO)]
    for found, data in zip(contents.layers, (ONE, TWO), strict=True):
        assert found.file.read_bytes()[found.offset :][: found.size] == data
    assert image_config(contents.config) == ImageConfig(("/a",), (), ("A=1",), "/w", "u")


def test_an_oci_layout_is_read_as_a_folder_and_as_a_tar(tmp_path: Path) -> None:
    folder = oci_layout(tmp_path / "i", [ONE, TWO], GIVEN)
    archive = tmp_path / "i.tar"
    with tarfile.open(archive, "w") as tar:
        tar.add(folder, ".")
    for path in (folder, archive):
        contents = read_archive(path, None, "x86_64")
        assert contents.digest == digest(config([ONE, TWO], GIVEN))
        sizes = [(each.diff_id, each.size) for each in contents.layers]
        assert sizes == [(digest(ONE), len(ONE)), (digest(TWO), len(TWO))]


def test_an_image_says_nothing_where_it_says_nothing() -> None:
    assert image_config(b'{"config": null}') == image_config(b"{}") == ImageConfig()


def test_the_image_for_this_machine_is_taken(tmp_path: Path) -> None:
    folder = oci_layout(tmp_path / "i", [ONE], platforms=("arm64", "amd64"))
    assert json.loads(read_archive(folder, None, "x86_64").config)["architecture"] == "amd64"
    assert json.loads(read_archive(folder, None, "aarch64").config)["architecture"] == "arm64"


def test_one_of_several_images_is_taken_by_its_name(tmp_path: Path) -> None:
    folder = oci_layout(tmp_path / "i", [ONE], names=("one", "two:latest"))
    assert read_archive(folder, "one", "x86_64") == read_archive(folder, "two", "x86_64")
    with pytest.raises(BadImage, match=r"holds 2 images .*: write .*/i:NAME, .* one, two:latest"):
        read_archive(folder, None, "x86_64")
    with pytest.raises(BadImage, match=r"holds no image named three, but: one, two:latest"):
        read_archive(folder, "three", "x86_64")


def test_an_image_of_another_machine_is_refused(tmp_path: Path) -> None:
    path = docker_archive(tmp_path / "i.tar", [ONE], architecture="arm64")
    with pytest.raises(BadImage, match="is for arm64, this machine is amd64: take one for amd64"):
        read_archive(path, None, "x86_64")


def no_tar(folder: Path) -> Path:
    (folder / "i").write_bytes(b"\x1f\x8b" + b"x" * 4000)
    return folder / "i"


def nothing_in_it(folder: Path) -> Path:
    (folder / "i").mkdir()
    return folder / "i"


def config_changed(folder: Path) -> Path:
    path = oci_layout(folder / "i", [ONE], GIVEN)
    text = config([ONE], GIVEN)
    blob = path / "blobs/sha256" / digest(text).removeprefix("sha256:")
    blob.write_bytes(text.replace(b"/a", b"/b"))
    return path


def layer_missing(folder: Path) -> Path:
    path = oci_layout(folder / "i", [ONE])
    (path / "blobs/sha256" / digest(ONE).removeprefix("sha256:")).unlink()
    return path


def layer_outside(folder: Path) -> Path:
    path = oci_layout(folder / "i", [ONE])
    blob = path / "blobs/sha256" / digest(ONE).removeprefix("sha256:")
    blob.unlink()
    blob.symlink_to("/etc/passwd")
    return path


def one_layer_too_few(folder: Path) -> Path:
    return docker_archive(folder / "i", [ONE, TWO], written=[ONE])


def other_form(folder: Path) -> Path:
    (folder / "i").mkdir()
    (folder / "i/manifest.json").write_text('{"a": 1}')
    return folder / "i"


def no_json(folder: Path) -> Path:
    (folder / "i").mkdir()
    (folder / "i/index.json").write_bytes(b"\xff{")
    return folder / "i"


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (no_tar, r"is no tar archive .*: write one with `docker save -o`"),
        (nothing_in_it, r"holds neither manifest\.json \(docker save\) nor index\.json"),
        (config_changed, r"is damaged: blobs/sha256/\w+ has the digest sha256:\w+, not sha256:"),
        (layer_missing, r"blobs/sha256/\w+ is missing: make the file again"),
        (layer_outside, r"blobs/sha256/\w+ is missing: make the file again"),
        (one_layer_too_few, r"its manifest has 1 layers, its config 2"),
        (other_form, r"its manifest is not of the form that was expected"),
        (no_json, r"its manifest is not of the form that was expected"),
    ],
)
def test_what_is_wrong_is_said(make: Callable[[Path], Path], sentence: str, tmp_path: Path) -> None:
    with pytest.raises(BadImage, match=sentence):
        read_archive(make(tmp_path), None, "x86_64")


def test_equal_layers_of_older_dockers_are_links(tmp_path: Path) -> None:
    path = docker_archive(tmp_path / "i.tar", [ONE])
    with tarfile.open(path, "a") as tar:
        link = tarfile.TarInfo("9/layer.tar")
        link.type, link.linkname = tarfile.SYMTYPE, "../0/layer.tar"
        tar.addfile(link)
        manifest = json.dumps(
            [{"Config": "c.json", "RepoTags": None, "Layers": ["0/layer.tar", "9/layer.tar"]}]
        ).encode()
        for name, data in (("c.json", config([ONE, ONE], {})), ("manifest.json", manifest)):
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    first, second = read_archive(path, None, "x86_64").layers
    assert first == second
