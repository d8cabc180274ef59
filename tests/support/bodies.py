"""Objects as a user writes them, for tests that drive the program: JSON, which is YAML too."""

import json
from collections.abc import Sequence
from typing import Any

FOREVER = ("sleep", "1000")
"""A command that ends when its container is taken away."""
Body = dict[str, Any]


def sandbox(
    name: str,
    *commands: Sequence[str],
    net: str | Body = "Bridge",
    namespace: str = "default",
    **spec: Any,
) -> str:
    """A PodSandbox with a container c0, c1, ... for each command, from the machine's own root.

    `net`: a mode, or all of spec.network.
    """
    containers = [
        {"name": f"c{number}", "image": "host", "command": list(command)}
        for number, command in enumerate(commands)
    ]
    network = {"mode": net} if isinstance(net, str) else net
    whole = {"network": network, **({"containers": containers} if containers else {}), **spec}
    return _document("PodSandbox", {"name": name, "namespace": namespace}, whole)


def network(name: str, **spec: Any) -> str:
    """A PodNetwork."""
    return _document("PodNetwork", {"name": name}, spec)


def published(host_port: int, container_port: int = 80, **fields: Any) -> Body:
    """Bridge mode with one published port: a value for `net`."""
    return {"ports": [{"hostPort": host_port, "containerPort": container_port, **fields}]}


def _document(kind: str, metadata: Body, spec: Body) -> str:
    body = {"apiVersion": "podnet.dev/v1alpha1", "kind": kind, "metadata": metadata, "spec": spec}
    return f"{json.dumps(body)}\n---\n"
