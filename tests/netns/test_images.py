"""Images from files, unpacked in a private host: layers, what they may not do, and running them."""

import gzip
import json
import os
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from support import busybox
from support.docker import Docker
from support.host import Host
from support.images import Entry, docker_archive, layer, oci_layout, tree
from support.podnet import Podnet

UNPACK = """
import asyncio, json, sys
from pathlib import Path
from podnet.errors import PodNetError
from podnet_agent.runtime.images import Images

async def main():
    images = Images(Path("/var/lib/podnet/images"))
    images.clear()
    got = await asyncio.gather(*(images.get(each) for each in sys.argv[1:]))
    print(json.dumps([str(image.root) for image in got]))

try:
    asyncio.run(main())
except PodNetError as error:
    sys.exit(str(error))
"""
IMAGES = "/var/lib/podnet/images"


def unpack(host: Host, *references: str | Path) -> list[Path]:
    """The roots the references are unpacked at, as files of the machine."""
    done = host.run([sys.executable, "-c", UNPACK, *references])
    return [host.path(root) for root in json.loads(done.stdout)]


def refusal(host: Host, reference: str | Path) -> str:
    done = host.run([sys.executable, "-c", UNPACK, reference], check=False)
    assert done.returncode == 1, done.stderr
    assert host.run(["ls", IMAGES]).stdout == ""
    return done.stderr.strip()


def listing(root: Path) -> dict[str, str]:
    """Every path below the root, with its contents or what it is."""
    found = {}
    for path in sorted(root.rglob("*")):
        name = str(path.relative_to(root))
        if path.is_symlink():
            found[name] = f"-> {path.readlink()}"
        else:
            found[name] = path.read_text() if path.is_file() else "/"
    return found


BASE: tuple[Entry, ...] = (
    ("./", "dir", ""),
    ("d/", "dir", ""),
    ("d/a", "file", "a1"),
    ("d/b", "file", "b1"),
    ("o/x", "file", "x1"),
    ("o/in/y", "file", "y1"),
    ("was-file", "file", "f"),
    ("was-dir/z", "file", "z"),
    ("link", "symlink", "d"),
)


@pytest.mark.parametrize(
    ("upper", "changed"),
    [
        pytest.param([("d/a", "file", "a2")], {"d/a": "a2"}, id="a file is replaced"),
        pytest.param([("d/.wh.a", "file", "")], {"d/a": None}, id="a whiteout takes a file away"),
        pytest.param(
            [(".wh.d", "file", "")], {"d": None, "d/a": None, "d/b": None}, id="and a folder"
        ),
        pytest.param(
            [("o/n", "file", "n"), ("o/in/k", "file", "k"), ("o/.wh..wh..opq", "file", "")],
            {"o/n": "n", "o/in/k": "k", "o/x": None, "o/in/y": None},
            id="an opaque folder shows only its own layer, whatever the order",
        ),
        pytest.param(
            [("d/.wh.a", "file", ""), ("d/a", "file", "a2")], {"d/a": "a2"}, id="away and back"
        ),
        pytest.param([("was-file/", "dir", "")], {"was-file": "/"}, id="a folder for a file"),
        pytest.param(
            [("was-dir", "file", "f")],
            {"was-dir": "f", "was-dir/z": None},
            id="a file for a folder",
        ),
        pytest.param(
            [("link/c", "file", "c")], {"d/c": "c"}, id="a link of a lower layer is followed"
        ),
        pytest.param([("d/l", "link", "o/x")], {"d/l": "x1"}, id="a hard link to a lower layer"),
        pytest.param([("n/e/w", "file", "w")], {"n": "/", "n/e": "/", "n/e/w": "w"}, id="folders"),
        pytest.param([("null", "device", "")], {}, id="a device is left out"),
        pytest.param([(".wh..wh.plnk", "file", "")], {}, id="aufs' notes are left out"),
        pytest.param([("/abs", "file", "in")], {"abs": "in"}, id="absolute is from the root"),
        pytest.param(
            [("up", "symlink", "../../../../etc"), ("up/new", "file", "in")],
            {"up": "-> ../../../../etc", "etc": "/", "etc/new": "in"},
            id="a link that climbs stays within the root",
        ),
        pytest.param(
            [("top", "symlink", "/"), ("top/new", "file", "in"), ("top/d/.wh.a", "file", "")],
            {"top": "-> /", "new": "in", "d/a": None},
            id="an absolute link stays within the root",
        ),
    ],
)
def test_layers_lie_over_each_other(
    upper: list[Entry], changed: dict[str, str | None], host: Host, tmp_path: Path
) -> None:
    path = docker_archive(tmp_path / "i.tar", [layer(*BASE), layer(*upper)])
    before = sorted(host.path("/etc").iterdir())
    base = unpack(host, docker_archive(tmp_path / "base.tar", [layer(*BASE)]))[0]
    expected = {**listing(base), **changed}
    found = listing(unpack(host, path)[0])
    assert found == {name: what for name, what in expected.items() if what is not None}
    assert sorted(host.path("/etc").iterdir()) == before


@pytest.mark.parametrize(
    ("entries", "sentence"),
    [
        ([("a/../../x", "file", "")], "an entry is named 'a/../../x': names may not climb"),
        ([("x", "link", "../../etc/passwd")], "'../../etc/passwd': names may not climb"),
        ([("x", "link", "/etc/passwd")], "a layer can't be unpacked: [Errno 2]"),
        ([(".wh...", "file", "")], "an entry is named '.wh...'"),
        ([("/", "file", "x")], "an entry stands for the root itself"),
        ([("l", "symlink", "l"), ("l/x", "file", "")], "a layer can't be unpacked"),
    ],
)
def test_what_a_layer_may_not_do(
    entries: list[Entry], sentence: str, host: Host, tmp_path: Path
) -> None:
    assert sentence in refusal(host, docker_archive(tmp_path / "i.tar", [layer(*entries)]))


