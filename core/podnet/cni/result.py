"""What ADD answers: interfaces, addresses and routes, in the words of the version asked for."""

from collections.abc import Iterator, Mapping, Sequence
from ipaddress import ip_interface
from typing import Any

from podnet.addresses import IPAddress, gateway, mac_for
from podnet.attachment import Attachment
from podnet.cni.call import Call
from podnet.cni.error import NEWEST, CniError, Code
from podnet.desired import ways
from podnet.network import Network

Body = dict[str, Any]


def result_body(call: Call, network: Network, attachment: Attachment) -> Body:
    """The result: what came before, unread and unchanged, and behind it what is ours.

    Bridge, host end, pod end: the order of the reference plugin `bridge`, which others count on.
    """
    config, before = call.config, call.config.previous or {}
    interfaces = [*_list(before, "interfaces"), *_interfaces(call, network, attachment)]
    pod_end = len(interfaces) - 1
    return {
        "cniVersion": config.version,
        "interfaces": interfaces,
        "ips": [*_list(before, "ips"), *_ips(config.version, network, attachment, pod_end)],
        "routes": [*_list(before, "routes"), *_routes(network, attachment)],
        "dns": dict(before.get("dns") or config.dns),
    }


def _list(body: Mapping[str, Any], key: str) -> Sequence[Body]:
    return body.get(key) or ()


def _interfaces(call: Call, network: Network, attachment: Attachment) -> Iterator[Body]:
    """The namespace by the runtime's own path: plugins behind ours compare it with theirs."""
    mtu = {"mtu": network.pod_mtu} if call.config.version == NEWEST else {}  # it brought the field
    yield {"name": network.bridge, "mac": mac_for(gateway(network.pod_cidrs[0])), **mtu}
    yield {"name": attachment.host_end, **mtu}
    yield {
        "name": attachment.request.ifname,
        "mac": attachment.mac,
        "sandbox": call.netns,
        **mtu,
    }


def _ips(version: str, network: Network, attachment: Attachment, pod_end: int) -> Iterator[Body]:
    """The family was said by itself before 1.0.0."""
    for interface in attachment.addresses:
        family = {"version": str(interface.version)} if version < "1" else {}
        yield {
            **family,
            "address": str(interface),
            "gateway": str(network.gateway(interface.version)),
            "interface": pod_end,
        }


def _routes(network: Network, attachment: Attachment) -> Iterator[Body]:
    for destination, via in ways(network, attachment):
        yield {"dst": str(destination), **({"gw": str(via)} if via else {})}


def compare(previous: Mapping[str, Any], attachment: Attachment) -> None:
    """CHECK: the result of the chain names this interface and these addresses; else code 101.

    Plugins behind ours may have added to it, and changed a MAC or an MTU.
    """
    request = attachment.request
    names = [each.get("name") for each in _list(previous, "interfaces")]
    if request.ifname not in names:
        raise _differs(f"prevResult has no interface {request.ifname}: {names}")
    found = set(_listed(previous))
    for interface in attachment.addresses:
        if interface.ip not in found:
            there = ", ".join(map(str, sorted(found, key=str))) or "no address"
            raise _differs(f"{request.ifname} has {interface.ip}, prevResult {there}")


def _listed(previous: Mapping[str, Any]) -> Iterator[IPAddress]:
    for each in _list(previous, "ips"):
        try:
            yield ip_interface(str(each.get("address"))).ip
        except ValueError:
            raise _differs(f"prevResult has no address in {each}") from None


def _differs(details: str) -> CniError:
    return CniError(Code.DIFFERS, "not as ADD left it", details)
