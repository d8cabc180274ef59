"""The four modes as a user has them: what stands in the kernel, what status says, what is refused.

Most tests share one machine and leave it as it was: sandboxes are named after the test.
"""

import re
from collections.abc import Iterator
from typing import Any

import pytest

from support.bodies import FOREVER, network, sandbox
from support.host import Host, until
from support.podnet import Podnet
from support.traffic import Place, blocked, icmp, reach, serve, tcp, udp


@pytest.fixture
def fresh(machine: Podnet) -> Iterator[Podnet]:
    """The same, for tests that leave sandboxes and networks behind: they are taken away."""
    yield machine
    machine.clear()


# --- bridge ---


def test_status_tells_what_the_kernel_has(fresh: Podnet) -> None:
    """Both directions of the pair (`eth0@ifN`), MAC, MTU, addresses, bridge, namespace, process."""
    fresh.up(sandbox("facts", FOREVER))
    told = fresh.status("facts")
    (eth0,) = told["interfaces"]
    host, netns = fresh.host, told["netns"]["path"]
    (within,) = host.ip_json("address", "show", "eth0", netns=netns)
    outside = host.links()[eth0["peer"]["name"]]
    assert (within["ifindex"], within["link_index"]) == (eth0["ifindex"], eth0["peer"]["ifindex"])
    assert (outside["ifindex"], outside["link_index"]) == (eth0["peer"]["ifindex"], eth0["ifindex"])
    assert (within["address"], within["mtu"]) == (eth0["mac"], eth0["mtu"])
    (address,) = within["addr_info"]
    assert eth0["addresses"] == [f"{address['local']}/{address['prefixlen']}"]
    assert address["broadcast"] == "172.17.255.255"
    assert told["podIPs"] == [{"ip": address["local"]}]
    assert (outside["master"], eth0["podNetwork"]) == (eth0["bridge"], "default")
    assert (within["operstate"], outside["operstate"]) == ("UP", "UP")
    inode = host.run(["stat", "-Lc", "%i", netns]).stdout.strip()
    assert told["netns"]["inode"] == int(inode)
    pid = told["containers"][0]["pid"]
    assert host.run(["readlink", f"/proc/{pid}/ns/net"]).stdout.strip() == f"net:[{inode}]"
    assert netns == f"/run/netns/podnet-{told['sandboxID']}"


def test_bridge_mode_is_dockers_picture(fresh: Podnet) -> None:
    """The bridge has the first address, a pod's MAC is 02:42 and its address, .1 is the way out."""
    fresh.up(sandbox("picture", FOREVER))
    (eth0,) = fresh.status("picture")["interfaces"]
    ip = eth0["addresses"][0].partition("/")[0]
    assert eth0["mac"] == "02:42:" + bytes(map(int, ip.split("."))).hex(":")
    assert eth0["mtu"] == 1500
    netns = fresh.status("picture")["netns"]["path"]
    routes = fresh.host.run(["ip", "route"], netns=netns).stdout.splitlines()
    assert [" ".join(line.split()) for line in routes] == [
        "default via 172.17.0.1 dev eth0 proto 142",
        f"172.17.0.0/16 dev eth0 proto kernel scope link src {ip}",
    ]
    (bridge,) = fresh.host.ip_json("-4", "address", "show", "podnet0")
    assert [(a["local"], a["prefixlen"], a["broadcast"]) for a in bridge["addr_info"]] == [
        ("172.17.0.1", 16, "172.17.255.255")
    ]
    settings = {
        "net/ipv4/ip_unprivileged_port_start": "0",
        "net/ipv4/ping_group_range": "0\t2147483647",
        "net/ipv6/conf/eth0/disable_ipv6": "1",
        "net/ipv6/conf/lo/disable_ipv6": "0",
    }
    found = fresh.inside("picture", "cat", *(f"/proc/sys/{name}" for name in settings))
    assert found.splitlines() == list(settings.values())
    reach(fresh.place("picture"), icmp("172.17.0.1"))


