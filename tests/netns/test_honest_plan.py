"""The plan is honest: a person who types its commands has what podnet would have made.

One machine runs the printed script and has no agent; another one runs `podnet up`. Then all that
iproute2, nft and /proc/sys tell of the node and of every pod is compared.
"""

import contextlib
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from support.bodies import network, published, sandbox
from support.host import Host, until
from support.pages import OF_CLUSTERS, PAGES, ROOT
from support.picture import differences, picture
from support.podnet import PROGRAM, Podnet

PATH = f"{PROGRAM.parent}:/usr/sbin:/usr/bin:/sbin:/bin"
WIDE = (
    network("default", subnets=["10.90.0.0/16", "fd00:90::/64"], mtu=1400)
    + network(
        "second",
        subnets=["10.91.0.0/24"],
        masquerade=False,
        isolated=False,
        bridge={"name": "second0"},
    )
    + network("six", subnets=["fd00:96::/64"])
    + sandbox(
        "ports",
        net={
            "ports": [
                {"hostPort": 53, "containerPort": 5353, "protocol": "UDP"},
                {"hostPort": 53, "containerPort": 5353, "protocol": "TCP"},
                {"hostPort": 80, "containerPort": 8080, "hostIP": "127.0.0.1"},
                {"hostPort": 81, "containerPort": 8080, "hostIP": "fd00:90::1"},
            ]
        },
    )
    + sandbox("fixed", net={"addresses": ["10.90.7.7"], "mac": "02:00:00:00:00:77"})
    + sandbox("plain", net={"podNetwork": "second"})
    + sandbox("newer", net={"podNetwork": "six", **published(8443, 443)})
    + sandbox("alone", net="None")
    + sandbox("guest", net="Host")
    + sandbox("lodger", net={"mode": "Container", "sandbox": "plain"})
)
MANIFESTS = {
    "one without anything": sandbox("alone"),
    "wide": WIDE,
    "demo": (ROOT / "demo" / "article.yaml").read_text(),
    **{
        f"experiment {name}": "\n---\n".join(
            file.read_text()
            for file in (ROOT / "experiments" / "lab.yaml", *sorted(page.parent.glob("*.yaml")))
            if file.name not in ("greedy.yaml", "rival.yaml")  # is refused; ends at once
        )
        for name, page in PAGES.items()
        if name not in OF_CLUSTERS
    },
}


@pytest.mark.parametrize("manifest", MANIFESTS.values(), ids=MANIFESTS)
def test_the_printed_commands_make_what_podnet_makes(
    manifest: str, make_host: Callable[..., Host]
) -> None:
    compare(manifest, make_host(), make_host())


def test_they_do_where_bridged_frames_pass_the_firewall(make_host: Callable[..., Host]) -> None:
    text = compare(WIDE, make_host(bridge_nf=True), make_host(bridge_nf=True))
    assert "hairpin on" in text


def test_they_do_where_a_foreign_chain_drops(make_host: Callable[..., Host]) -> None:
    hosts = make_host(), make_host()
    for host in hosts:
        host.run(["iptables", "-P", "FORWARD", "DROP"])
    text = compare(sandbox("web", net=published(8080)), *hosts)
    assert "iptables -w -I FORWARD -o podnet0 " in text


def test_they_do_where_the_uplink_hears_router_advertisements(
    make_host: Callable[..., Host],
) -> None:
    hosts = make_host(), make_host()
    for host in hosts:
        host.run(["ip", "link", "add", "wan", "address", "02:00:00:00:00:01", "type", "bridge"])
        host.run(["ip", "link", "set", "wan", "mtu", "1400", "up"])
        host.run(["ip", "address", "add", "192.0.2.1/24", "dev", "wan"])
        host.run(["ip", "route", "add", "default", "via", "192.0.2.254"])
    text = compare(WIDE.replace(', "mtu": 1400', ""), *hosts)
    assert "sysctl -q -w net/ipv6/conf/wan/accept_ra=2" in text


def test_planning_touches_nothing(host: Host) -> None:
    before = picture(host, {}), host.run(["find", "/run"]).stdout
    assert "ip link add podnet0 " in script(host, WIDE)
    assert (picture(host, {}), host.run(["find", "/run"]).stdout) == before


def compare(manifest: str, typed: Host, built: Host) -> str:
    """Type the plan's commands in one, have podnet do it in the other, and find no difference.

    Returns the script.
    """
    text = script(typed, manifest)
    typed.run(["sh"], input=text, env={"PATH": PATH})
    added = re.findall(r"^# (\S+) spec\.network\.mode\nip netns add (\S+)$", text, re.MULTILINE)
    typed_pods = {name: owner for owner, name in added}
    podnet = Podnet(built)
    podnet.up(manifest)
    built_pods = {
        Path(pod["status"]["netns"]["path"]).name: f"PodSandbox/default/{pod['metadata']['name']}"
        for pod in podnet.json("get", "podsandboxes")["items"]
        if pod["spec"].get("network", {}).get("mode") not in ("Host", "Container")
    }
    assert sorted(typed_pods.values()) == sorted(built_pods.values())
    found: list[str] = []

    def same() -> bool:
        found[:] = differences(picture(typed, typed_pods), picture(built, built_pods))
        return not found

    with contextlib.suppress(AssertionError):  # links and addresses take a moment to settle
        until(same, "the same picture")
    assert found == []
    return text


def script(host: Host, manifest: str) -> str:
    """What `podnet plan -o sh` prints there; no agent runs."""
    return Podnet(host).run("plan", "-f", "-", "-o", "sh", input=manifest).stdout
