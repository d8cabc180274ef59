"""What a PodSandbox asks for, and the texts its containers share, as Docker writes them."""

from ipaddress import ip_address
from typing import Any

import pytest

from podnet.api.manifest import from_body
from podnet.api.podsandbox import PodSandbox
from podnet.attachment import PublishedPort
from podnet.sandbox import (
    ContainerSpec,
    Dns,
    HostAlias,
    Mount,
    Sandbox,
    as_of_namespace,
    hosts_text,
    resolv_text,
    resolve,
    with_aliases,
)

V4, V6 = ip_address("172.17.0.2"), ip_address("fd00:17::2")
MACHINE = """\
# made by hand
nameserver 127.0.0.53
nameserver 10.0.0.1
nameserver ::1
nameserver fd00::53
nameserver fe80::1%eth0
domain old.example
search one.example two.example
options edns0
options ndots:2
sortlist 10.0.0.0
"""
NAMES_OF_IPV6 = (
    "::1\tlocalhost ip6-localhost ip6-loopback\n"
    "fe00::\tip6-localnet\n"
    "ff00::\tip6-mcastprefix\n"
    "ff02::1\tip6-allnodes\n"
    "ff02::2\tip6-allrouters\n"
)


def sandbox(name: str = "web", **spec: Any) -> Sandbox:
    """The sandbox of an object with that spec."""
    body = {
        "apiVersion": "podnet.dev/v1alpha1",
        "kind": "PodSandbox",
        "metadata": {"name": name, "namespace": "blue"},
        "spec": spec,
    }
    podsandbox = from_body(body)
    assert isinstance(podsandbox, PodSandbox)
    return resolve(podsandbox, "0123456789ab")


def test_an_object_that_says_nothing_is_a_bridge_on_the_network_default() -> None:
    assert sandbox() == Sandbox(
        id="0123456789ab",
        name="web",
        namespace="blue",
        owner="PodSandbox/blue/web",
        mode="Bridge",
        network="default",
        joins=None,
        addresses=(),
        mac=None,
        ports=(),
        hostname="web",
        dns=Dns(),
        host_aliases=(),
        restart_policy="Always",
        containers=(),
    )


def test_everything_an_object_can_say_of_its_network_arrives() -> None:
    found = sandbox(
        network={
            "mode": "Bridge",
            "podNetwork": "green",
            "addresses": ["10.8.0.9", "FD00::9"],
            "mac": "02-42-AC-11-00-09",
            "ports": [
                {"hostPort": 53, "containerPort": 5353, "protocol": "UDP"},
                {"hostPort": 80, "containerPort": 8080, "hostIP": "127.0.0.1"},
            ],
        },
        hostname="here",
        dns={
            "nameservers": ["1.1.1.1"],
            "searches": ["example.com"],
            "options": [{"name": "ndots", "value": "1"}, {"name": "edns0"}],
        },
        hostAliases=[{"ip": "10.0.0.7", "hostnames": ["db", "db.example"]}],
        restartPolicy="Never",
    )
    assert (found.network, found.mac) == ("green", "02:42:ac:11:00:09")
    assert found.addresses == (ip_address("10.8.0.9"), ip_address("fd00::9"))
    assert found.ports == (
        PublishedPort(53, 5353, "udp"),
        PublishedPort(80, 8080, "tcp", ip_address("127.0.0.1")),
    )
    assert (found.hostname, found.restart_policy) == ("here", "Never")
    assert found.dns == Dns((ip_address("1.1.1.1"),), ("example.com",), ("ndots:1", "edns0"))
    assert found.host_aliases == (HostAlias(ip_address("10.0.0.7"), ("db", "db.example")),)


