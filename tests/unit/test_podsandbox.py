"""Which PodSandboxes can be meant, what is said of those that can't, and what stays as it was."""

import pytest

from podnet.api.machine import refused
from podnet.api.manifest import changes_refused, spelt
from podnet.api.podsandbox import PodSandbox, warnings
from support.manifests import manifest, one, refusals

JOINS = "network: {mode: Container, sandbox: db}"
CONTAINER = "name: a, image: host, command: [x]"


def of_sandbox(spec: str) -> list[str]:
    """What is said of a PodSandbox with that spec, without file and line."""
    return [line.removeprefix("a.yaml line 4 spec.") for line in refusals(manifest(spec))]


def in_network(fields: str) -> list[str]:
    """What is said of a PodSandbox whose spec.network has these fields."""
    found = of_sandbox(f"{{network: {{{fields}}}}}")
    return [line.removeprefix("network.") for line in found]


def in_container(fields: str) -> list[str]:
    """What is said of a PodSandbox with one right container and these fields in it."""
    found = of_sandbox(f"{{containers: [{{{CONTAINER}, {fields}}}]}}")
    return [line.removeprefix("containers[0].") for line in found]


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


@pytest.mark.parametrize(
    ("fields", "refusal"),
    [
        (
            "mounts: [{source: etc, target: /a/../b}]",
            "mounts[0].source: is etc: write an absolute path, which begins with /|"
            "mounts[0].target: is /a/../b: write the path without ..",
        ),
        ("mounts: [{source: /a, target: /}]", "mounts[0].target: is /: write a path below it"),
        (
            "mounts: [{source: /a, target: /c}, {source: /b, target: /c/}]",
            "mounts[1].target: /c stands twice: leave one",
        ),
        ("env: [{name: A}, {name: A}]", "env[1].name: A stands twice: leave one"),
        (
            "env: [{name: 1A, value: 'x'}]",
            "env[0].name: is 1A: write letters, digits, _, - and ., not beginning with a digit",
        ),
        ("env: [{name: A, value: 1}]", "env[0].value: is the number 1: write it in quotes"),
        (
            "env: [{name: A, value: no}]",
            "env[0].value: is no, which YAML reads as the truth value false: write it in quotes",
        ),
        (
            'env: [{name: A, value: "a\\0b"}]',
            "env[0].value: is 'a\\x00b': write text without NUL bytes",
        ),
        (
            "user: a b",
            "user: is a b: write a user's name or number, with :GROUP behind it if need be",
        ),
        ("workingDir: srv", "workingDir: is srv: write an absolute path, which begins with /"),
        (
            "readOnlyRootFilesystem: 1",
            "readOnlyRootFilesystem: is the number 1: write true or false",
        ),
        (
            "resources: {limits: {cpu: 1x, memory: 5Mi, pids: 0}}",
            "resources.limits.cpu: is 1x: write CPUs such as 500m, 1 or 1.5|"
            "resources.limits.memory: is 5Mi, which is too little: write bytes such as 64Mi, 1Gi"
            " or 67108864|"
            "resources.limits.pids: is the number 0: write 1 or more",
        ),
        (
            "resources: {limits: {cpu: .nan, memory: .inf}}",
            "resources.limits.cpu: is .nan: write CPUs such as 500m, 1 or 1.5|"
            "resources.limits.memory: is .inf: write bytes such as 64Mi, 1Gi or 67108864",
        ),
        pytest.param(
            f"resources: {{limits: {{cpu: {'9' * 2_000_000}, memory: 9999999999Gi}}}}",
            f"resources.limits.cpu: is {'9' * 57}...: write CPUs such as 500m, 1 or 1.5|"
            "resources.limits.memory: is 9999999999Gi, which is too much: write bytes such as"
            " 64Mi, 1Gi or 67108864",
            id="endless and huge",
        ),
        ("args: sleep", "args: is sleep: write a list, each entry behind a dash"),
        ("ports: []", "ports: is no field here: write it under spec.network"),
        ("workdir: /", "workdir: is no field here: write workingDir"),
        (
            "read_only_root_filesystem: true",
            "read_only_root_filesystem: is no field here: write readOnlyRootFilesystem",
        ),
        (
            "livenessProbe: {}",
            "livenessProbe: is no field here: there are name, image, command, args,"
            " env, workingDir, mounts, user, readOnlyRootFilesystem, resources",
        ),
    ],
)
def test_a_container_that_cant_be_meant_says_why(fields: str, refusal: str) -> None:
    assert in_container(fields) == refusal.split("|")