def test_dual_stack_has_one_host_number(fresh: Podnet) -> None:
    """S27: an IPv6 address serves from the first instruction on, no router is listened to."""
    fresh.up(network("dual", subnets=["10.6.0.0/16", "fd00:6::/64"]))
    script = (
        "ip -6 -o address show dev eth0 scope global; cat /proc/sys/net/ipv6/conf/eth0/accept_ra"
    )
    wanted = {"podNetwork": "dual"}
    fresh.up(
        sandbox("six", ["sh", "-c", f"{script}; exec sleep 1000"], net=wanted)
        + sandbox("seven", FOREVER, net=wanted)
    )
    addresses = [
        each.split("/")[0].rpartition(":" if ":" in each else ".")[2]
        for each in fresh.status("six")["interfaces"][0]["addresses"]
    ]
    assert addresses[0] == addresses[1]
    said = until(lambda: fresh.run("logs", "six").stdout, "its first words")
    assert "tentative" not in said and "fd00:6::" in said and said.endswith("0\n")
    v4, v6 = (each["ip"] for each in fresh.status("seven")["podIPs"])
    here, other = fresh.place("six"), fresh.place("seven")
    with serve(other, 80):
        for target in (tcp(v4, 80), tcp(v6, 80), udp(v6, 80), icmp("fd00:6::1")):
            reach(here, target)
    for option in ("-4", "-6"):
        (default,) = fresh.host.ip_json(option, "route", "show", "default", netns=here.netns)
        assert default["gateway"] in ("10.6.0.1", "fd00:6::1")


def test_fixed_address_and_mac_are_what_the_kernel_has(fresh: Podnet) -> None:
    wanted = {"addresses": ["172.17.7.7"], "mac": "02:00:00:00:00:77"}
    fresh.up(sandbox("fixed", FOREVER, net=wanted))
    link = fresh.inside("fixed", "ip", "-o", "address", "show", "eth0")
    assert "172.17.7.7/16" in link
    (eth0,) = fresh.status("fixed")["interfaces"]
    assert (eth0["mac"], eth0["addresses"]) == ("02:00:00:00:00:77", ["172.17.7.7/16"])
    (there,) = fresh.host.ip_json("link", "show", "eth0", netns=fresh.place("fixed").netns)
    assert there["address"] == "02:00:00:00:00:77"


REFUSED = {
    "taken": (
        {"addresses": ["172.17.9.9"]},
        "172.17.9.9 is taken by PodSandbox/default/holder (host number 2313 of"
        " PodNetwork/default): choose another or leave it out",
    ),
    "outside": (
        {"addresses": ["10.1.1.1"]},
        "10.1.1.1 lies outside PodNetwork/default, whose range is 172.17.0.0/16",
    ),
    "the gateway": (
        {"addresses": ["172.17.0.1"]},
        "172.17.0.1 is the gateway of PodNetwork/default, on the bridge: choose another",
    ),
    "the network": (
        {"addresses": ["172.17.0.0"]},
        "172.17.0.0 is the network address of 172.17.0.0/16: choose another",
    ),
    "for broadcast": (
        {"addresses": ["172.17.255.255"]},
        "172.17.255.255 is the broadcast address of 172.17.0.0/16: choose another",
    ),
    "of no subnet": ({"addresses": ["fd00::2"]}, "fd00::2: PodNetwork/default has no IPv6 subnet"),
}


def test_an_address_no_pod_can_have_is_refused_and_nothing_is_left(fresh: Podnet) -> None:
    """S12: a precise sentence, no partial state. All at once: they share the wait."""
    fresh.up(sandbox("holder", net={"addresses": ["172.17.9.9"]}))
    before = everything(fresh.host)
    names = {what: f"bad-{number}" for number, what in enumerate(REFUSED)}
    fresh.apply("".join(sandbox(names[what], net=net) for what, (net, _) in REFUSED.items()))
    for what, (_, sentence) in REFUSED.items():
        where = f"PodSandbox/default/{names[what]} spec.network.addresses: "
        assert fresh.why_not(names[what]) == where + sentence
        assert fresh.condition(names[what])["reason"] == "Conflict"
    assert everything(fresh.host) == before


def test_a_mac_that_another_has_is_refused(fresh: Podnet) -> None:
    """S12: two interfaces of one MAC on one bridge would take each other's frames."""
    fresh.up(sandbox("first", net={"mac": "02:00:00:00:00:01"}))
    before = everything(fresh.host)
    fresh.apply(sandbox("second", net={"mac": "02:00:00:00:00:01"}))
    assert fresh.why_not("second") == (
        "PodSandbox/default/second spec.network.mac: 02:00:00:00:00:01 is taken on"
        " PodNetwork/default by PodSandbox/default/first: choose another or leave it out"
    )
    fresh.apply(sandbox("third", net={"mac": "02:42:ac:11:00:01"}))
    assert "is the bridge's" in fresh.why_not("third")
    assert everything(fresh.host) == before
    fresh.up(network("elsewhere", subnets=["10.8.0.0/24"]))
    fresh.up(sandbox("fourth", net={"podNetwork": "elsewhere", "mac": "02:00:00:00:00:01"}))


