"""A CNI call is read to a value, or refused with the specification's code and a sentence."""

import json
from ipaddress import ip_address
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from podnet.attachment import PublishedPort
from podnet.cni.call import Pod, parse, version_asked
from podnet.cni.config import ANNOTATION, ANNOTATIONS
from podnet.cni.error import CniError, Code, error_body
from podnet.errors import Conflict, Invalid, PodNetError, Problem, Retryable
from support.calls import ENVIRONMENT, PREVIOUS, VERBS, call, refused, stdin

# --- what is accepted ---


def test_containerds_call_is_read_whole() -> None:
    config = stdin(
        runtimeConfig={
            "portMappings": [
                {"HostPort": 8080, "ContainerPort": 80, "Protocol": "tcp", "HostIP": ""},
                {"hostPort": 5353, "containerPort": 53, "protocol": "UDP", "hostIP": "10.0.0.1"},
                {"hostPort": 81, "containerPort": 81, "protocol": "tcp", "hostIP": "0.0.0.0"},
                {"hostPort": 0, "containerPort": 82},
                {"hostPort": 8080, "containerPort": 80, "protocol": "tcp"},
            ],
            "ips": ["10.1.0.9/24", "fd01::9"],
            "mac": "02:42:0A:01:00:09",
        },
        dns={"nameservers": ["10.96.0.10"]},
    )
    found = call("ADD", config)
    assert (found.container_id, found.ifname, found.netns) == (
        "f00d",
        "eth0",
        "/var/run/netns/cni-1",
    )
    assert found.pod == Pod("default", "web")
    assert found.owner == "Pod/default/web"
    assert found.config.ports == (
        PublishedPort(8080, 80),
        PublishedPort(5353, 53, "udp", ip_address("10.0.0.1")),
        PublishedPort(81, 81),
    )
    assert found.config.addresses == (ip_address("10.1.0.9"), ip_address("fd01::9"))
    assert found.config.mac == "02:42:0a:01:00:09"
    assert found.config.dns == {"nameservers": ["10.96.0.10"]}
    assert (found.config.name, found.config.network) == ("podnet", "default")


@pytest.mark.parametrize(
    ("fields", "network"),
    [
        ({}, "default"),
        ({"podNetwork": "blue"}, "blue"),
        ({"runtimeConfig": {ANNOTATIONS: {ANNOTATION: "red"}}, "podNetwork": "blue"}, "red"),
        ({"runtimeConfig": {ANNOTATIONS: {"other": "x"}}}, "default"),
        ({"runtimeConfig": {ANNOTATIONS: None}}, "default"),
    ],
)
def test_the_configuration_or_the_pods_annotation_names_the_network(
    fields: dict[str, Any], network: str
) -> None:
    assert call("ADD", stdin(**fields)).config.network == network


def test_what_is_no_pod_is_known_by_its_container() -> None:
    found = call("ADD", CNI_ARGS="")
    assert (found.pod, found.owner) == (None, "Container/f00d")


@pytest.mark.parametrize("key", ["cni.dev/valid-attachments", "cni.dev/attachments"])
def test_gc_knows_what_is_to_be_kept(key: str) -> None:
    found = call("GC", stdin(**{key: [{"containerID": "a", "ifname": "eth0"}]}))
    assert found.config.valid == {("a", "eth0")}
    assert call("GC", stdin(**{key: []})).config.valid == frozenset()


def test_gc_without_a_list_says_nothing_is_unwanted() -> None:
    assert call("GC", stdin()).config.valid is None


def test_del_asks_for_no_more_than_it_needs() -> None:
    """S2, S33: neither namespace nor result nor a good configuration."""
    environment = {**ENVIRONMENT, "CNI_COMMAND": "DEL", "CNI_ARGS": "=;;x"}
    del environment["CNI_NETNS"]
    config = stdin(name=None, runtimeConfig={"portMappings": "all"}, podNetwork=7, prevResult=[])
    assert parse(environment, config).container_id == "f00d"


# --- what is refused ---

NEEDED = {
    "ADD": ("CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME", "CNI_PATH"),
    "CHECK": ("CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME", "CNI_PATH"),
    "DEL": ("CNI_CONTAINERID", "CNI_IFNAME", "CNI_PATH"),
    "GC": ("CNI_PATH",),
    "STATUS": ("CNI_PATH",),
}


@pytest.mark.parametrize(
    ("verb", "variable"), [(verb, name) for verb, names in NEEDED.items() for name in names]
)
@pytest.mark.parametrize("how", ["missing", "empty"])
def test_a_missing_variable_is_named(verb: str, variable: str, how: str) -> None:
    """S34."""
    environment = ENVIRONMENT | {"CNI_COMMAND": verb, variable: ""}
    if how == "missing":
        del environment[variable]
    error = refused(environment, stdin(prevResult=PREVIOUS))
    assert error.code == Code.INVALID_ENVIRONMENT
    assert variable in error.msg


