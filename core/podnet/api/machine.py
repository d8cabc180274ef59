"""One machine: what an object asks for that only a cluster has."""

from podnet.api.manifest import Resource, label
from podnet.api.podnetwork import PodNetwork
from podnet.errors import Problem


def refused(resource: Resource) -> list[Problem]:
    """Every field that can't be honoured without a cluster."""
    found: list[tuple[str, str]] = []
    if isinstance(resource, PodNetwork):
        if resource.spec.backend.type not in (None, "Local"):
            found.append(
                (
                    "spec.backend.type",
                    f"is {resource.spec.backend.type}, which leads to other nodes, and this"
                    f" machine has none: write Local or leave it out",
                )
            )
        if resource.spec.node_prefix_length is not None:
            found.append(
                (
                    "spec.nodePrefixLength",
                    "cuts the subnet into nodes' shares, and this machine takes the whole subnet:"
                    " leave it out",
                )
            )
    elif resource.spec.node_name is not None:
        found.append(
            ("spec.nodeName", "chooses a node, and without a cluster there is one: leave it out")
        )
    return [Problem(f"{label(resource)} {place}", sentence) for place, sentence in found]
