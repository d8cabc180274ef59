"""One machine: what an object asks for that only a cluster has."""

from podnet.api.manifest import Resource
from podnet.api.meta import Found
from podnet.api.podnetwork import PodNetwork


def refused(resource: Resource) -> Found:
    """Every field that can't be honoured without a cluster."""
    found: Found = []
    if isinstance(resource, PodNetwork):
        if resource.spec.backend.type not in (None, "Local"):
            sentence = (
                f"is {resource.spec.backend.type}, which leads to other nodes, and this machine has"
                f" none: write Local or leave it out"
            )
            found.append((("spec", "backend", "type"), sentence))
        if resource.spec.node_prefix_length is not None:
            sentence = (
                "cuts the subnet into nodes' shares, and this machine takes the whole subnet:"
                " leave it out"
            )
            found.append((("spec", "nodePrefixLength"), sentence))
    elif resource.spec.node_name is not None:
        sentence = "chooses a node, and without a cluster there is one: leave it out"
        found.append((("spec", "nodeName"), sentence))
    return found
