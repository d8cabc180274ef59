"""Shipped: the networks that come with the installation, as the operator is going to make them.

Where podnet is the nodes' CNI plugin, nodes get ready by them before an operator can run.
"""

from pathlib import Path

from podnet.api.manifest import Source, read, to_body
from podnet.api.podnetwork import PodNetwork
from podnet.errors import PodNetError
from podnet_agent.objects import Body


def shipped(folder: Path) -> list[Body]:
    """The objects of the folder's manifests; none where there is no folder. PodNetError."""
    try:
        sources = [Source(str(file), file.read_bytes()) for file in sorted(folder.glob("*.yaml"))]
    except OSError as error:
        raise PodNetError(f"{error.filename} can't be read: {error.strerror}") from error
    resources = read(sources) if sources else ()
    networks = [to_body(each) for each in resources if isinstance(each, PodNetwork)]
    return [body | {"status": {}} for body in networks]
