"""From what a container is to be to its bundle: image, root file system, OCI config."""

import os
import resource
from pathlib import Path

from podnet.errors import Invalid, Problem
from podnet.objects import Netns
from podnet.sandbox import ContainerSpec
from podnet_agent import files
from podnet_agent.runtime import Files, bundle, rootfs
from podnet_agent.runtime.archives import BadImage
from podnet_agent.runtime.images import Images
from podnet_agent.runtime.rootfs import NoSuchUser


class Bundles:
    """Makes the bundles of this machine's containers. Lives in the asyncio loop."""

    def __init__(self, folder: Path) -> None:
        self.images = Images(folder)
        self._machine, self._swap = os.uname().machine, bounds_swap()
        self._open_files = resource.getrlimit(resource.RLIMIT_NOFILE)
        """As the agent was started with; its own is raised later, see daemon.py."""

    async def make(
        self, at: Files, spec: ContainerSpec, shared: Path, netns: Netns, *, tty: bool
    ) -> str:
        """The container's root is mounted; returns the text of its OCI config.

        The folders of `at` are there. `shared`: the folder of what its sandbox's containers share.
        Invalid says what of the spec can't be had. What was made is the caller's to remove.
        """
        _check_mounts(spec)
        try:
            image = await self.images.get(spec.image)
            root = rootfs.mount(at.bundle, image.root, image.parts)
            user = rootfs.find_user(root, spec.user or image.config.user)
        except (BadImage, NoSuchUser) as error:
            raise Invalid([Problem(f"container {spec.name}", str(error))]) from error
        place = bundle.Place(
            id=at.id,
            root=root,
            files=shared,
            shm=shared / "shm",
            netns=netns,
            ipc=shared / "ipc",
            uts=shared / "uts",
            hostname=files.read_hostname(shared),
            tmpfs=image.tmpfs,
            hidden=image.hidden,
        )
        return bundle.config(
            spec,
            image.config,
            user,
            place,
            self._machine,
            tty=tty,
            swap=self._swap,
            open_files=self._open_files,
        )


def bounds_swap() -> bool:
    """Whether the kernel counts swap by control group: in a hierarchy of its own, or in one."""
    groups = Path("/sys/fs/cgroup")
    names = ("memory/memory.memsw.limit_in_bytes", "*/memory.swap.max")
    return any(any(groups.glob(name)) for name in names)


def _check_mounts(spec: ContainerSpec) -> None:
    for mount in spec.mounts:
        if not os.path.exists(mount.source):
            problem = f"mount source {mount.source} does not exist: create it first"
            raise Invalid([Problem(f"container {spec.name}", problem)])
