"""Which networks a PodSandbox can ask for, and what is said of those that can't be meant."""

import pytest

from podnet.api.podsandbox import PodSandbox, warnings
from support.manifests import manifest, of_sandbox, one

JOINS = "network: {mode: Container, sandbox: db}"


def in_network(fields: str) -> list[str]:
    """What is said of a PodSandbox whose spec.network has these fields."""
    found = of_sandbox(f"{{network: {{{fields}}}}}")
    return [line.removeprefix("network.") for line in found]


@pytest.mark.parametrize(
    ("spec", "refusal"),
    [
        (
            f"{{{JOINS}, hostname: a}}",
            "hostname: conflicting options: hostname and the network mode: leave it out, the"
            " joined sandbox's counts",
        ),
        (
            f"{{{JOINS}, dns: {{nameservers: [1.1.1.1]}}}}",
            "dns: conflicting options: dns and the network mode: leave it out, the joined"
            " sandbox's counts",
        ),
        (
            f"{{{JOINS}, hostAliases: [{{ip: 10.0.0.1, hostnames: [a]}}]}}",
            "hostAliases: conflicting options: custom host-to-IP mapping and the network mode:"
            " leave it out, the joined sandbox's counts",
        ),
        (
            "{network: {mode: Container, sandbox: db, mac: '02:42:00:00:00:01'}}",
            "network.mac: conflicting options: mac-address and the network mode: leave it out",
        ),
        (
            "{network: {mode: Host, mac: '02:42:00:00:00:01'}}",
            "network.mac: conflicting options: mac-address and the network mode: leave it out",
        ),
        (
            "{network: {mode: Container, sandbox: db, ports: [{hostPort: 1, containerPort: 2}]}}",
            "network.ports: conflicting options: port publishing and the container type network"
            " mode: publish them at the sandbox that is joined",
        ),
        (
            "{network: {mode: Container, sandbox: web}}",
            "network.sandbox: cannot join own network namespace: write another sandbox's name",
        ),
    ],
    ids=["hostname", "dns", "hosts", "mac", "mac in host mode", "ports", "itself"],
)
def test_what_docker_refuses_is_refused_with_its_sentence(spec: str, refusal: str) -> None:
    assert of_sandbox(spec) == [refusal]


