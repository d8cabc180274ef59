"""What an image's file holds: docker-archive (`docker save`) or OCI layout, a folder or a tar.

docker-archive   manifest.json ──► config ─► diff ids          image spec: image-layout.md,
OCI layout       index.json ─► (index) ─► manifest ─► config   manifest.md, config.md
"""

import hashlib
import json
import os
import posixpath
import tarfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from podnet.errors import PodNetError
from podnet_agent.runtime.bundle import ImageConfig

ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}
"""Go's names of machines, by uname's."""
INDEXES = (
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
)
REF_NAME = "org.opencontainers.image.ref.name"
LONGEST_JSON = 4 << 20
"""Bytes: what registries take as a manifest (distribution spec)."""

Json = dict[str, Any]


class BadImage(PodNetError):
    """The image's file is not what it should be."""


@dataclass(frozen=True, slots=True)
class Layer:
    """A layer's bytes: where they stand, and the digest they have without their compression."""

    file: Path
    offset: int
    size: int
    diff_id: str


@dataclass(frozen=True, slots=True)
class Contents:
    """One image: its config's digest (which covers all of it), the config's text, the layers."""

    digest: str
    config: bytes
    layers: tuple[Layer, ...]


class Archive:
    """A folder or a tar with parts by name."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._members: dict[str, tarfile.TarInfo] = {}
        if not path.is_dir():
            try:
                with tarfile.open(path, "r:") as tar:
                    self._members = {posixpath.normpath(each.name): each for each in tar}
            except tarfile.TarError as error:
                raise BadImage(
                    f"image {path} is no tar archive ({error}): write one with `docker save -o`,"
                    f" unpack it where it is compressed"
                ) from error

    def has(self, name: str) -> bool:
        """Whether there is a part of that name."""
        return self._found(name) is not None

    def read(self, name: str, digest: str | None = None) -> bytes:
        """A small part's bytes, of that digest."""
        file, offset, size = self.find(name)
        if size > LONGEST_JSON:
            raise BadImage(f"image {self.path}: {name} is larger than {LONGEST_JSON} bytes")
        with open(file, "rb") as source:
            source.seek(offset)
            data = source.read(size)
        if digest is not None and digest != digest_of(data):
            raise BadImage(
                f"image {self.path} is damaged: {name} has the digest {digest_of(data)}, not"
                f" {digest}: make the file again"
            )
        return data

    def find(self, name: str) -> tuple[Path, int, int]:
        """Where a part's bytes are: file, offset, length."""
        found = self._found(name)
        if found is None:
            raise BadImage(f"image {self.path}: {name} is missing: make the file again")
        return found

    def _found(self, name: str) -> tuple[Path, int, int] | None:
        name = posixpath.normpath(name)
        if name.startswith(("/", "../")):
            return None
        if self._members:
            member = self._members.get(name)
            if member is not None and member.issym():  # older dockers link equal layers
                target = posixpath.join(posixpath.dirname(name), member.linkname)
                member = self._members.get(posixpath.normpath(target))
            if member is None or not member.isreg():
                return None
            return self.path, member.offset_data, member.size
        file = Path(os.path.realpath(self.path / name))
        if not file.is_relative_to(os.path.realpath(self.path)) or not file.is_file():
            return None
        return file, 0, file.stat().st_size


def read_archive(path: Path, name: str | None, machine: str) -> Contents:
    """The one image of a file, or the one of that name; BadImage says what is wrong."""
    archive = Archive(path)
    try:
        if archive.has("index.json"):
            contents = _oci(archive, name, machine)
        elif archive.has("manifest.json"):
            contents = _docker(archive, name)
        else:
            raise BadImage(
                f"image {path} holds neither manifest.json (docker save) nor index.json (OCI"
                f" layout): write it with `docker save -o {path} IMAGE`"
            )
        _check_machine(path, _json(contents.config), machine)
    except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
        raise BadImage(
            f"image {path}: its manifest is not of the form that was expected"
            f" ({type(error).__name__}: {error}): make the file again"
        ) from error
    return contents


