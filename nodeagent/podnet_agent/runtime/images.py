"""Images: from the words in `image` to a tree that can be a container's root.

    IMAGES/DIGEST/{rootfs,config.json}   unpacked once, by the digest of the image's config
    IMAGES/new-*                         being unpacked; renamed when it is whole

The layers of an image lie in one tree: what is below a container is one folder, and two images
share nothing.
"""

import asyncio
import contextlib
import json
import os
import shutil
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from podnet.errors import PodNetError
from podnet_agent.runtime import processes, rootfs, unpack
from podnet_agent.runtime.archives import BadImage, Contents, image_config, read_archive
from podnet_agent.runtime.bundle import ImageConfig

HOST = "host"
"""The machine's own root."""
HOST_TMPFS = ("/run", "/tmp")
"""What lies there is of the machine's running processes: sockets, pids, the agent's own files."""
NEW = "new-"


@dataclass(frozen=True, slots=True)
class Image:
    """A tree, read only, with what its maker says of the process in it.

    `parts` are folders of it with file systems of their own. In a container's sight `tmpfs` are
    empty folders, and `hidden` can't be read.
    """

    root: Path
    config: ImageConfig
    parts: tuple[str, ...] = ()
    tmpfs: tuple[str, ...] = ()
    hidden: tuple[str, ...] = ()


class Images:
    """The images of this machine; what is unpacked lies in `folder`. Lives in the asyncio loop."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._machine = os.uname().machine
        self._host = Image(
            root=Path("/"),
            config=ImageConfig(),
            parts=rootfs.parts_of_machine(),
            tmpfs=HOST_TMPFS,
            hidden=(str(folder.parent),),
        )
        self._unpacking: dict[str, asyncio.Lock] = {}

    def clear(self) -> None:
        """What an agent that was killed was unpacking goes. No other one runs."""
        for folder in self._folder.glob(f"{NEW}*"):
            shutil.rmtree(folder, ignore_errors=True)

    async def get(self, reference: str) -> Image:
        """The image, unpacked where it was not yet; PodNetError says why it can't be had."""
        if reference == HOST:
            return self._host
        path, name = _parted(reference)
        contents = await asyncio.to_thread(read_archive, path, name, self._machine)
        folder = self._folder / contents.digest.removeprefix("sha256:")
        async with self._unpacking.setdefault(contents.digest, asyncio.Lock()):
            if not folder.exists():
                await self._unpack(path, contents, folder)
        return Image(folder / "rootfs", image_config(contents.config))

    async def _unpack(self, path: Path, contents: Contents, folder: Path) -> None:
        """All of the image is in the folder, or nothing."""
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        new = Path(tempfile.mkdtemp(prefix=NEW, dir=self._folder))
        try:
            root = new / "rootfs"
            root.mkdir(mode=0o755)
            (new / "config.json").write_bytes(contents.config)
            layers = [
                {
                    "file": str(layer.file),
                    "offset": layer.offset,
                    "size": layer.size,
                    "diff_id": layer.diff_id,
                }
                for layer in contents.layers
            ]
            job = json.dumps({"root": str(root), "layers": layers})
            code, said = await processes.run([sys.executable, "-IS", unpack.__file__, job])
            if code:
                raise BadImage(f"image {path}: {said or f'unpacking ended with exit code {code}'}")
            await asyncio.to_thread(new.rename, folder)
        except OSError as error:
            raise PodNetError(f"image {path} can't be unpacked in {new}: {error}") from error
        finally:
            with contextlib.suppress(FileNotFoundError):
                await asyncio.to_thread(shutil.rmtree, new)


def _parted(reference: str) -> tuple[Path, str | None]:
    """A path, and behind a colon the name of one of several images."""
    for path, name in ((reference, ""), reference.partition(":")[::2]):
        if path.startswith("/") and os.path.exists(path):
            return Path(path), name or None
    if reference.startswith("/"):
        raise BadImage(f"image {reference} does not exist: write the path of an archive that is")
    raise BadImage(
        f"image {reference} is neither `host` nor an absolute path: podnet takes the machine's own"
        f" root, or an archive that `docker save -o /PATH {reference}` writes; it pulls none"
    )
