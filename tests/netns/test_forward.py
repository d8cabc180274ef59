"""Beside a foreign firewall that drops what is forwarded: our exceptions, and no more of it."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from ipaddress import ip_network

import pytest

from podnet.attachment import PublishedPort
from podnet.desired import DroppingChain
from podnet.errors import PodNetError
from podnet.network import Node as Machine
from podnet.objects import Netns
from podnet.plan import Plan
from podnet_agent.forward import Forward
from podnet_agent.namespaces import entered
from support.docker import Docker
from support.host import Host
from support.node import Node
from support.traffic import Place, Target, blocked, icmp, reach, serve, tcp
from support.values import DUAL, NETWORK, NODE
from support.wire import connect

KINDS = ["nft", "legacy"]
"""Debian has both interfaces of iptables, and either may be the one called `iptables`."""
NOTHING_TO_DO = Plan(())
OTHER = ip_network("10.2.0.0/16")


@pytest.fixture
def forward(host: Host) -> Iterator[Forward]:
    """Of the host's network namespace, in which the test's thread is meanwhile.

    Only to look at chains of nftables: iptables itself has files that are the machine's.
    """
    with entered(Netns(str(host.netns_path))):
        yield Forward()


def tables(kind: str) -> tuple[str, str]:
    return f"iptables-{kind}", f"ip6tables-{kind}"


def drop(host: Host, kind: str, *, dockers: bool) -> None:
    """As Docker does it, for both families."""
    for command in tables(kind):
        host.run([command, "-P", "FORWARD", "DROP"])
        if dockers:
            host.run([command, "-N", "DOCKER-USER"])
            host.run([command, "-A", "DOCKER-USER", "-j", "RETURN"])
            host.run([command, "-A", "FORWARD", "-j", "DOCKER-USER"])


def rules(host: Host, kind: str) -> list[str]:
    return [
        line for command in tables(kind) for line in host.run([command, "-S"]).stdout.splitlines()
    ]


@pytest.mark.parametrize("bridge_nf", [False, True], ids=["routed", "bridged frames filtered"])
@pytest.mark.parametrize("dockers", [True, False], ids=["DOCKER-USER", "FORWARD"])
@pytest.mark.parametrize("kind", KINDS)
def test_where_forwarding_is_dropped_traffic_goes_on(
    make_host: Callable[..., Host], kind: str, dockers: bool, bridge_nf: bool
) -> None:
    """S15, S14: pods to each other, outside, from outside; isolation holds; it is all undone."""
    host, outside = make_host("node", bridge_nf=bridge_nf), make_host("outside")
    near, far = connect(host, outside)
    drop(host, kind, dockers=dockers)
    before = rules(host, kind)
    machine: Machine = replace(NODE, bridge_netfilter=bridge_nf)
    ours = replace(DUAL, hairpin=bridge_nf, masquerade_neighbours=not bridge_nf)
    other = replace(ours, name="other", bridge="pn-other", subnets=(OTHER,), pod_cidrs=(OTHER,))
    node = Node(host)
    node.networks(ours, other, machine=machine)
    node.attach("web", ours, ports=(PublishedPort(8080, 80),))
    node.attach("client", ours)
    node.attach("stranger", other)
    web, client, stranger = (
        Place(host, f"/run/netns/podnet-{name}") for name in ("web", "client", "stranger")
    )
    with serve(web, 80), serve(Place(outside), 80):
        for pod, beyond, here in (
            ("172.17.0.2", far.ipv4.ip, near.ipv4.ip),
            ("fd00:17::2", far.ipv6.ip, near.ipv6.ip),
        ):
            reach(client, icmp(pod))
            reach(client, tcp(beyond, 80))
            reach(Place(outside), tcp(here, 8080))
            reach(client, tcp(here, 8080))
        blocked(stranger, tcp("172.17.0.2", 80), beside=tcp(far.ipv4.ip, 80))
    assert node.plan() == NOTHING_TO_DO
    for name in ("web", "client", "stranger"):
        node.detach(name)
    node.networks()
    assert rules(host, kind) == before


@pytest.mark.parametrize("kind", KINDS)
def test_without_exceptions_nothing_is_forwarded(make_host: Callable[..., Host], kind: str) -> None:
    """The other way round: a firewall that comes later, and the repair that opens it."""
    host, outside = make_host("node"), make_host("outside")
    _, far = connect(host, outside)
    node = Node(host)
    node.networks(NETWORK)
    node.attach("client")
    client = Place(host, "/run/netns/podnet-client")
    target: Target = tcp(far.ipv4.ip, 80)
    with serve(Place(outside), 80):
        reach(client, target)
        drop(host, kind, dockers=False)
        blocked(client, target, beside=icmp("172.17.0.1"))
        assert len(node.reconcile().operations) == 4  # two directions, two families
        reach(client, target)
        for command in tables(kind):
            host.run([command, "-F"])
        blocked(client, target, beside=icmp("172.17.0.1"))
        node.reconcile()
        reach(client, target)
    for command in tables(kind):
        host.run([command, "-P", "FORWARD", "ACCEPT"])
    assert len(node.reconcile().operations) == 4
    assert not [line for line in rules(host, kind) if "podnet" in line]
    assert node.plan() == NOTHING_TO_DO


@pytest.mark.parametrize("kind", KINDS)
def test_exceptions_follow_docker_when_it_comes_later(host: Host, kind: str) -> None:
    drop(host, kind, dockers=False)
    node = Node(host)
    node.networks(NETWORK)
    assert sum("-A FORWARD" in line and "podnet0" in line for line in rules(host, kind)) == 4
    drop(host, kind, dockers=True)
    node.reconcile()
    found = [line for line in rules(host, kind) if "podnet0" in line]
    assert len(found) == 4
    assert all(line.startswith("-A DOCKER-USER ") for line in found)
    assert node.plan() == NOTHING_TO_DO


@pytest.mark.parametrize("kind", KINDS)
def test_rules_of_others_about_our_bridge_are_not_ours(host: Host, kind: str) -> None:
    drop(host, kind, dockers=True)
    node = Node(host)
    node.networks(NETWORK)
    theirs = ["-i", "podnet0", "-m", "comment", "--comment", "podnet or so", "-j", "ACCEPT"]
    for command in tables(kind):
        host.run([command, "-I", "DOCKER-USER", *theirs])
        host.run([command, "-I", "DOCKER-USER", "-o", "podnet0", "-j", "ACCEPT"])
    before = rules(host, kind)
    assert node.plan() == NOTHING_TO_DO
    node.networks()
    assert rules(host, kind) == [line for line in before if "--comment podnet -j" not in line]


def test_without_a_firewall_no_process_is_started(host: Host) -> None:
    """Neither iptables nor its tables are needed; nothing of them is there afterwards."""
    for kind in KINDS:
        host.run(["sh", "-ec", f"mount --bind /dev/null $(realpath $(which iptables-{kind}))"])
    node = Node(host)
    node.networks(NETWORK)
    assert node.plan() == NOTHING_TO_DO
    assert {one["table"]["name"] for one in host.nft_json() if "table" in one} == {"podnet"}


def test_where_iptables_is_missing_it_is_said_what_to_install(host: Host) -> None:
    host.run(["nft", "add table ip filter; add chain ip filter FORWARD"
              " { type filter hook forward priority 0; policy drop; }"])  # fmt: skip
    host.run(["sh", "-c", "mount -t tmpfs none /usr/sbin || :"])
    node = Node(host)
    with pytest.raises(PodNetError, match="iptables, which could make an exception, is not there"):
        node.networks(NETWORK)


@pytest.mark.parametrize(
    ("text", "dropping"),
    [
        pytest.param("table ip filter { chain FORWARD { HOOK policy accept; } }", [], id="accepts"),
        pytest.param(
            "table ip filter { chain FORWARD { HOOK policy drop; } }",
            [DroppingChain("iptables", "FORWARD")],
            id="IPv4",
        ),
        pytest.param(
            "table ip6 filter { chain FORWARD { HOOK policy drop; }; chain DOCKER-USER { }; }",
            [DroppingChain("ip6tables", "DOCKER-USER")],
            id="IPv6, Docker's",
        ),
        pytest.param("table inet filter { chain FORWARD { HOOK policy drop; } }", [], id="native"),
        pytest.param("table ip mine { chain FORWARD { HOOK policy drop; } }", [], id="another"),
    ],
)
def test_which_chains_are_opened_by_iptables(
    host: Host, forward: Forward, text: str, dropping: list[DroppingChain]
) -> None:
    load(host, text)
    assert list(forward.dropping()) == dropping


@pytest.mark.parametrize(
    ("text", "sentence", "opened"),
    [
        pytest.param(
            "table inet filter { chain forward { HOOK policy drop; } }",
            "the nftables chain inet filter forward drops what podnet0 forwards: nft insert rule"
            " inet filter forward iifname podnet0 accept && nft insert rule inet filter forward"
            " oifname podnet0 accept",
            "insert rule inet filter forward iifname podnet0 accept",
            id="a native chain",
        ),
        pytest.param(
            "table inet firewalld { chain filter_FORWARD { HOOK policy accept; reject; } }",
            "firewalld rejects what podnet0 forwards: firewall-cmd --permanent --zone=trusted"
            " --add-interface=podnet0 && firewall-cmd --reload",
            "insert rule inet firewalld filter_FORWARD iifname podnet0 accept",
            id="firewalld",
        ),
        pytest.param(
            "table ip filter { chain ufw-user-input { }; }",
            "ufw keeps pods on podnet0 from this machine's own services (not from each other, not"
            " from outside): ufw allow in on podnet0",
            "add rule ip filter ufw-user-input iifname podnet0 accept",
            id="ufw",
        ),
    ],
)
def test_what_only_a_person_can_open_is_said_until_it_is(
    host: Host, forward: Forward, text: str, sentence: str, opened: str
) -> None:
    assert forward.obstacles(["podnet0"]) == ()
    load(host, text)
    assert forward.obstacles([]) == ()
    assert forward.obstacles(["podnet0"]) == (sentence,)
    host.run(["nft", opened])
    assert forward.obstacles(["podnet0"]) == ()


def load(host: Host, text: str) -> None:
    hook = "type filter hook forward priority 0;"
    host.run(["nft", "-f", "-"], input=text.replace("HOOK", hook).replace(" }", "\n}"))


def test_beside_a_real_docker(dockerd: Docker) -> None:
    """S15: its own FORWARD drops; podnet's pods reach each other, and Docker's rules stay."""
    host = dockerd.host
    assert "-P FORWARD DROP" in host.run(["iptables", "-S", "FORWARD"]).stdout
    before = rules(host, "nft")
    node = Node(host)
    open_to = [
        replace(NETWORK, name=name, bridge=f"pn-{name}", subnets=(cidr,), pod_cidrs=(cidr,),
                isolated=False)
        for name, cidr in (("one", OTHER), ("two", ip_network("10.3.0.0/16")))
    ]  # fmt: skip
    node.networks(*open_to)
    for name, network in zip(("here", "there"), open_to, strict=True):
        node.attach(name, network)
    here, there = (Place(host, f"/run/netns/podnet-{name}") for name in ("here", "there"))
    with serve(there, 80):
        reach(here, tcp("10.3.0.2", 80))
        host.run(["iptables", "-F", "DOCKER-USER"])
        blocked(here, tcp("10.3.0.2", 80), beside=icmp("10.2.0.1"))
        node.reconcile()
        reach(here, tcp("10.3.0.2", 80))
    for name in ("here", "there"):
        node.detach(name)
    node.networks()
    host.run(["iptables", "-A", "DOCKER-USER", "-j", "RETURN"])  # which we flushed
    assert rules(host, "nft") == before
