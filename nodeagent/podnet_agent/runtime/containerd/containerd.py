"""The runtime of a cluster's node: its containerd.

    record (Containers) ──names──► snapshot: the image's layers, a writable one above
       └─ task (Tasks): the shim, runc, the first process;  podnet-logger writes its log

Made in this order and removed in the other one: a snapshot that no record names is collected, and
a record tells the next agent what is to be removed. Seen from here and from the node, the bundle's
folder and the shared one have the same paths.
"""

import asyncio
import contextlib
import hashlib
import os
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from podnet.errors import Invalid, PodNetError, Problem
from podnet.objects import Netns
from podnet.sandbox import ContainerSpec
from podnet_agent.bundles import bounds_swap
from podnet_agent.files import read_hostname
from podnet_agent.runtime import Files, bundle, rootfs, runc
from podnet_agent.runtime.archives import BadImage
from podnet_agent.runtime.bundle import Place, User
from podnet_agent.runtime.containerd import logger, messages
from podnet_agent.runtime.containerd.client import Client, NotFound
from podnet_agent.runtime.containerd.images import NodeImage, NodeImages
from podnet_agent.runtime.containerd.leases import SANDBOX_LABEL, Leases
from podnet_agent.runtime.containerd.tasks import Tasks
from podnet_agent.runtime.rootfs import NoSuchUser

EXECUTE = "podnet_agent.runtime.containerd.execute"
SNAPSHOTTER = "overlayfs"
"""containerd's default; `kind load` and the CRI unpack images for it."""
SHIM = "io.containerd.runc.v2"
SPEC = "types.containerd.io/opencontainers/runtime-spec/1/Spec"
CONTAINER_LABEL = "podnet.dev/container"
"""With the sandbox's, what tells ours; without the CRI's own labels it does not list them."""
_ID = re.compile(r"[A-Za-z0-9]+([-._][A-Za-z0-9]+)*")
"""containerd's identifiers."""


def record_id(files: Files) -> str:
    """The container's name in containerd, which takes no two dashes in a row as a pod's name may
    have."""
    if _ID.fullmatch(files.id):
        return files.id
    return f"{files.id.partition('-')[0]}-{hashlib.sha256(files.name.encode()).hexdigest()[:32]}"


