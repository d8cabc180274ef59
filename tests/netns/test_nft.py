"""The table in the kernel: loaded, read back, damaged, repaired; its elements one by one."""

import ctypes
import sys
from collections.abc import Iterator
from dataclasses import replace
from errno import EEXIST
from ipaddress import ip_address, ip_network
from pathlib import Path

import pytest

from podnet.attachment import PublishedPort
from podnet.desired import attachment_objects, network_objects
from podnet.objects import Element, Netns, Ruleset
from podnet.plan import Add, Change, Operation, Plan, Remove
from podnet.ruleset import TABLE, VERSION
from podnet_agent.namespaces import entered
from podnet_agent.nft import NftError, Table
from support.host import Host
from support.node import Node
from support.traffic import Place, Stream, reach, serve, tcp, uninterrupted
from support.values import DUAL, NETWORK, attachment

LOAD = Add(Ruleset(version=VERSION))
WEB = Element(container="pn_any4", match="tcp . 80", verdict="172.17.0.2 . 8080")
DNS = Element(container="pn_any4", match="udp . 53", verdict="172.17.0.2 . 53")
PORTS = (
    PublishedPort(8080, 80),
    PublishedPort(53, 53, "udp"),
    PublishedPort(443, 443, host_ip=ip_address("127.0.0.1")),
    PublishedPort(443, 443, host_ip=ip_address("2001:db8::1")),
)


@pytest.fixture
def table(host: Host) -> Iterator[Table]:
    """Of the host's network namespace, in which the test's thread is meanwhile."""
    with entered(Netns(str(host.netns_path))):
        yield Table()


def elements(table: Table) -> set[Element]:
    return {found.what for found in table.listing().values() if isinstance(found.what, Element)}


# --- one transaction ---


def test_where_there_is_no_table_nothing_is_listed(table: Table) -> None:
    assert table.listing() == {}


def test_what_is_loaded_is_listed_as_it_was_asked_for(table: Table) -> None:
    """Networks side by side, of one address, with names that nft has other meanings for."""
    narrow = replace(
        DUAL,
        name="narrow",
        bridge="ip",
        subnets=(ip_network("172.18.0.0/16"), ip_network("fd00:18:0:0:8000::/65")),
        pod_cidrs=(ip_network("172.18.0.0/30"), ip_network("fd00:18:0:0:8000::/126")),
    )
    odd = replace(NETWORK, bridge="a-b.c_d", subnets=(ip_network("10.0.0.1/32"),), pod_cidrs=())
    pod = attachment(1, "172.17.0.2/16", "fd00:17::a:2/64", ports=PORTS)
    things = [*network_objects(DUAL), *network_objects(narrow), *attachment_objects(DUAL, pod)]
    wanted = [thing for thing in things if isinstance(thing, Element)]
    wanted += [
        Element(container=f"pn_{name}", match=match)
        for name, match in (
            ("bridges", odd.bridge),
            ("own4", f"{odd.bridge} . 10.0.0.1/32"),
            ("nets4", "10.0.0.1/32"),
        )
    ]
    table.commit([LOAD, *map(Add, wanted)])
    assert elements(table) == set(wanted)
    assert all(found.ours for found in table.listing().values())
    assert {found.what.within for found in table.listing().values()} == {None, TABLE}
    table.commit([Remove(thing) for thing in wanted])
    assert elements(table) == set()
    assert table.commits == 2


def test_an_element_is_led_elsewhere_in_one_transaction(table: Table) -> None:
    new = replace(WEB, verdict="172.17.0.3 . 8080")
    table.commit([LOAD, Add(WEB)])
    table.commit([Change(new, WEB)])
    assert elements(table) == {new}
    assert table.commits == 2


def test_adding_what_is_there_changes_nothing(table: Table) -> None:
    table.commit([LOAD, Add(WEB)])
    table.commit([Add(WEB)])
    assert elements(table) == {WEB}