@pytest.mark.parametrize(
    ("fields", "refusal"),
    [
        ("mode: Container", "sandbox: is missing: write the name of the sandbox to join"),
        (
            "sandbox: db",
            "sandbox: belongs to mode Container, and mode is Bridge: leave it out or write"
            " mode: Container",
        ),
        (
            "mode: None, podNetwork: blue",
            "podNetwork: belongs to mode Bridge, and mode is None: leave it out or write"
            " mode: Bridge",
        ),
        (
            "mode: Host, addresses: [10.0.0.1]",
            "addresses: belongs to mode Bridge, and mode is Host: leave it out or write"
            " mode: Bridge",
        ),
        (
            "mode: None, ports: [{hostPort: 1, containerPort: 1}]",
            "ports: belongs to mode Bridge, and mode is None: leave it out or write mode: Bridge",
        ),
        ("mode: none", "mode: is none: write Bridge, None, Host or Container"),
        (
            "mode: null",
            "mode: is null, which could mean None or the default: write None, or Bridge",
        ),
        (
            "addresses: [10.0.0.1, 10.0.0.2]",
            "addresses[1]: 10.0.0.2 is a second IPv4 address: write at most one per family",
        ),
        (
            "addresses: [10.0.0.1/24]",
            "addresses[0]: is 10.0.0.1/24, which is no IP address: write the address without the"
            " prefix length behind /",
        ),
        (
            "addresses: [010.0.0.1]",
            "addresses[0]: is 010.0.0.1, which is no IP address: write an IP address such as"
            " 172.17.0.9 or fd00::9",
        ),
        (
            "addresses: [5]",
            "addresses[0]: is the number 5: write an IP address such as 172.17.0.9 or fd00::9",
        ),
        (
            "addresses: ['fe80::1%eth0']",
            "addresses[0]: is fe80::1%eth0: write the address without its zone (%)",
        ),
        (
            "addresses: ['::ffff:10.0.0.1']",
            "addresses[0]: is ::ffff:10.0.0.1: write the IPv4 address 10.0.0.1",
        ),
        (
            "mac: '01:00:5e:00:00:01'",
            "mac: is 01:00:5e:00:00:01, a multicast address, which no interface may have: write"
            " an even first byte such as 02",
        ),
        (
            "mac: '02:42'",
            "mac: is 02:42, which is no MAC: write six bytes such as 02:42:ac:11:00:09",
        ),
        (
            "mac: '00:00:00:00:00:00'",
            "mac: is 00:00:00:00:00:00, which the kernel takes for none: write six bytes such as"
            " 02:42:ac:11:00:09",
        ),
        (
            "mac: 5",
            "mac: is the number 5: write six bytes such as 02:42:ac:11:00:09, in quotes",
        ),
        (
            "ports: [{hostPort: 0, containerPort: 70000}]",
            "ports[0].hostPort: is the number 0: write 1 or more|"
            "ports[0].containerPort: is the number 70000: write 65535 or less",
        ),
        ("ports: [{hostPort: 80}]", "ports[0].containerPort: is missing: write it"),
        (
            "ports: [{hostPort: 80, containerPort: 80, protocol: tcp}]",
            "ports[0].protocol: is tcp: write TCP or UDP",
        ),
        (
            "ports: [{hostPort: 80, containerPort: 1}, {hostPort: 80, containerPort: 2}]",
            "ports[1].hostPort: 80/TCP is published twice: choose another port",
        ),
        (
            "ports: [{hostPort: 80, containerPort: 1, hostIP: 10.0.0.1},"
            " {hostPort: 80, containerPort: 2}]",
            "ports[1].hostPort: 80/TCP is published twice: choose another port",
        ),
        (
            "ports: [{hostPort: 80, containerPort: 1, hostIP: '::1'}]",
            "ports[0].hostIP: is ::1, which the kernel can't translate: write 127.0.0.1",
        ),
        (
            "ports: [{hostPort: 80, containerPort: 1, hostIP: 0.0.0.0}]",
            "ports[0].hostIP: is 0.0.0.0, every address: leave it out",
        ),
        (
            "ports: [{hostPort: 80, containerPort: 1, hostIP: 224.0.0.1}]",
            "ports[0].hostIP: is 224.0.0.1, a multicast address: write an address of this machine",
        ),
    ],
)
def test_a_network_that_cant_be_meant_says_why(fields: str, refusal: str) -> None:
    assert in_network(fields) == refusal.split("|")


@pytest.mark.parametrize(
    "fields",
    [
        "mode: None",
        "mode: Host, ports: [{hostPort: 80, containerPort: 80}]",
        "mode: Container, sandbox: db, ports: []",
        "ports: [{hostPort: 53, containerPort: 53}, "
        "{hostPort: 53, containerPort: 53, protocol: UDP}]",
        "ports: [{hostPort: 80, containerPort: 1, hostIP: 10.0.0.1},"
        " {hostPort: 80, containerPort: 1, hostIP: 10.0.0.2}]",
        "addresses: [10.0.0.1, 'fd00::1']",
        "podNetwork: null",
    ],
)
def test_a_network_that_can_be_meant_is_taken(fields: str) -> None:
    assert in_network(fields) == []


def test_ports_in_host_mode_are_warned_of_in_dockers_words() -> None:
    port = "ports: [{hostPort: 80, containerPort: 80}]"
    host = one(manifest(f"{{network: {{mode: Host, {port}}}}}"))
    bridge = one(manifest(f"{{network: {{{port}}}}}"))
    assert isinstance(host, PodSandbox) and isinstance(bridge, PodSandbox)
    sentence = "Published ports are discarded when using host network mode"
    assert (warnings(host), warnings(bridge)) == ((sentence,), ())