class Containerd:
    """The containerd that listens on `socket`. Lives in the asyncio loop.

    `folder`: where the bundles lie; `programs`: where the node finds what it starts for us.
    """

    def __init__(self, socket: Path, folder: Path, programs: Path) -> None:
        self._socket, self._folder, self._programs = socket, folder, programs
        self._machine, self._swap = os.uname().machine, bounds_swap()
        # More at once are no sooner done: making one is work for two processors.
        self._making = asyncio.Semaphore(2 * (os.cpu_count() or 1))
        self._is_open = False

    async def open(self) -> None:
        """Connected, and the logger is where the node finds it."""
        self._logger = await asyncio.to_thread(logger.install, self._programs)
        self._client = Client(self._socket)
        self._leases = Leases(self._client)
        self._images = NodeImages(self._client, self._leases, self._machine)
        self._tasks = Tasks(self._client)
        self._is_open = True

    async def close(self) -> None:
        """Nothing is watched any more. The containers go on."""
        if not self._is_open:  # opening failed, and its error is the one to be told
            return
        await self._tasks.close()
        await self._client.close()

    async def sandbox_ids(self) -> set[str]:
        """The sandboxes that records, leases or bundles tell of."""
        records = await self._records(f'labels."{SANDBOX_LABEL}"')
        bundles = {name.partition("-")[0] for name in os.listdir(self._folder)}
        held = await self._leases.sandbox_ids()
        return {record.labels[SANDBOX_LABEL] for record in records} | bundles | held

    async def names(self, sandbox_id: str) -> set[str]:
        """The sandbox's containers that records or bundles tell of."""
        records = await self._records(f'labels."{SANDBOX_LABEL}"=={sandbox_id}')
        parts = (name.partition("-") for name in os.listdir(self._folder))
        bundles = {name for owner, _, name in parts if owner == sandbox_id}
        return {record.labels[CONTAINER_LABEL] for record in records} | bundles

    async def _records(self, wanted: str) -> tuple[messages.Record, ...]:
        request = messages.Filters((wanted,))
        found = await self._client.call("containers.v1.Containers/List", request, messages.Records)
        return found.containers

    async def create(
        self,
        files: Files,
        spec: ContainerSpec,
        shared: Path,
        netns: Netns,
        *,
        stdin: bool,
        tty: bool,
        held: bool,
    ) -> None:
        """Make record, snapshot and task; its first process waits to be started."""
        if held or stdin or tty:
            raise PodNetError(
                f"container {spec.name}: `podnet run` is for one machine: on a cluster's node apply"
                f" a PodSandbox, and reach into it with `podnet exec -it`"
            )
        try:
            async with self._making:
                image = await self._images.get(spec.image, record_id(files))
                mounts = await self._prepare(files, image)
                user = find_user(_layers(mounts), spec, image)
                place = Place(
                    id=files.id,
                    root=Path("rootfs"),
                    files=shared,
                    shm=shared / "shm",
                    netns=netns,
                    ipc=shared / "ipc",
                    uts=shared / "uts",
                    hostname=read_hostname(shared),
                    tmpfs=image.tmpfs,
                    hidden=image.hidden,
                )
                config = bundle.config(
                    spec,
                    image.config,
                    user,
                    place,
                    self._machine,
                    tty=tty,
                    swap=self._swap,
                    open_files=None,
                )
                await self._write_config(files, config)
                output = f"binary://{self._logger}?log={files.log}"
                await self._tasks.create(files, record_id(files), mounts, output)
        except (BadImage, NoSuchUser) as error:
            raise Invalid([Problem(f"container {spec.name}", str(error))]) from error

    async def _prepare(self, files: Files, image: NodeImage) -> tuple[messages.Mount, ...]:
        """How the root is mounted, of a container with a record; the image is held meanwhile.

        Each question to containerd takes milliseconds, so what needs not wait does not.
        """
        owner, key = files.id.partition("-")[0], record_id(files)
        if not image.chain:
            await self._write_record(files, image)
            return self._node_mounts(files)
        mounts, held = await asyncio.gather(
            self._snapshot(files, image),
            self._leases.hold(owner, key, image.name, image.digest),
            return_exceptions=True,  # who fails is cleaned up behind, and nothing may come after
        )
        for each in (held, mounts):
            if isinstance(each, BaseException):
                raise each
        assert isinstance(mounts, tuple)
        return mounts

    async def _snapshot(self, files: Files, image: NodeImage) -> tuple[messages.Mount, ...]:
        """The record is there, and the snapshot that it names."""
        await self._write_record(files, image)
        request = messages.Snapshot(SNAPSHOTTER, record_id(files), image.chain)
        try:
            found = await self._client.call(
                "snapshots.v1.Snapshots/Prepare", request, messages.Mounts
            )
        except NotFound as error:
            raise PodNetError(
                f"image {image.name} is on this node but not unpacked by the snapshotter"
                f" {SNAPSHOTTER}: a Pod with it on this node unpacks it"
            ) from error
        return found.mounts

    async def _write_record(self, files: Files, image: NodeImage) -> None:
        owner, _, name = files.id.partition("-")
        key = record_id(files)
        record = messages.Record(
            id=key,
            labels={SANDBOX_LABEL: owner, CONTAINER_LABEL: name},
            image=image.name,
            runtime=messages.RuntimeName(SHIM),
            spec=messages.Packed(SPEC, b"{}"),  # it depends on what is in the snapshot
            snapshotter=SNAPSHOTTER if image.chain else "",
            snapshot_key=key if image.chain else "",
        )
        request = messages.OneRecord(record)
        await self._client.call("containers.v1.Containers/Create", request, messages.OneRecord)

    async def _write_config(self, files: Files, config: str) -> None:
        record = messages.Record(id=record_id(files), spec=messages.Packed(SPEC, config.encode()))
        request = messages.UpdateRecord(record, messages.FieldMask(("spec",)))
        await self._client.call("containers.v1.Containers/Update", request, messages.OneRecord)

    @staticmethod
    def _node_mounts(files: Files) -> tuple[messages.Mount, ...]:
        """The node's own root, with a writable layer in the bundle's folder."""
        layers = {"upperdir": files.bundle / "upper", "workdir": files.bundle / "work"}
        for layer in layers.values():
            layer.mkdir(mode=0o755, exist_ok=True)
        options = ("lowerdir=/", *(f"{name}={path}" for name, path in layers.items()))
        return (messages.Mount("overlay", "overlay", options=options),)

    async def watch(self, files: Files, on_end: Callable[[], None]) -> bool:
        """Call `on_end` when it has ended, its exit code and all of its log written."""
        return await self._tasks.watch(files, record_id(files), on_end)

    async def start(self, files: Files) -> None:
        """The container's command runs, or has run."""
        await self._tasks.start(files, record_id(files))

    def is_started(self, files: Files) -> bool:
        """Whether `start` is done, of what is watched."""
        return not self.waits_for_start(files)

    def waits_for_start(self, files: Files) -> bool:
        """Whether it is made, and `start` is still to come, as far as is known."""
        return self._tasks.waits_for_start(record_id(files))

    async def send(self, files: Files, number: int) -> bool:
        """Send the first process a signal; False when it has ended."""
        return await self._tasks.kill(record_id(files), number)

    def heeds(self, files: Files, number: int) -> bool:
        """Whether a signal means anything to the first process; yes where it can't be seen."""
        try:
            groups = Path(f"/proc/{int(files.pid.read_text())}/cgroup").read_text()
        except (OSError, ValueError):
            return True
        # In a pod without the node's processes that number is another's.
        return files.id not in groups or runc.heeds(files, number)

    async def delete(self, files: Files, *, force: bool = False) -> None:
        """Nothing is left in containerd; none of that id is success."""
        key = record_id(files)
        await self._tasks.delete(key, force=force)
        snapshot = messages.Snapshot(SNAPSHOTTER, key)
        with contextlib.suppress(NotFound):
            await self._client.call("containers.v1.Containers/Delete", messages.Id(key))
        with contextlib.suppress(NotFound):
            await self._client.call("snapshots.v1.Snapshots/Remove", snapshot)

    async def forget(self, sandbox_id: str) -> None:
        """The node may collect the images that its containers were made of."""
        await self._leases.forget(sandbox_id)

    def exec_argv(self, files: Files, *, tty: bool) -> list[str]:
        """What runs a command in the container: the command's words are appended."""
        words = [sys.executable, "-m", EXECUTE, str(self._socket), str(files.bundle)]
        return [*words, record_id(files), "tty" if tty else "plain"]


def _layers(mounts: Sequence[messages.Mount]) -> list[Path]:
    """The folders that a root is made of, from the top; none where they are no folders."""
    layers = []
    for mount in mounts:
        options = dict(option.partition("=")[::2] for option in mount.options)
        if mount.type == "overlay":
            layers += options["lowerdir"].split(":")
        elif mount.type == "bind":
            layers.append(mount.source)
    return [Path(layer) for layer in layers]


def find_user(layers: Sequence[Path], spec: ContainerSpec, image: NodeImage) -> User:
    """Who runs the process: by the image's files, on the node's own root by number."""
    text = spec.user or image.config.user
    if not image.chain:
        if text.replace(":", "").isdecimal() or not text:
            uid, _, gid = text.partition(":")
            return User(int(uid or 0), int(gid or 0), (int(gid or 0),))
        raise NoSuchUser(f"user {text!r}: image `host` takes a number on a cluster's node")
    try:
        return rootfs.find_user(layers[0], text, layers[1:])
    except FileNotFoundError as error:
        raise PodNetError(
            f"the layers of image {image.name} can't be seen here: mount the node's"
            f" {error.filename} into the agent's pod at the same path"
        ) from error