def test_all_or_nothing(table: Table) -> None:
    table.commit([LOAD, Add(WEB)])
    taken = Add(replace(WEB, verdict="172.17.0.9 . 1"))
    for first in (Add(DNS), Change(replace(DNS, verdict="172.17.0.9 . 53"), DNS)):
        before = elements(table)
        with pytest.raises(NftError, match="File exists") as caught:
            table.commit([first, taken])
        assert caught.value.errno == EEXIST
        assert elements(table) == before
        table.commit([Add(DNS)])


@pytest.mark.parametrize(
    "gone",
    ["delete element inet podnet pn_any4 { tcp . 80 }", "delete table inet podnet"],
    ids=["the element", "the whole table"],
)
@pytest.mark.parametrize("first", [True, False])
def test_what_is_gone_needs_no_removal(table: Table, host: Host, gone: str, first: bool) -> None:
    """Tear-down never stops half way: the other removals of the run are carried out."""
    table.commit([LOAD, Add(WEB), Add(DNS)])
    host.run(["nft", gone])
    removals: list[Operation] = [Remove(WEB), Remove(DNS)]
    table.commit(removals if first else removals[::-1])
    assert elements(table) == set()
    table.commit([Remove(LOAD.what)])
    table.commit([Remove(LOAD.what)])
    assert table.listing() == {}


def test_a_set_that_is_gone_needs_no_removal_from_it(table: Table, host: Host) -> None:
    table.commit([LOAD, Add(WEB)])
    host.run(["nft", "flush chain inet podnet pn_ports; delete map inet podnet pn_any4"])
    table.commit([Remove(WEB)])


def test_a_change_of_what_is_gone_adds_it(table: Table) -> None:
    table.commit([LOAD])
    table.commit([Change(WEB, replace(WEB, verdict="172.17.0.9 . 1"))])
    assert elements(table) == {WEB}


def test_adding_to_no_table_says_so(table: Table) -> None:
    with pytest.raises(NftError, match="No such file or directory"):
        table.commit([Add(WEB)])


# --- damage ---