def test_an_address_is_passed_over_whose_mac_somebody_chose(make_host: Any) -> None:
    """A fixed MAC may be the one that follows from an address nobody has yet."""
    podnet = Podnet(make_host())
    podnet.up(sandbox("early", net={"mac": "02:42:ac:11:00:03"}) + sandbox("late", net="None"))
    podnet.up(sandbox("next"))
    assert podnet.status("next")["podIPs"] == [{"ip": "172.17.0.4"}]


def everything(host: Host) -> dict[str, Any]:
    """Links, addresses, rules and namespaces, as text to compare."""
    # A bridge that has its first port says for a moment that it has no carrier, and then gets the
    # kernel's own link-local routes.
    routes = host.run(["ip", "route", "show", "table", "all"]).stdout.replace(" linkdown", "")
    return {
        "links": sorted(host.links()),
        "rules": host.run(["nft", "--stateless", "list", "ruleset"]).stdout,
        "namespaces": host.run(["ls", "/run/netns"]).stdout,
        "routes": [line for line in routes.splitlines() if not re.search("fe80::|ff00::", line)],
    }


# --- networks ---


@pytest.mark.parametrize(
    ("routes", "subnet"),
    [
        pytest.param([], "172.17.0.0/16", id="the first where nothing is in its way"),
        pytest.param(
            ["172.17.5.0/24", "172.18.0.0/16"], "172.19.0.0/16", id="none that holds a route"
        ),
        pytest.param(["172.16.0.0/12"], "192.168.0.0/20", id="none within a route"),
        pytest.param(["default"], "172.17.0.0/16", id="a default route is in nobody's way"),
    ],
)
def test_a_network_without_subnet_gets_dockers_first_free_pool(
    routes: list[str], subnet: str, host: Host
) -> None:
    host.run(["ip", "link", "add", "wan", "type", "bridge"])
    host.run(["ip", "link", "set", "wan", "up"])
    for route in routes:
        host.run(["ip", "route", "add", route, "dev", "wan"])
    podnet = Podnet(host)
    podnet.agent()
    podnet.up(network("default"))
    assert podnet.json("get", "pnet", "default")["status"]["subnets"] == [subnet]
    podnet.up(network("another"))
    more = podnet.json("get", "pnet", "another")["status"]["subnets"]
    assert more != [subnet]
    for pool in (subnet, *more):
        host.run(["ip", "route", "add", "blackhole", pool, "metric", "9"])
    podnet.restart()
    chosen = [
        podnet.json("get", "pnet", name)["status"]["subnets"] for name in ("default", "another")
    ]
    assert chosen == [[subnet], more]


def test_a_default_of_ones_own_takes_the_place_of_the_unused_one(host: Host) -> None:
    podnet = Podnet(host)
    podnet.run("up")
    podnet.up(network("default", subnets=["10.3.0.0/16"]) + sandbox("web"))
    assert podnet.ip("web") == "10.3.0.2"
    assert [
        a["local"] for a in host.ip_json("-4", "address", "show", "podnet0")[0]["addr_info"]
    ] == ["10.3.0.1"]
    refused = podnet.up(network("default", subnets=["10.4.0.0/16"]), check=False)
    assert "is immutable and was 10.3.0.0/16, not 10.4.0.0/16" in refused.stderr


def test_networks_are_isolated_unless_they_say_otherwise(fresh: Podnet) -> None:
    fresh.up(
        network("closed", subnets=["10.11.0.0/24"])
        + network("open-a", subnets=["10.12.0.0/24"], isolated=False)
        + network("open-b", subnets=["10.13.0.0/24"], isolated=False)
    )
    fresh.up(
        sandbox("here")
        + "".join(
            sandbox(f"in-{name}", net={"podNetwork": name})
            for name in ("closed", "open-a", "open-b")
        )
    )
    ip = {name: fresh.status(name)["podIPs"][0]["ip"] for name in ("in-closed", "in-open-a")}
    at_open_b = fresh.place("in-open-b")
    with serve(fresh.place("in-closed"), 80), serve(fresh.place("in-open-a"), 80):
        open_way = tcp(ip["in-open-a"], 80)
        blocked(at_open_b, tcp(ip["in-closed"], 80), beside=open_way)
        reach(Place(fresh.host), tcp(ip["in-closed"], 80))
        blocked(fresh.place("here"), open_way, beside=icmp("172.17.0.1"))