@pytest.mark.parametrize(
    ("spec", "refusal"),
    [
        (
            "{containers: [{name: a, image: host}]}",
            "containers[0].command: is missing: image host has no command of its own",
        ),
        (
            f"{{containers: [{{{CONTAINER}}}, {{{CONTAINER}}}]}}",
            "containers[1].name: a stands twice: leave one",
        ),
        (
            "{containers: [{name: ../a, image: /x.tar}]}",
            "containers[0].name: is ../a: write lower-case letters, digits and -, beginning and"
            " ending with a letter or digit (a DNS label)",
        ),
        (
            "{hostname: Web}",
            "hostname: is Web: write DNS labels (lower-case letters, digits, -) joined by dots",
        ),
        (
            f"{{hostname: {'a' * 65}}}",
            "hostname: has 65 characters: write 64 at most",
        ),
        (
            "{hostAliases: [{ip: 10.0.0.1, hostnames: []}]}",
            "hostAliases[0].hostnames: has no entry: write 1 or more",
        ),
        (
            "{dns: {nameservers: [1.1.1.1, 1.1.1.2, 1.1.1.3, 1.1.1.4]}}",
            "dns.nameservers: has 4 entries: write 3 at most",
        ),
        ("{restartPolicy: always}", "restartPolicy: is always: write Always, OnFailure or Never"),
        ("{mode: Host}", "mode: is no field here: write it under spec.network"),
        ("{network: Host}", "network: is Host: write a mapping of KEY: VALUE"),
        (
            "{containers: {name: a}}",
            "containers: is a mapping: write a list, each entry behind a dash",
        ),
    ],
)
def test_a_sandbox_that_cant_be_meant_says_why(spec: str, refusal: str) -> None:
    assert of_sandbox(spec) == [refusal]


def test_ports_in_host_mode_are_warned_of_in_dockers_words() -> None:
    port = "ports: [{hostPort: 80, containerPort: 80}]"
    host = one(manifest(f"{{network: {{mode: Host, {port}}}}}"))
    bridge = one(manifest(f"{{network: {{{port}}}}}"))
    assert isinstance(host, PodSandbox) and isinstance(bridge, PodSandbox)
    sentence = "Published ports are discarded when using host network mode"
    assert (warnings(host), warnings(bridge)) == ((sentence,), ())


@pytest.mark.parametrize(
    ("kind", "spec", "places"),
    [
        ("PodNetwork", "{backend: {type: Local}, subnets: [10.8.0.0/16]}", []),
        (
            "PodNetwork",
            "{backend: {type: HostGateway}, subnets: [10.8.0.0/16], nodePrefixLength: {ipv4: 24}}",
            ["spec.backend.type", "spec.nodePrefixLength"],
        ),
        ("PodSandbox", "{}", []),
        ("PodSandbox", "{nodeName: a}", ["spec.nodeName"]),
    ],
)
def test_one_machine_refuses_what_only_a_cluster_has(
    kind: str, spec: str, places: list[str]
) -> None:
    found = refused(one(manifest(spec, kind)))
    assert [spelt(place) for place, _ in found] == places
    assert all("leave it out" in sentence for _, sentence in found)


@pytest.mark.parametrize(
    ("kind", "old", "new", "refusals"),
    [
        ("PodNetwork", "{}", "{mtu: 1400, masquerade: false, isolated: false}", []),
        ("PodNetwork", "{}", "{backend: {type: Local}}", []),
        (
            "PodNetwork",
            "{subnets: [10.8.0.0/16], bridge: {name: br0}}",
            "{subnets: [10.9.0.0/16], bridge: {name: br1}, backend: {type: HostGateway}}",
            [
                "spec.subnets[0]: is immutable and was 10.8.0.0/16, not 10.9.0.0/16",
                "spec.bridge.name: is immutable and was br0, not br1",
                "spec.backend.type: is immutable and was Local, not HostGateway",
            ],
        ),
        (
            "PodNetwork",
            "{}",
            "{subnets: [10.9.0.0/16]}",
            ["spec.subnets: is immutable and was left out, not 10.9.0.0/16"],
        ),
        ("PodSandbox", "{}", "{network: {mode: Bridge}, restartPolicy: Always}", []),
        (
            "PodSandbox",
            f"{{containers: [{{{CONTAINER}}}]}}",
            "{network: {mode: Host}, containers: [{name: a, image: host, command: [y]}]}",
            [
                "spec.network.mode: is immutable and was Bridge, not Host",
                "spec.containers[0].command[0]: is immutable and was x, not y",
            ],
        ),
        (
            "PodSandbox",
            f"{{containers: [{{{CONTAINER}}}], hostname: a}}",
            "{}",
            [
                "spec.hostname: is immutable and was a, not left out",
                "spec.containers: is immutable and was a list of 1, not left out",
            ],
        ),
    ],
)
def test_what_is_immutable_is_named_field_by_field(
    kind: str, old: str, new: str, refusals: list[str]
) -> None:
    """S11 for a network's subnets."""
    found = changes_refused(one(manifest(old, kind)), one(manifest(new, kind)))
    assert [f"{spelt(place)}: {sentence}" for place, sentence in found] == [
        f"{refusal}: delete the {kind} and apply it again" for refusal in refusals
    ]


def test_places_stay_true_when_mistakes_come_to_light_one_behind_another() -> None:
    entries = f"5, {{name: x, image: host}}, {{{CONTAINER}}}, {{{CONTAINER}}}"
    assert of_sandbox(f"{{containers: [{entries}]}}") == [
        "containers[0]: is the number 5: write a mapping of KEY: VALUE",
        "containers[1].command: is missing: image host has no command of its own",
        "containers[3].name: a stands twice: leave one",
    ]
