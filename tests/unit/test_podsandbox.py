"""Which PodSandboxes can be meant, what is said of those that can't, and what stays as it was."""

import pytest

from podnet.api.machine import refused
from podnet.api.manifest import changes_refused, spelt
from support.manifests import manifest, of_sandbox, one

CONTAINER = "name: a, image: host, command: [x]"


def in_container(fields: str) -> list[str]:
    """What is said of a PodSandbox with one right container and these fields in it."""
    found = of_sandbox(f"{{containers: [{{{CONTAINER}, {fields}}}]}}")
    return [line.removeprefix("containers[0].") for line in found]


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


def test_a_list_whose_only_entry_is_wrong_is_not_said_to_be_empty_too() -> None:
    (said,) = of_sandbox("{hostAliases: [{ip: 10.0.0.1, hostnames: [a b]}]}")
    assert said.startswith("hostAliases[0].hostnames[0]: ")
