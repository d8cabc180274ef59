"""CNI calls to be read: the environment and the configuration as containerd has them."""

import json
from collections.abc import Mapping
from typing import Any

import pytest

from podnet.cni.call import Call, parse
from podnet.cni.error import CniError

VERBS = ("ADD", "DEL", "CHECK", "GC", "STATUS", "VERSION")
ENVIRONMENT = {
    "CNI_COMMAND": "ADD",
    "CNI_CONTAINERID": "f00d",
    "CNI_NETNS": "/var/run/netns/cni-1",
    "CNI_IFNAME": "eth0",
    "CNI_ARGS": "IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME=web"
    ";K8S_POD_INFRA_CONTAINER_ID=f00d;K8S_POD_UID=1-2-3",
    "CNI_PATH": "/opt/cni/bin",
}
"""As containerd has it."""
PREVIOUS = {"cniVersion": "1.1.0", "interfaces": [], "ips": []}


def stdin(**fields: Any) -> bytes:
    """A configuration; a field of None is left out."""
    given = {"cniVersion": "1.1.0", "name": "podnet", "type": "podnet-cni"} | fields
    return json.dumps({key: value for key, value in given.items() if value is not None}).encode()


def call(verb: str = "ADD", config: bytes | None = None, **environment: str) -> Call:
    given = ENVIRONMENT | {"CNI_COMMAND": verb} | environment
    return parse(given, stdin(prevResult=PREVIOUS) if config is None else config)


def refused(environment: Mapping[str, str], config: bytes) -> CniError:
    with pytest.raises(CniError) as raised:
        parse(environment, config)
    return raised.value