def test_a_layer_that_is_not_what_the_config_says_is_refused(host: Host, tmp_path: Path) -> None:
    good, bad = layer(("a", "file", "good")), layer(("a", "file", "evil"))
    path = docker_archive(tmp_path / "i.tar", [good], written=[bad])
    assert "a layer has the digest sha256:" in refusal(host, path)
    cut = docker_archive(tmp_path / "cut.tar", [good], written=[gzip.compress(good)[:-20]])
    assert "a layer can't be unpacked" in refusal(host, cut)


def test_modes_times_and_capabilities_of_files_are_kept(host: Host, tmp_path: Path) -> None:
    # Revision 2, permitted only: CAP_NET_RAW, which is the 13th bit (linux/capability.h).
    capability = struct.pack("<5I", 0x02000000, 1 << 13, 0, 0, 0)
    header = {"SCHILY.xattr.security.capability": capability.decode("utf-8", "surrogateescape")}
    data = layer(("ping", "file", "x"), ("d/", "dir", ""), ping=header)
    root = unpack(host, docker_archive(tmp_path / "i.tar", [data]))[0]
    assert os.getxattr(root / "ping", "security.capability") == capability
    assert (root / "ping").stat().st_mode & 0o7777 == 0o644
    assert (root / "ping").stat().st_mtime == (root / "d").stat().st_mtime == 1_700_000_000


def zstd(data: bytes) -> bytes:
    return subprocess.run(["zstd", "-q"], input=data, stdout=subprocess.PIPE, check=True).stdout


@pytest.mark.parametrize("packed", [bytes, gzip.compress, zstd])
def test_compressed_layers_of_both_forms(
    packed: Callable[[bytes], bytes], host: Host, tmp_path: Path
) -> None:
    layers = [layer(*BASE), layer(("d/big", "file", "x" * 3_000_000))]
    docker = docker_archive(tmp_path / "i.tar", layers, {"User": "a"}, packed=packed)
    oci = oci_layout(tmp_path / "i", layers, {"User": "b"}, packed=packed)
    first, second = unpack(host, docker, f"{oci}:latest")
    assert first != second
    assert listing(first) == listing(second)


def test_one_image_is_unpacked_once_however_many_want_it(host: Host, tmp_path: Path) -> None:
    data = [layer(("a", "file", "a" * 1_000_000))]
    path = docker_archive(tmp_path / "i.tar", data)
    oci = oci_layout(tmp_path / "i", data)
    host.run(["mkdir", "-p", f"{IMAGES}/new-of-a-killed-agent/rootfs"])
    roots = unpack(host, path, oci, path)
    assert len(set(roots)) == 1
    assert host.run(["ls", IMAGES]).stdout.split() == [roots[0].parent.name]
    inode = roots[0].stat().st_ino
    assert unpack(host, path)[0].stat().st_ino == inode


def manifest(name: str, image: str | Path, **container: Any) -> str:
    spec = {
        "network": {"mode": "None"},
        "containers": [{"name": "c", "image": str(image), **container}],
    }
    meta = {"apiVersion": "podnet.dev/v1alpha1", "kind": "PodSandbox", "metadata": {"name": name}}
    return json.dumps({**meta, "spec": spec})


def test_an_image_runs_as_it_says(host: Host, tmp_path: Path) -> None:
    root = tree(busybox.fill(tmp_path / "root"))
    people = layer(
        ("etc/passwd", "file", "app:x:77:78::/home/app:/bin/sh\n"),
        ("etc/group", "file", "app:x:78:\nalso:x:79:app\n"),
    )
    given = {
        "Entrypoint": ["sh", "-c", 'id; pwd; echo "$A $HOME $0"; exec sleep 1000'],
        "Cmd": ["from-cmd"],
        "Env": ["A=image", "PATH=/bin"],
        "User": "app",
        "WorkingDir": "/srv",
    }
    image = docker_archive(tmp_path / "i.tar", [root, people], given)
    podnet = Podnet(host)
    podnet.agent()
    podnet.up(manifest("own", image) + "\n---\n" + manifest("other", image, args=["from-args"]))
    head = "uid=77(app) gid=78(app) groups=78(app),79(also)\n/srv\nimage /home/app "
    assert podnet.run("logs", "own").stdout == f"{head}from-cmd\n"
    assert podnet.run("logs", "other").stdout == f"{head}from-args\n"
    assert len(host.run(["ls", IMAGES]).stdout.split()) == 1


def test_what_docker_save_writes_runs(dockerd: Docker, host: Host, tmp_path: Path) -> None:
    name = "saved"
    change = ['CMD ["sh", "-c", "cat /from-docker"]', "ENV A=1"]
    dockerd.docker("run", "--name", name, "busybox", "sh", "-c", "echo yes > /from-docker")
    words = [word for each in change for word in ("--change", each)]
    dockerd.docker("commit", *words, name, "podnet-saved:1")
    dockerd.docker("rm", name)
    dockerd.docker("save", "-o", "/run/saved.tar", "podnet-saved:1")
    host.path("/run/saved.tar").write_bytes(dockerd.host.path("/run/saved.tar").read_bytes())
    podnet = Podnet(host)
    podnet.agent()
    done = podnet.run("run", "--rm", "--net=none", "--image", "/run/saved.tar:podnet-saved:1")
    assert done.stdout == "yes\n"
