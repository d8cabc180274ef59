"""Which PodNetworks can be meant, and what is said of those that can't."""

import pytest

from support.manifests import manifest, refusals


def of_network(spec: str) -> list[str]:
    """What is said of a PodNetwork with that spec, without file and line."""
    text = manifest(spec, "PodNetwork")
    return [line.removeprefix("a.yaml line 4 spec.") for line in refusals(text)]


@pytest.mark.parametrize(
    ("spec", "refusal"),
    [
        (
            "{subnets: [10.8.0.1/16]}",
            "subnets[0]: is 10.8.0.1/16, which has host bits set: write 10.8.0.0/16",
        ),
        (
            "{subnets: [10.8.0.0]}",
            "subnets[0]: is 10.8.0.0 without a prefix length: write a CIDR such as 10.8.0.0/16 or"
            " fd00:8::/64",
        ),
        (
            "{subnets: [ten]}",
            "subnets[0]: is ten, which is no CIDR: write a CIDR such as 10.8.0.0/16 or fd00:8::/64",
        ),
        (
            "{subnets: [10.8.0.0/16, 10.9.0.0/16]}",
            "subnets[1]: 10.9.0.0/16 is a second IPv4 subnet: write at most one per family",
        ),
        (
            "{subnets: [10.8.0.0/31]}",
            "subnets[0]: 10.8.0.0/31 has no address for a pod: write a prefix length of 30 or less",
        ),
        (
            "{subnets: ['fd00::/127']}",
            "subnets[0]: fd00::/127 has no address for a pod: write a prefix length of 126 or less",
        ),
        (
            "{subnets: [224.0.0.0/3]}",
            "subnets[0]: 224.0.0.0/3 holds multicast addresses (224.0.0.0/4): write a private range"
            " such as 10.8.0.0/16",
        ),
        (
            "{subnets: [127.1.0.0/16]}",
            "subnets[0]: 127.1.0.0/16 holds loopback addresses (127.0.0.0/8): write a private range"
            " such as 10.8.0.0/16",
        ),
        (
            "{subnets: ['fe80::/64']}",
            "subnets[0]: fe80::/64 holds link-local addresses (fe80::/10): write a private range"
            " such as fd00:8::/64",
        ),
        (
            "{subnets: [0.0.0.0/0]}",
            "subnets[0]: 0.0.0.0/0 holds addresses of this host (0.0.0.0/8): write a private range"
            " such as 10.8.0.0/16",
        ),
        (
            "{subnets: ['fd00::/64'], mtu: 1279}",
            "mtu: is 1279, and IPv6 needs 1280 or more",
        ),
        ("{mtu: 67}", "mtu: is the number 67: write 68 or more"),
        (
            "{bridge: {name: sixteen-bytes-ab}}",
            "bridge.name: has 16 characters: write 15 at most",
        ),
        (
            "{bridge: {name: a/b}}",
            "bridge.name: is a/b: write an interface name: letters, digits, -, _ and ., 15 at most",
        ),
        (
            "{bridge: {name: ..}}",
            "bridge.name: is ..: write an interface name: letters, digits, -, _ and ., 15 at most",
        ),
        ("{backend: {type: Vxlan}}", "backend.type: is Vxlan: write HostGateway or Local"),
        ("{masquerade: 1}", "masquerade: is the number 1: write true or false"),
        ("{subnet: 10.8.0.0/16}", "subnet: is no field here: write subnets"),
    ],
)
def test_a_podnetwork_that_cant_be_meant_says_why(spec: str, refusal: str) -> None:
    assert of_network(spec) == [refusal]


def test_a_podnetwork_lies_in_no_namespace() -> None:
    text = "apiVersion: podnet.dev/v1alpha1\nkind: PodNetwork\nmetadata: {name: a, namespace: b}\n"
    assert refusals(text) == [
        "a.yaml line 3 metadata.namespace: stands at a PodNetwork, which lies in no namespace:"
        " leave it out"
    ]