def test_everything_an_object_can_say_of_a_container_arrives() -> None:
    container = {
        "name": "main",
        "image": "host",
        "command": ["sleep"],
        "args": ["5"],
        "env": [{"name": "A", "value": "1"}, {"name": "B"}],
        "workingDir": "/srv",
        "mounts": [
            {"source": "/etc", "target": "/mnt", "readOnly": True},
            {"source": "/srv", "target": "/srv"},
        ],
        "user": "nobody:nogroup",
        "readOnlyRootFilesystem": True,
        "resources": {"limits": {"cpu": "500m", "memory": "64Mi", "pids": 20}},
    }
    assert sandbox(containers=[container]).containers == (
        ContainerSpec(
            name="main",
            image="host",
            command=("sleep",),
            args=("5",),
            env=(("A", "1"), ("B", "")),
            working_dir="/srv",
            mounts=(Mount("/etc", "/mnt", True), Mount("/srv", "/srv")),
            user="nobody:nogroup",
            read_only_root=True,
            millicpus=500,
            memory_bytes=64 << 20,
            pids=20,
        ),
    )


@pytest.mark.parametrize(
    ("cpu", "millicpus"), [("500m", 500), (1, 1000), ("1.5", 1500), (0.25, 250), ("0.0101", 11)]
)
def test_cpus_are_thousandths_rounded_up(cpu: object, millicpus: int) -> None:
    limits = {"limits": {"cpu": cpu}}
    container = {"name": "a", "image": "host", "command": ["x"], "resources": limits}
    assert sandbox(containers=[container]).containers[0].millicpus == millicpus


@pytest.mark.parametrize(
    ("memory", "size"),
    [
        ("64Mi", 64 << 20),
        (67108864, 67108864),
        ("1G", 10**9),
        ("1.5Gi", 3 << 29),
        ("9000k", 9 * 10**6),
    ],
)
def test_memory_is_bytes(memory: object, size: int) -> None:
    limits = {"limits": {"memory": memory}}
    container = {"name": "a", "image": "host", "command": ["x"], "resources": limits}
    assert sandbox(containers=[container]).containers[0].memory_bytes == size


@pytest.mark.parametrize(
    ("name", "network", "hostname"),
    [
        ("web", {"mode": "None"}, "web"),
        ("web", {"mode": "Host"}, None),
        ("web", {"mode": "Container", "sandbox": "db"}, None),
        ("a" * 62 + "-bc", {"mode": "Bridge"}, "a" * 62),
        ("web.example", {"mode": "Bridge"}, "web.example"),
    ],
    ids=["none: its name", "host: the node's", "container: the joined one's", "cut", "dots"],
)
def test_the_hostname_follows_from_name_and_mode(
    name: str, network: dict[str, str], hostname: str | None
) -> None:
    assert sandbox(name, network=network).hostname == hostname


def test_published_ports_are_discarded_in_host_mode() -> None:
    port = {"hostPort": 80, "containerPort": 80}
    assert sandbox(network={"mode": "Host", "ports": [port]}).ports == ()


def test_container_mode_names_whom_it_joins() -> None:
    found = sandbox(network={"mode": "Container", "sandbox": "db"})
    assert (found.mode, found.joins) == ("Container", "db")


def test_hosts_are_dockers_lines_then_aliases_then_the_sandbox() -> None:
    aliases = (HostAlias(ip_address("10.0.0.7"), ("db", "db.example")),)
    assert hosts_text(aliases, (V4, V6), "web", ipv6=True) == (
        "127.0.0.1\tlocalhost\n" + NAMES_OF_IPV6 + "10.0.0.7\tdb db.example\n"
        "172.17.0.2\tweb\n"
        "fd00:17::2\tweb\n"
    )


def test_without_ipv6_no_line_has_an_ipv6_address() -> None:
    aliases = (HostAlias(ip_address("fd00::7"), ("db",)),)
    assert hosts_text(aliases, (V4,), "web", ipv6=False) == (
        "127.0.0.1\tlocalhost\n172.17.0.2\tweb\n"
    )


def test_mode_none_has_no_line_of_its_own() -> None:
    assert hosts_text((), (), "web", ipv6=True) == "127.0.0.1\tlocalhost\n" + NAMES_OF_IPV6