def image_config(config: bytes) -> ImageConfig:
    """What the image's config says of the process."""
    given = _json(config).get("config") or {}
    return ImageConfig(
        entrypoint=tuple(given.get("Entrypoint") or ()),
        cmd=tuple(given.get("Cmd") or ()),
        env=tuple(given.get("Env") or ()),
        working_dir=given.get("WorkingDir") or "",
        user=given.get("User") or "",
    )


def digest_of(data: bytes) -> str:
    """As images write it."""
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def _docker(archive: Archive, name: str | None) -> Contents:
    entries = json.loads(archive.read("manifest.json"))
    names = [list(entry.get("RepoTags") or ()) for entry in entries]
    entry = entries[_choose(archive.path, names, name)]
    return _contents(archive, archive.read(entry["Config"]), entry["Layers"])


def _oci(archive: Archive, name: str | None, machine: str) -> Contents:
    entries = _json(archive.read("index.json"))["manifests"]
    fitting = [each for each in entries if fits(each, machine)]
    names = [
        [each.get("annotations", {}).get(key) for key in (REF_NAME, "io.containerd.image.name")]
        for each in fitting
    ]
    entry = fitting[_choose(archive.path, names, name)]
    while entry["mediaType"] in INDEXES:
        inner = _json(_blob(archive, entry))["manifests"]
        fitting = [each for each in inner if fits(each, machine)]
        entry = fitting[_choose(archive.path, [[] for _ in fitting], None)]
    manifest = _json(_blob(archive, entry))
    blobs = [_blob_name(each["digest"]) for each in manifest["layers"]]
    return _contents(archive, _blob(archive, manifest["config"]), blobs)


def _contents(archive: Archive, config: bytes, names: list[str]) -> Contents:
    diff_ids = _json(config)["rootfs"]["diff_ids"]
    if len(diff_ids) != len(names):
        raise BadImage(
            f"image {archive.path} is damaged: its manifest has {len(names)} layers, its config"
            f" {len(diff_ids)}: make the file again"
        )
    found = (archive.find(name) for name in names)
    layers = (Layer(*where, diff_id) for where, diff_id in zip(found, diff_ids, strict=True))
    return Contents(digest_of(config), config, tuple(layers))


def _choose(path: Path, names: list[list[str | None]], wanted: str | None) -> int:
    """Which of several images is meant."""
    known = [[name for name in each if name] for each in names]
    words = ", ".join(name for each in known for name in each)
    if wanted is None:
        if len(names) != 1:
            raise BadImage(
                f"image {path} holds {len(names)} images that fit this machine: write {path}:NAME,"
                f" where NAME is one of: {words or 'none has a name'}"
            )
        return 0
    for number, each in enumerate(known):
        if wanted in each or f"{wanted}:latest" in each:
            return number
    raise BadImage(f"image {path} holds no image named {wanted}, but: {words or 'one of no name'}")


def fits(entry: Json, machine: str) -> bool:
    """Whether a descriptor is for this machine, as far as it says."""
    platform = entry.get("platform")
    ours = {"os": "linux", "architecture": ARCHITECTURES.get(machine, machine)}
    return not platform or all(platform.get(key) == value for key, value in ours.items())


def _check_machine(path: Path, config: Json, machine: str) -> None:
    ours, its = ARCHITECTURES.get(machine, machine), config.get("architecture")
    if its and its != ours:
        raise BadImage(f"image {path} is for {its}, this machine is {ours}: take one for {ours}")


def _blob(archive: Archive, descriptor: Json) -> bytes:
    digest = descriptor["digest"]
    return archive.read(_blob_name(digest), digest)


def _blob_name(digest: str) -> str:
    algorithm, _, encoded = digest.partition(":")
    if algorithm != "sha256" or not encoded.isalnum():
        raise ValueError(f"{digest} is no sha256 digest")
    return f"blobs/{algorithm}/{encoded}"


def _json(data: bytes) -> Json:
    parsed: Json = json.loads(data)
    return parsed