DAMAGES = {
    "a rule is deleted": "delete rule inet podnet pn_fwd handle {handle}",
    "a rule is added": "add rule inet podnet pn_fwd accept",
    "a rule is replaced": "replace rule inet podnet pn_fwd handle {handle} drop",
    "a chain is flushed": "flush chain inet podnet pn_post",
    "a chain is added": "add chain inet podnet mine",
    "a policy is changed": "chain inet podnet pn_fwd {{ policy drop; }}",
    "all rules are flushed": "flush table inet podnet",
    "a set is added": "add set inet podnet mine {{ type ipv4_addr; }}",
    "the table is deleted": "delete table inet podnet",
    "everything is flushed": "flush ruleset",
    "the table is older": "rename chain inet podnet pn_version_" + VERSION + " pn_version_old",
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_a_damaged_table_is_loaded_again_with_all_that_belongs_in_it(
    host: Host, damage: str
) -> None:
    """S13: one transaction, in which nobody sees a table without its elements."""
    node = Node(host)
    node.networks(DUAL)
    node.attach("web", DUAL, ports=PORTS[:2])
    before = node.look().seen
    lines = host.run(["nft", "-a", "list", "chain", "inet", "podnet", "pn_fwd"]).stdout
    (handle,) = [line.split()[-1] for line in lines.splitlines() if "pn_closed" in line]
    commits = node.commits()
    host.run(["nft", damage.format(handle=handle)])
    todo = node.reconcile().operations
    table = [each for each in todo if isinstance(each.what, Ruleset)]
    assert len(table) == 1
    assert all(isinstance(each.what, Ruleset | Element) for each in todo)
    assert node.commits() == commits + 1
    assert node.look().seen == before
    assert node.plan() == Plan(())


@pytest.mark.parametrize(
    ("damage", "repaired"),
    [
        pytest.param(
            "delete element inet podnet pn_bridges { podnet0 }",
            "Add pn_bridges podnet0",
            id="deleted",
        ),
        pytest.param(
            "add element inet podnet pn_closed { eth0 }", "Remove pn_closed eth0", id="added"
        ),
        pytest.param(
            "delete element inet podnet pn_any4 { tcp . 8080 };"
            " add element inet podnet pn_any4 { tcp . 8080 : 172.17.0.9 . 80 }",
            "Change pn_any4 tcp . 8080",
            id="led elsewhere",
        ),
    ],
)
def test_a_damaged_element_is_repaired_by_itself(host: Host, damage: str, repaired: str) -> None:
    node = Node(host)
    node.networks(NETWORK)
    node.attach("web", ports=PORTS[:1])
    host.run(["nft", damage])
    found = [f"{type(each).__name__} {each.what.key[2]}" for each in node.reconcile().operations]
    assert found == [repaired]
    assert node.plan() == Plan(())


def test_a_repair_takes_nothing_from_who_came_after_the_look(host: Host) -> None:
    """S5: the table is loaded with the newcomer's port in it, which was somebody else's before."""
    node = Node(host)
    node.networks(NETWORK)
    node.attach("old", ports=PORTS[:1])
    host.run(["nft", "add chain inet podnet mine"])
    damaged = node.look()
    node.detach("old")
    node.attach("new", ports=PORTS[:1])
    node.reconcile_on(damaged)
    assert node.plan() == Plan(())
    right = node.look()
    node.detach("new")
    node.attach("newer", ports=PORTS[:1])
    node.reconcile_on(right)  # removes what is gone, and nothing else
    assert node.plan() == Plan(())


def test_loading_the_table_again_interrupts_nothing(host: Host) -> None:
    """S13: not one datagram of a stream to a published port is lost."""
    node = Node(host)
    node.networks(NETWORK)
    node.attach("web", ports=(PublishedPort(8080, 80), PublishedPort(8080, 80, "udp")))
    node.attach("client")
    web, client = (Place(host, f"/run/netns/podnet-{name}") for name in ("web", "client"))
    with serve(web, 80):
        reach(client, tcp("172.17.0.1", 8080))
        with Stream(client, "172.17.0.1", 8080) as stream:
            for _ in range(20):
                host.run(["nft", "add chain inet podnet mine"])
                assert node.reconcile().operations
            uninterrupted(stream)


# --- what it costs, what it needs ---


def test_only_published_ports_cost_a_transaction(host: Host) -> None:
    node = Node(host)
    node.networks(DUAL)
    before = node.commits()
    node.attach("plain", DUAL)
    node.detach("plain")
    assert node.commits() == before
    node.attach("web", DUAL, ports=PORTS[:2])
    assert node.commits() == before + 1
    node.detach("web")
    assert node.commits() == before + 2


def test_the_table_loads_where_ipv6_is_off_and_protocols_have_no_names(host: Host) -> None:
    """S27, as far as a network namespace can switch it off."""
    host.sysctl("net/ipv6/conf/all/disable_ipv6", 1)
    host.run(["mount", "--bind", "/dev/null", "/etc/protocols"])
    node = Node(host)
    node.networks(NETWORK)
    node.attach("web", ports=PORTS[:2])
    assert node.plan() == Plan(())


def test_a_machine_without_the_library_is_told_what_to_install(host: Host) -> None:
    ctypes.CDLL("libnftables.so.1")
    mapped = Path("/proc/self/maps").read_text().split()
    library = next(word for word in mapped if "/libnftables.so.1" in word)
    script = [sys.executable, "-c", "from podnet_agent.nft import Context; Context()"]
    assert not host.run(script).stderr
    host.run(["mount", "--bind", "/dev/null", library])
    refused = host.run(script, check=False)
    assert "PodNetError: libnftables.so.1 is not on this machine: apt-get install" in refused.stderr