def test_a_hostname_with_a_domain_is_followed_by_the_bare_one() -> None:
    assert "172.17.0.2\tweb.example.com web\n" in hosts_text(
        (), (V4,), "web.example.com", ipv6=False
    )


@pytest.mark.parametrize("machine", ["127.0.0.1\tlocalhost\n", "127.0.0.1\tlocalhost"])
def test_host_mode_keeps_the_machines_hosts_and_adds_the_aliases(machine: str) -> None:
    aliases = (HostAlias(ip_address("10.0.0.7"), ("db",)),)
    assert with_aliases(machine, aliases) == "127.0.0.1\tlocalhost\n10.0.0.7\tdb\n"


def test_a_namespace_gets_the_nameservers_it_can_reach() -> None:
    assert resolv_text(MACHINE, Dns(), (4,), loopback=False) == (
        "nameserver 10.0.0.1\n"
        "search one.example two.example\n"
        "options edns0 ndots:2\n"
        "sortlist 10.0.0.0\n"
    )


def test_with_ipv6_it_gets_the_ipv6_ones_too() -> None:
    text = resolv_text(MACHINE, Dns(), (4, 6), loopback=False)
    assert text.startswith("nameserver 10.0.0.1\nnameserver fd00::53\nsearch")


@pytest.mark.parametrize(
    ("families", "servers"),
    [
        ((4,), ["8.8.8.8", "8.8.4.4"]),
        ((4, 6), ["8.8.8.8", "8.8.4.4", "2001:4860:4860::8888", "2001:4860:4860::8844"]),
        ((), ["8.8.8.8", "8.8.4.4"]),
    ],
)
def test_where_only_loopback_is_left_dockers_public_servers_stand(
    families: tuple[int, ...], servers: list[str]
) -> None:
    text = resolv_text("nameserver 127.0.0.53\n", Dns(), families, loopback=False)
    assert text == "".join(f"nameserver {server}\n" for server in servers)


def test_host_mode_has_a_copy_of_the_machines() -> None:
    assert resolv_text(MACHINE, Dns(), (), loopback=True) == MACHINE
    assert resolv_text("", Dns(), (), loopback=True) == ""


def test_host_mode_with_a_search_list_keeps_the_machines_loopback_server() -> None:
    text = resolv_text(MACHINE, Dns(searches=("x.example",)), (), loopback=True)
    assert text.startswith("nameserver 127.0.0.53\nnameserver 10.0.0.1\n")
    assert "search x.example\noptions edns0 ndots:2\n" in text


def test_what_the_sandbox_says_stands_instead_even_loopback() -> None:
    dns = Dns((ip_address("127.0.0.2"), V6), ("x.example",), ("ndots:5",))
    assert resolv_text(MACHINE, dns, (4,), loopback=False) == (
        "nameserver 127.0.0.2\nnameserver fd00:17::2\nsearch x.example\noptions ndots:5\n"
        "sortlist 10.0.0.0\n"
    )


def test_a_clusters_names_are_searched_in_the_sandboxs_own_namespace() -> None:
    ours = (
        "search podnet-system.svc.cluster.local svc.cluster.local cluster.local example.com\n"
        "nameserver 10.96.0.10\noptions ndots:5\n"
    )
    theirs = as_of_namespace(ours, "podnet-system", "default")
    assert theirs == ours.replace("podnet-system.", "default.")
    other = "search x-podnet-system.svc.local\n# podnet-system.svc.x\nnameserver 10.0.0.1\n"
    assert as_of_namespace(other, "podnet-system", "default") == other


def test_comments_and_empty_directives_say_nothing() -> None:
    machine = "; a\n #b\nnameserver\nsearch one.example\nsearch\nnameserver 10.0.0.1 # c\n\n"
    assert resolv_text(machine, Dns(), (4,), loopback=False) == (
        "nameserver 10.0.0.1\nsearch one.example\n"
    )
