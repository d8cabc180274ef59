"""Images that the node's containerd has: by name to what its makers say, and its layers.

Nothing is fetched: whoever wants an image here runs a Pod with it first, or loads it.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass

from podnet_agent.runtime import ImageNotPresent
from podnet_agent.runtime.archives import BadImage, fits, image_config
from podnet_agent.runtime.bundle import ImageConfig
from podnet_agent.runtime.containerd.client import Client, NotFound
from podnet_agent.runtime.containerd.leases import Leases
from podnet_agent.runtime.containerd.messages import Id, OneImage, Piece, ReadContent
from podnet_agent.runtime.images import HOST, HOST_TMPFS

DEFAULT_REGISTRY, DEFAULT_FOLDER = "docker.io", "library"


@dataclass(frozen=True, slots=True)
class NodeImage:
    """An image of the node; `tmpfs` and `hidden` are as those of images.Image.

    `digest`: of its manifest or index. `chain`: the name of the snapshot that has all its layers,
    none for the node's own root.
    """

    name: str
    config: ImageConfig
    digest: str = ""
    chain: str = ""
    tmpfs: tuple[str, ...] = ()
    hidden: tuple[str, ...] = ()


NODE = NodeImage(HOST, ImageConfig(), tmpfs=HOST_TMPFS, hidden=("/var/lib/podnet",))
"""The node's own root, without the file systems that are mounted in it."""


class NodeImages:
    """Lives in the asyncio loop. `machine`: uname's name of the processor's kind."""

    def __init__(self, client: Client, leases: Leases, machine: str) -> None:
        self._client, self._leases, self._machine = client, leases, machine
        self._known: dict[str, tuple[ImageConfig, str]] = {}  # by digest: a few short texts each

    async def get(self, reference: str, key: str) -> NodeImage:
        """The image of that name, or that which the container `key` was last made of.

        ImageNotPresent where there is neither, BadImage where it is for other machines.
        """
        if reference == HOST:
            return NODE
        name = full_name(reference)
        digest = await self._digest(name, key)
        if digest not in self._known:
            self._known[digest] = await self._read(name, digest)
        config, chain = self._known[digest]
        return NodeImage(name, config, digest, chain)

    async def _digest(self, name: str, key: str) -> str:
        try:
            found = await self._client.call("images.v1.Images/Get", Id(name), OneImage)
        except NotFound as error:
            held = await self._leases.digest(key, name)
            if held is None:
                raise ImageNotPresent(
                    f"image {name} is not on this node, and podnet pulls none: `kind load"
                    f" docker-image`, or a Pod with it on this node, brings it"
                ) from error
            return held
        return found.image.target.digest

    async def _read(self, name: str, digest: str) -> tuple[ImageConfig, str]:
        manifest = json.loads(await self._content(digest))
        while "manifests" in manifest:  # an index, of images for several kinds of machine
            fitting = [each for each in manifest["manifests"] if fits(each, self._machine)]
            if not fitting:
                raise BadImage(
                    f"image {name} has no variant for {self._machine}: load one that has"
                )
            manifest = json.loads(await self._content(fitting[0]["digest"]))
        text = await self._content(manifest["config"]["digest"])
        return image_config(text), chain_id(json.loads(text)["rootfs"]["diff_ids"])

    async def _content(self, digest: str) -> bytes:
        pieces = self._client.stream("content.v1.Content/Read", ReadContent(digest), Piece)
        return b"".join([piece.data async for piece in pieces])


def full_name(reference: str) -> str:
    """The name as containerd has it: a registry, a folder, a tag or digest (docker's defaults)."""
    head, slash, rest = reference.partition("/")
    if not slash or not (set(".:") & set(head) or head == "localhost"):
        path = reference if slash else f"{DEFAULT_FOLDER}/{reference}"
        head, rest = DEFAULT_REGISTRY, path
    tagged = "@" in rest or ":" in rest.rpartition("/")[2]
    return f"{head}/{rest}" if tagged else f"{head}/{rest}:latest"


def chain_id(diff_ids: Sequence[str]) -> str:
    """The name of a stack of layers (OCI image-spec, config.md: Layer ChainID)."""
    chain = diff_ids[0] if diff_ids else ""
    for diff_id in diff_ids[1:]:
        chain = f"sha256:{hashlib.sha256(f'{chain} {diff_id}'.encode()).hexdigest()}"
    return chain