def test_without_a_verb_there_is_nothing_to_do() -> None:
    """S34."""
    error = refused({}, b"")
    assert (error.code, error.msg) == (4, "invalid CNI_COMMAND")


WRONG_VARIABLES = [
    ("CNI_COMMAND", "MAKE"),
    ("CNI_COMMAND", "add"),
    ("CNI_CONTAINERID", "../etc"),
    ("CNI_CONTAINERID", ".hidden"),
    ("CNI_CONTAINERID", "a/b"),
    ("CNI_CONTAINERID", "a" * 254),
    ("CNI_CONTAINERID", "a\n"),
    ("CNI_IFNAME", "sixteen-bytes-ab"),
    ("CNI_IFNAME", "ää" * 4),
    ("CNI_IFNAME", "a/b"),
    ("CNI_IFNAME", "a:b"),
    ("CNI_IFNAME", "a b"),
    ("CNI_IFNAME", "eth%d"),
    ("CNI_IFNAME", ".."),
    ("CNI_IFNAME", "a\0"),
    ("CNI_IFNAME", "a\udc80"),
    ("CNI_NETNS", "run/netns/x"),
    ("CNI_NETNS", "/run/netns/x\0"),
    ("CNI_ARGS", "K8S_POD_NAME"),
    ("CNI_ARGS", "=web"),
    ("CNI_ARGS", "K8S_POD_NAME=web;PORT=80"),
    ("CNI_ARGS", "IgnoreUnknown=0;PORT=80"),
    ("CNI_ARGS", "K8S_POD_NAMESPACE=../x;K8S_POD_NAME=web"),
    ("CNI_ARGS", "K8S_POD_NAMESPACE=x;K8S_POD_NAME=a b"),
]


@pytest.mark.parametrize(("variable", "value"), WRONG_VARIABLES, ids=repr)
def test_a_wrong_variable_is_named(variable: str, value: str) -> None:
    """S34."""
    error = refused(ENVIRONMENT | {variable: value}, stdin())
    assert (error.code, error.msg) == (4, f"invalid {variable}")
    assert error.details


NAMES = [each for each in WRONG_VARIABLES if each[0] in ("CNI_CONTAINERID", "CNI_IFNAME")]


@pytest.mark.parametrize(("variable", "value"), NAMES, ids=repr)
@pytest.mark.parametrize("verb", ["ADD", "DEL", "CHECK"])
def test_a_wrong_name_is_refused_by_every_verb_that_is_told_one(
    verb: str, variable: str, value: str
) -> None:
    """S34: also by DEL, which asks for no more than these."""
    environment = ENVIRONMENT | {"CNI_COMMAND": verb, variable: value}
    error = refused(environment, stdin(prevResult=PREVIOUS))
    assert (error.code, error.msg) == (4, f"invalid {variable}")


UNDECODABLE = {
    "nothing": b"",
    "garbage of 1 MB": bytes(range(256)) * 4096,
    "no UTF-8": b'{"cniVersion": "1.1.0", "name": "\xff"}',
    "cut half way": stdin()[:30],
    "a list": b"[]",
    "a text": b'"ADD"',
    "brackets without end": b"[" * 1_000_000,
    "more than 1 MB": stdin(note="x" * (1 << 20)),
}


@pytest.mark.parametrize("what", UNDECODABLE)
@pytest.mark.parametrize("verb", ["ADD", "DEL", "CHECK", "GC", "STATUS"])
def test_what_is_no_json_object_is_refused_by_every_verb(verb: str, what: str) -> None:
    """S34."""
    error = refused(ENVIRONMENT | {"CNI_COMMAND": verb}, UNDECODABLE[what])
    assert error.code == Code.UNDECODABLE
    assert error.details


DEEP: Any = []
for _ in range(40):
    DEEP = [DEEP]
INVALID = [
    ({"cniVersion": 1}, "cniVersion"),
    ({"name": None}, "name"),
    ({"name": "a/b"}, "name"),
    ({"name": ["podnet"]}, "name"),
    ({"podNetwork": "A_b"}, "podNetwork"),
    ({"podNetwork": {}, "runtimeConfig": {ANNOTATIONS: {ANNOTATION: 5}}}, ANNOTATION),
    ({"runtimeConfig": []}, "runtimeConfig"),
    ({"runtimeConfig": {ANNOTATIONS: "x"}}, ANNOTATIONS),
    ({"runtimeConfig": {"portMappings": {}}}, "portMappings"),
    ({"runtimeConfig": {"portMappings": ["80"]}}, "portMappings[0]"),
    ({"runtimeConfig": {"portMappings": [{"hostPort": 65536, "containerPort": 1}]}}, "[0]"),
    ({"runtimeConfig": {"portMappings": [{"hostPort": "80", "containerPort": 1}]}}, "[0]"),
    ({"runtimeConfig": {"portMappings": [{"hostPort": True, "containerPort": 1}]}}, "[0]"),
    ({"runtimeConfig": {"portMappings": [{"hostPort": 80}]}}, "[0]"),
    (
        {"runtimeConfig": {"portMappings": [{"hostPort": 1, "containerPort": 1, "hostIP": "x"}]}},
        "hostIP",
    ),
    ({"runtimeConfig": {"ips": "10.1.0.9"}}, "ips"),
    ({"runtimeConfig": {"ips": ["10.1.0.300"]}}, "ips"),
    ({"runtimeConfig": {"ips": [7]}}, "ips"),
    ({"runtimeConfig": {"ips": ["fe80::1%eth0"]}}, "ips"),
    ({"runtimeConfig": {"ips": ["10.1.0.9", "10.1.0.10"]}}, "ips"),
    ({"runtimeConfig": {"mac": "03:00:00:00:00:01"}}, "mac"),
    ({"runtimeConfig": {"mac": 5}}, "mac"),
    ({"dns": []}, "dns"),
    ({"dns": {"nameservers": DEEP}}, "dns"),
    ({"prevResult": []}, "prevResult"),
    ({"prevResult": {"interfaces": {}}}, "prevResult.interfaces"),
    ({"prevResult": {"ips": ["10.1.0.2"]}}, "prevResult.ips"),
    ({"prevResult": {"dns": "x"}}, "prevResult.dns"),
    ({"prevResult": {"interfaces": [{"x": DEEP}]}}, "prevResult"),
]


