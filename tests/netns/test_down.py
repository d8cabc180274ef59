"""`podnet down`: all of ours goes and nothing else, whatever state the machine is in."""

import re
from typing import Any

import pytest

from support.bodies import FOREVER, network, published, sandbox
from support.host import Host, until
from support.podnet import Podnet

FOREIGN = """
ip link add pn-theirs address 02:00:00:00:00:99 type bridge
ip address add 198.51.100.1/24 dev pn-theirs
ip link set pn-theirs up
ip route add 203.0.113.0/24 dev pn-theirs
ip rule add from 203.0.113.9 table 142 priority 14200
ip netns add theirs
ip netns add podnet-theirs
nft add table ip podnet
nft add table inet filter
nft add chain inet filter forward '{ type filter hook forward priority 0; }'
nft add rule inet filter forward counter accept comment '"podnet"'
mkdir /run/mine
mount -t tmpfs mine /run/mine
touch /run/mine/podnet
"""
EVERYTHING = (
    network("six", subnets=["10.6.0.0/24", "fd00:6::/64"])
    + sandbox("web", FOREVER, FOREVER, net=published(8080))
    + sandbox("dual", FOREVER, net={"podNetwork": "six", **published(53, protocol="UDP")})
    + sandbox("alone", net="None")
    + sandbox("guest", FOREVER, net="Host")
    + sandbox("member", FOREVER, net={"mode": "Container", "sandbox": "web"})
)


def state(host: Host) -> dict[str, Any]:
    """Everything podnet may touch: links to settings, mounts, processes, groups and files."""

    def said(script: str) -> list[str]:
        lines = host.run(["sh", "-c", script], check=False).stdout.splitlines()
        return sorted(re.sub(" linkdown|qdisc .*|<.*?>", "", line) for line in lines)

    settings = "cd /proc/sys/net; grep -rs . ipv4/ip_forward ipv4/conf/all ipv4/conf/default"
    return {
        "links": said("ip -o -br link | awk '{print $1}'"),
        "addresses": said("ip -o address | grep -v fe80"),
        "routes": said("ip route show table all; ip -6 route show table all | grep -v fe80"),
        "neighbours": said("ip rule"),
        "rules": said("nft -s list ruleset"),
        "namespaces": said("ls /run/netns"),
        "mounts": said("grep -E '/run/|podnet' /proc/mounts | grep -v '^tmpfs /run/netns'"),
        "processes": said("ps -eo args | grep -E 'conmon|runc|sleep|podnet' | grep -v grep"),
        "groups": said("find /sys/fs/cgroup -name podnet"),
        "files": said("find /run -maxdepth 2 | grep -v -E '^/run/(netns|podnet-agent.log)'"),
        "ports": said("ss -Hlntu; ss -Hant"),
        "settings": said(f"{settings} ipv6/conf/all ipv6/conf/default | grep -v secret"),
    }


def differences(before: dict[str, Any], after: dict[str, Any]) -> list[str]:
    return [
        f"{key}: {sign}{line}"
        for key in before
        for sign, lines in (
            ("-", set(before[key]) - set(after[key])),
            ("+", set(after[key]) - set(before[key])),
        )
        for line in sorted(lines)
    ]


def gone(host: Host, before: dict[str, Any]) -> None:
    """Fail unless all is as it was before, but for the folder /run/netns that `ip` makes too."""
    until(
        lambda: not differences(before, state(host)),
        f"nothing left; but: {differences(before, state(host))}",
        3,
    )


@pytest.fixture
def podnet(host: Host) -> Podnet:
    """The program, on a machine with things of others."""
    host.run(["sh", "-ec", FOREIGN])
    return Podnet(host)


def test_down_leaves_the_machine_as_up_found_it(podnet: Podnet) -> None:
    before = state(podnet.host)
    podnet.up(EVERYTHING)
    podnet.run("attach", "alone", "--network=six")
    podnet.run("run", "-d", "--name=away", "--", "sleep", "1000")
    assert differences(before, state(podnet.host))
    done = podnet.run("down")
    assert done.stdout == "removed 6 podsandboxes, 2 podnetworks\n"
    assert done.stderr == ""
    gone(podnet.host, before)
    assert podnet.run("down").stdout == "nothing of podnet's is on this machine\n"


