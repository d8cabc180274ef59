"""What keeps an image's contents on the node while a container may be started again from it.

The kubelet collects images when the disk fills, and asks only the CRI who uses them, which knows
none of ours. So each container has a lease on its image's manifest, which keeps config and layers
too, and says what the image was: it can be used after its name has gone.
"""

from podnet_agent.runtime.containerd import messages
from podnet_agent.runtime.containerd.client import Client, Exists, NotFound

PREFIX = "podnet-"
SANDBOX_LABEL = "podnet.dev/sandbox"
IMAGE_LABEL, DIGEST_LABEL = "podnet.dev/image", "podnet.dev/digest"


class Leases:
    """Lives in the asyncio loop. `key`: a container's name in containerd."""

    def __init__(self, client: Client) -> None:
        self._client = client

    async def hold(self, sandbox_id: str, key: str, image: str, digest: str) -> None:
        """The image's contents stay until the sandbox is forgotten, or another image is held."""
        labels = {SANDBOX_LABEL: sandbox_id, IMAGE_LABEL: image, DIGEST_LABEL: digest}
        lease = messages.Lease(PREFIX + key, labels)
        try:
            await self._client.call("leases.v1.Leases/Create", lease, messages.OneLease)
        except Exists:
            if await self.digest(key, image) != digest:  # the name means another image by now
                await self._delete(lease.id)
                await self._client.call("leases.v1.Leases/Create", lease, messages.OneLease)
        request = messages.AddResource(lease.id, messages.Resource(digest, "content"))
        await self._client.call("leases.v1.Leases/AddResource", request)

    async def digest(self, key: str, image: str) -> str | None:
        """Of the image of that name, as it was when the container was last made."""
        for lease in await self._list(f'id=="{PREFIX}{key}"'):
            if lease.labels.get(IMAGE_LABEL) == image:
                return lease.labels.get(DIGEST_LABEL)
        return None

    async def sandbox_ids(self) -> set[str]:
        """The sandboxes for whose containers something is held."""
        leases = await self._list(f'labels."{SANDBOX_LABEL}"')
        return {lease.labels[SANDBOX_LABEL] for lease in leases}

    async def forget(self, sandbox_id: str) -> None:
        """Nothing is held for the sandbox."""
        for lease in await self._list(f'labels."{SANDBOX_LABEL}"=={sandbox_id}'):
            await self._delete(lease.id)

    async def _list(self, wanted: str) -> tuple[messages.Lease, ...]:
        request = messages.Filters((wanted,))
        found = await self._client.call("leases.v1.Leases/List", request, messages.Leases)
        return found.leases

    async def _delete(self, lease_id: str) -> None:
        try:
            await self._client.call("leases.v1.Leases/Delete", messages.Id(lease_id))
        except NotFound:
            return