@pytest.mark.parametrize(("fields", "place"), INVALID)
def test_an_invalid_field_is_named(fields: dict[str, Any], place: str) -> None:
    error = refused(ENVIRONMENT, stdin(**fields))
    assert error.code == Code.INVALID_CONFIG
    assert place in error.msg


@pytest.mark.parametrize("listed", ["x", [7], [{"containerID": "a"}], {"containerID": "a"}])
def test_a_list_of_attachments_that_is_none_removes_nothing(listed: Any) -> None:
    config = stdin(**{"cni.dev/valid-attachments": listed})
    assert refused(ENVIRONMENT | {"CNI_COMMAND": "GC"}, config).code == Code.INVALID_CONFIG


def test_check_has_to_be_told_what_add_said() -> None:
    error = refused(ENVIRONMENT | {"CNI_COMMAND": "CHECK"}, stdin())
    assert (error.code, "prevResult" in error.msg) == (7, True)


@pytest.mark.parametrize(
    ("fields", "value"),
    [
        ({"ipam": {"type": "host-local"}}, "ipam"),
        ({"runtimeConfig": {"bandwidth": {"ingressRate": 5}}}, "runtimeConfig.bandwidth"),
        ({"runtimeConfig": {"ipRanges": [[{"subnet": "10.0.0.0/8"}]]}}, "runtimeConfig.ipRanges"),
        (
            {
                "runtimeConfig": {
                    "portMappings": [{"hostPort": 1, "containerPort": 1, "protocol": "sctp"}]
                }
            },
            "'sctp'",
        ),
    ],
)
def test_what_cannot_be_honoured_is_refused_with_its_value(
    fields: dict[str, Any], value: str
) -> None:
    error = refused(ENVIRONMENT, stdin(**fields))
    assert error.code == Code.UNSUPPORTED_FIELD
    assert value in str(error)


# --- whatever comes ---

words = st.one_of(st.text(max_size=300), st.sampled_from([*ENVIRONMENT.values(), *VERBS]))
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner),
    max_leaves=8,
)
FIELDS = ["cniVersion", "name", "podNetwork", "runtimeConfig", "prevResult", "dns", "ipam"]


@given(st.dictionaries(st.sampled_from([*ENVIRONMENT]), words), st.binary(max_size=400))
def test_any_bytes_are_a_call_or_a_refusal(environment: dict[str, str], config: bytes) -> None:
    """S34."""
    try:
        parse(environment, config)
    except CniError as error:
        assert error.code in set(Code)
    version_asked(config)


@given(
    st.sampled_from(VERBS),
    st.dictionaries(st.sampled_from(FIELDS), values),
    st.dictionaries(st.sampled_from(["portMappings", "ips", "mac", ANNOTATIONS]), values),
)
def test_any_json_is_a_call_or_a_refusal(
    verb: str, fields: dict[str, Any], runtime: dict[str, Any]
) -> None:
    """S34."""
    config = {"cniVersion": "1.1.0", "name": "x", "runtimeConfig": runtime} | fields
    try:
        parse(ENVIRONMENT | {"CNI_COMMAND": verb}, json.dumps(config).encode())
    except CniError as error:
        json.dumps(error_body(error))


# --- errors ---


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (Retryable("later"), 11),
        (Conflict("somebody"), 100),
        (Invalid([Problem("spec", "is wrong")]), 7),
        (PodNetError("else"), 100),
        (CniError(Code.NOT_AVAILABLE, "not ready", "why"), 50),
    ],
)
def test_an_error_is_named_by_who_can_act(error: PodNetError, code: int) -> None:
    body = error_body(error, "0.4.0")
    assert (body["cniVersion"], body["code"]) == ("0.4.0", code)
    assert body["msg"] and isinstance(body["details"], str)
