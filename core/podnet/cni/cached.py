"""An ADD as libcni remembers it, so that a runtime can ask for DEL with the same words. Pure.

A file for each attachment, in /var/lib/cni/results (containernetworking/cni, libcni/api.go): the
configuration and what the runtime added to it, and the result of the whole chain.
"""

import base64
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import ip_interface
from typing import Any

from podnet.addresses import IPAddress
from podnet.cni.call import Call, parse
from podnet.cni.config import PLUGIN
from podnet.cni.error import CniError

KIND = "cniCacheV1"
_HOST_END = re.compile(r"vethpn[0-9a-f]{1,9}")


@dataclass(frozen=True, slots=True)
class Cached:
    """What we were asked, and what we gave."""

    call: Call
    host_end: str
    addresses: tuple[IPAddress, ...]


def cached(text: bytes) -> Cached | None:
    """None where it is not whole, or tells of a chain that podnet is no part of."""
    try:
        body = json.loads(text)
        if body["kind"] != KIND:
            return None
        conflist = json.loads(base64.b64decode(body["config"]))
        plugin = next(each for each in conflist["plugins"] if each["type"] == PLUGIN)
        result, ifname = body["result"], body["ifName"]
        (place,) = (
            place
            for place, each in enumerate(result["interfaces"])
            if each["name"] == ifname and each.get("sandbox")
        )
        host_end = next(
            each["name"]
            for each in result["interfaces"]
            if _HOST_END.fullmatch(each["name"]) and not each.get("sandbox")
        )
        call = parse(
            _environment(body, result["interfaces"][place]["sandbox"]),
            json.dumps(_configuration(body, conflist, plugin, result["cniVersion"])).encode(),
        )
        addresses = tuple(
            ip_interface(each["address"]).ip
            for each in result["ips"]
            if each.get("interface") == place
        )
    except (ValueError, LookupError, TypeError, AttributeError, StopIteration, RecursionError):
        return None
    except CniError:
        return None
    return Cached(call, host_end, addresses) if addresses else None


def _environment(body: Mapping[str, Any], netns: str) -> dict[str, str]:
    return {
        "CNI_COMMAND": "ADD",
        "CNI_CONTAINERID": body["containerId"],
        "CNI_NETNS": netns,
        "CNI_IFNAME": body["ifName"],
        "CNI_ARGS": ";".join(f"{key}={value}" for key, value in body.get("cniArgs") or ()),
        "CNI_PATH": "/",
    }


def _configuration(
    body: Mapping[str, Any], conflist: Mapping[str, Any], plugin: Mapping[str, Any], version: str
) -> dict[str, Any]:
    """As libcni puts it together: of the runtime's arguments, those that the plugin can take."""
    taken = plugin.get("capabilities") or {}
    given = {
        name: value for name, value in (body.get("capabilityArgs") or {}).items() if taken.get(name)
    }
    return {**plugin, "name": conflist["name"], "cniVersion": version, "runtimeConfig": given}