@pytest.mark.parametrize(
    ("manifest", "sentence"),
    [
        (
            network("over", subnets=["172.17.4.0/24"]),
            "PodNetwork/over spec.subnets: 172.17.4.0/24 overlaps 172.17.0.0/16 of"
            " PodNetwork/default: choose another range",
        ),
        (
            network("over", subnets=["10.77.0.0/25"]),
            "PodNetwork/over spec.subnets: 10.77.0.0/25 overlaps this machine's route to"
            " 10.77.0.0/16 (ip route): choose another range",
        ),
    ],
    ids=["another network", "a route"],
)
def test_a_subnet_that_overlaps_is_refused_until_it_does_not(
    manifest: str, sentence: str, fresh: Podnet
) -> None:
    """S11: the condition says with what; once that is gone the network is built."""
    fresh.host.run(["ip", "link", "add", "dmz", "type", "bridge"])
    fresh.host.run(["ip", "address", "add", "10.77.0.1/16", "dev", "dmz"])
    fresh.host.run(["ip", "link", "set", "dmz", "up"])
    try:
        fresh.apply(manifest)
        fresh.apply(sandbox("waiting", net={"podNetwork": "over"}))

        def said() -> str:
            return str(fresh.condition("over", "podnetwork").get("message"))

        until(lambda: said() == sentence, "the network's condition")
        assert fresh.why_not("waiting") == sentence
    finally:
        fresh.host.run(["ip", "link", "del", "dmz"])
    if "route" in sentence:
        fresh.run("wait", "psb/waiting", "--for=condition=Ready", "--timeout=10s")


# --- none, host, several containers ---


def test_mode_none_is_lo_alone(fresh: Podnet) -> None:
    fresh.up(sandbox("alone", FOREVER, net="None"))
    lines = fresh.inside("alone", "sh", "-c", "ip -br address; ip route; ip -6 route")
    assert [line.split() for line in lines.splitlines()] == [
        ["lo", "UNKNOWN", "127.0.0.1/8", "::1/128"]
    ]
    told = fresh.status("alone")
    assert (told["interfaces"], told["podIPs"]) == ([], [])
    assert fresh.condition("alone")["status"] == "True"


def test_host_mode_has_no_namespace_of_its_own(fresh: Podnet) -> None:
    net = {"mode": "Host", "ports": [{"hostPort": 8080, "containerPort": 80}]}
    done = fresh.up(sandbox("guest", FOREVER, net=net))
    assert "Published ports are discarded when using host network mode" in done.stderr
    told = fresh.status("guest")
    own = fresh.host.run(["readlink", "/proc/1/ns/net"]).stdout.strip()
    assert fresh.inside("guest", "readlink", "/proc/self/ns/net") == own
    assert own == f"net:[{told['netns']['inode']}]"
    assert told["interfaces"] == []
    assert "podnet0" in fresh.inside("guest", "ip", "-br", "link")


def test_containers_of_one_sandbox_meet_on_localhost(fresh: Podnet) -> None:
    """As in a pod: what one serves the other reaches at 127.0.0.1, nobody else does."""
    server = "echo hello > /tmp/index.html; exec busybox httpd -f -p 127.0.0.1:8000 -h /tmp"
    fresh.up(sandbox("pair", ["sh", "-c", server], FOREVER))
    question = ("busybox", "wget", "-qO-", "http://127.0.0.1:8000/")

    def answered() -> bool:
        done = fresh.run("exec", "pair", "-c", "c1", "--", *question, check=False)
        return bool(done.stdout == "hello\n")

    until(answered, "the other container's answer")
    blocked(Place(fresh.host), tcp("127.0.0.1", 8000), beside=icmp("127.0.0.1"))


def test_a_port_is_taken_once_in_a_namespace(fresh: Podnet) -> None:
    """Also by a sandbox that joined: EADDRINUSE, as for two processes of one machine."""
    server = ("busybox", "httpd", "-f", "-p", "8000")
    fresh.up(sandbox("first", server))
    until(lambda: ":8000" in fresh.inside("first", "ss", "-ltn"), "the server")
    joined = {"mode": "Container", "sandbox": "first"}
    fresh.apply(sandbox("second", server, net=joined, restartPolicy="Never"))
    fresh.run("wait", "psb/second", "--for=jsonpath={.status.phase}=Failed", "--timeout=5s")
    assert "Address already in use" in fresh.run("logs", "second").stdout
    other = fresh.up(sandbox("third", server))
    assert "ready" in other.stdout
