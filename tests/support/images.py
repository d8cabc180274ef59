"""Image files made for a test: layers of a few entries, as `docker save` or as an OCI layout."""

import hashlib
import io
import json
import tarfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

KINDS = {
    "dir": tarfile.DIRTYPE,
    "link": tarfile.LNKTYPE,
    "symlink": tarfile.SYMTYPE,
    "fifo": tarfile.FIFOTYPE,
    "device": tarfile.CHRTYPE,
}
Entry = tuple[str, str, str]
"""Name, kind (`file` or one of KINDS), contents or target."""


def layer(*entries: Entry, **headers: dict[str, str]) -> bytes:
    """A layer's tar; `headers`: pax headers by an entry's name."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for name, kind, text in entries:
            member = tarfile.TarInfo(name)
            member.mode = 0o755 if kind == "dir" else 0o644
            member.mtime = 1_700_000_000
            member.pax_headers = headers.get(name, {})
            if kind == "file":
                member.size = len(text.encode())
                tar.addfile(member, io.BytesIO(text.encode()))
                continue
            member.type, member.linkname = KINDS[kind], text
            member.devmajor, member.devminor = 1, 3
            tar.addfile(member)
    return buffer.getvalue()


def tree(folder: Path) -> bytes:
    """A layer of a whole folder."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        tar.add(folder, ".")
    return buffer.getvalue()


def digest(data: bytes) -> str:
    """As images write it."""
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def config(layers: Sequence[bytes], given: dict[str, Any], architecture: str = "amd64") -> bytes:
    """An image's config."""
    diff_ids = [digest(each) for each in layers]
    rootfs = {"type": "layers", "diff_ids": diff_ids}
    body = {"architecture": architecture, "os": "linux", "config": given, "rootfs": rootfs}
    return json.dumps(body).encode()


def docker_archive(
    path: Path,
    layers: Sequence[bytes],
    given: dict[str, Any] | None = None,
    *,
    tags: Sequence[str] = ("test:latest",),
    packed: Callable[[bytes], bytes] = bytes,
    written: Sequence[bytes] | None = None,
    architecture: str = "amd64",
) -> Path:
    """What `docker save` writes. `written`: other layers than the config speaks of."""
    text = config(layers, given or {}, architecture)
    name = f"{digest(text).removeprefix('sha256:')}.json"
    parts = {name: text}
    for number, data in enumerate(layers if written is None else written):
        parts[f"{number}/layer.tar"] = packed(data)
    names = [part for part in parts if part.endswith("layer.tar")]
    manifest = [{"Config": name, "RepoTags": list(tags), "Layers": names}]
    parts["manifest.json"] = json.dumps(manifest).encode()
    with tarfile.open(path, "w") as tar:
        for part, data in parts.items():
            member = tarfile.TarInfo(part)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return path


def oci_layout(
    folder: Path,
    layers: Sequence[bytes],
    given: dict[str, Any] | None = None,
    *,
    names: Sequence[str | None] = ("latest",),
    packed: Callable[[bytes], bytes] = bytes,
    platforms: Sequence[str] = (),
) -> Path:
    """An OCI layout as a folder; with `platforms`, an index of one image for each."""
    blobs = folder / "blobs/sha256"
    blobs.mkdir(parents=True)

    def blob(data: bytes, kind: str, **fields: Any) -> dict[str, Any]:
        (blobs / digest(data).removeprefix("sha256:")).write_bytes(data)
        media = f"application/vnd.oci.image.{kind}"
        return {"mediaType": media, "digest": digest(data), "size": len(data), **fields}

    def image(architecture: str) -> bytes:
        text = config(layers, given or {}, architecture)
        parts = {
            "schemaVersion": 2,
            "config": blob(text, "config.v1+json"),
            "layers": [blob(packed(each), "layer.v1.tar") for each in layers],
        }
        return json.dumps(parts).encode()

    entries = []
    for name in names:
        fields = {"annotations": {"org.opencontainers.image.ref.name": name}} if name else {}
        if platforms:
            inner = [
                blob(
                    image(each), "manifest.v1+json", platform={"os": "linux", "architecture": each}
                )
                for each in platforms
            ]
            index = json.dumps({"schemaVersion": 2, "manifests": inner}).encode()
            entries.append(blob(index, "index.v1+json", **fields))
        else:
            entries.append(blob(image("amd64"), "manifest.v1+json", **fields))
    (folder / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": entries}))
    (folder / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
    return folder