def test_down_after_a_killed_agent_takes_over_and_takes_away(podnet: Podnet) -> None:
    before = state(podnet.host)
    podnet.agent()
    podnet.up(EVERYTHING)
    podnet.kill()
    assert "removed 5 podsandboxes" in podnet.run("down").stdout
    podnet.host.run(["rm", "-f", "/run/podnet-agent.log"])
    gone(podnet.host, before)


def test_down_without_any_record_goes_by_what_it_finds(podnet: Podnet) -> None:
    """S10: the folder with all records is gone as well."""
    before = state(podnet.host)
    podnet.agent()
    podnet.up(EVERYTHING)
    podnet.run("delete", "psb", "web", "guest", "member", "dual")
    podnet.up(sandbox("bare", net={"podNetwork": "six"}))
    podnet.kill()
    podnet.host.run(["sh", "-c", "rm -rf /run/podnet/*"], check=False)
    podnet.run("down")
    left = [
        line
        for line in differences(before, state(podnet.host))
        if not line.startswith(("settings:", "files:", "mounts:"))  # no record of what was there
    ]
    assert left == []


def test_down_while_sandboxes_come_up_is_the_end_of_them(podnet: Podnet) -> None:
    before = state(podnet.host)
    podnet.agent()
    podnet.apply("".join(sandbox(f"s{number}", FOREVER) for number in range(8)))
    podnet.run("down")
    podnet.host.run(["rm", "-f", "/run/podnet-agent.log"])
    gone(podnet.host, before)


def test_down_ends_what_does_not_want_to_end(podnet: Podnet) -> None:
    before = state(podnet.host)
    stubborn = ["sh", "-c", "trap '' TERM INT; while :; do sleep 0.05; done"]
    podnet.up(
        sandbox("stubborn", stubborn) + sandbox("failing", ["sh", "-c", "exit 3"], net="Host")
    )
    podnet.run("delete", "psb", "stubborn", "--grace-period=1")
    podnet.run("down")
    gone(podnet.host, before)


# --- forwarding ---


@pytest.mark.parametrize("was", ["0", "1"])
def test_forwarding_is_given_back_as_it_was(was: str, host: Host) -> None:
    names = ("net/ipv4/ip_forward", "net/ipv6/conf/all/forwarding")
    for name in names:
        host.sysctl(name, was)
    podnet = Podnet(host)
    podnet.up(network("six", subnets=["10.6.0.0/24", "fd00:6::/64"]))
    assert [host.sysctl(name) for name in names] == ["1", "1"]
    assert podnet.run("down").stderr == ""
    assert [host.sysctl(name) for name in names] == [was, was]


def test_forwarding_that_others_need_stays_and_is_said(host: Host) -> None:
    """A bridge that came meanwhile leads to machines of others; of IPv6 there is nothing there."""
    podnet = Podnet(host)
    podnet.up(network("six", subnets=["10.6.0.0/24", "fd00:6::/64"]) + sandbox("web"))
    host.run(["ip", "link", "add", "docker0", "type", "bridge"])
    host.run(["ip", "address", "add", "10.99.0.1/24", "dev", "docker0"])
    host.run(["ip", "link", "set", "docker0", "up"])
    done = podnet.run("down")
    assert done.stdout.splitlines()[1:] == [
        "net/ipv4/ip_forward stays on, which was off before podnet came: docker0, which is not"
        " podnet's, may need it by now: `sysctl -w net/ipv4/ip_forward=0` switches it off"
    ]
    assert host.sysctl("net/ipv4/ip_forward") == "1"
    assert host.sysctl("net/ipv6/conf/all/forwarding") == "0"


def test_a_setting_that_was_given_back_is_not_taken_again(host: Host) -> None:
    """The agent runs on without a network; what a person sets from then on stays."""
    host.sysctl("net/ipv4/ip_forward", 0)
    podnet = Podnet(host)
    podnet.agent()
    podnet.run("delete", "pnet", "default")
    assert host.sysctl("net/ipv4/ip_forward") == "0"
    host.sysctl("net/ipv4/ip_forward", 1)
    podnet.restart()
    podnet.run("delete", "pnet", "default")
    podnet.run("down")
    assert host.sysctl("net/ipv4/ip_forward") == "1"
