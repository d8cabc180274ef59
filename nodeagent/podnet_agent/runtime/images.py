"""Images: from the words in `image` to a tree that can be a container's root."""

from dataclasses import dataclass
from pathlib import Path

from podnet.errors import PodNetError
from podnet_agent.runtime.bundle import ImageConfig

HOST = "host"
"""The machine's own root."""
HOST_TMPFS = ("/run", "/tmp")
"""What lies there is of the machine's running processes: sockets, pids, the agent's own files."""


@dataclass(frozen=True, slots=True)
class Image:
    """A tree, read only, with what its maker says of the process in it."""

    root: Path
    config: ImageConfig
    tmpfs: tuple[str, ...] = ()
    hidden: tuple[str, ...] = ()


class Images:
    """The images of this machine; what is unpacked lies in `folder`, by digest."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    async def get(self, reference: str) -> Image:
        """The image, unpacked where it was not yet."""
        if reference == HOST:
            return Image(Path("/"), ImageConfig(), HOST_TMPFS, (str(self._folder.parent),))
        raise PodNetError(f"image {reference} is not known")
