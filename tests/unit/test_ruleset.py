"""The table's text, and how its elements are spelled."""

import re

import pytest

from podnet.attachment import PublishedPort
from podnet.desired import attachment_objects, network_objects
from podnet.objects import Element
from podnet.ruleset import HELD_MARK, TEXT, VERSION, VERSION_PREFIX, spelled
from support.values import DUAL, attachment

DECLARED = {
    name: len(key.split(" . "))
    for name, key in re.findall(r"(?:set|map) (\w+) \{ type ([\w. ]+?)(?: :|;)", TEXT)
}
"""How many words a match has, by set and map."""


def test_the_text_replaces_the_whole_table_at_once() -> None:
    """Adding first makes deleting safe where there is none."""
    assert TEXT.startswith("table inet podnet\ndelete table inet podnet\ntable inet podnet {\n")


def test_the_table_says_its_version() -> None:
    assert f"chain {VERSION_PREFIX}{VERSION} {{" in TEXT
    assert re.fullmatch("[0-9a-f]{12}", VERSION)


def test_what_is_named_is_ours_and_every_set_is_used() -> None:
    chains = re.findall(r"chain (\w+)", TEXT)
    assert all(name.startswith("pn_") for name in (*chains, *DECLARED))
    assert set(re.findall(r"@(\w+)", TEXT)) == set(DECLARED)


def test_sockets_that_hold_ports_are_told_by_their_mark() -> None:
    assert f"socket mark {HELD_MARK:#x} reject" in TEXT


def test_no_protocol_is_named() -> None:
    """A small machine has no /etc/protocols."""
    assert not re.search(r"l4proto (tcp|udp)|\b(tcp|udp) dport", TEXT)


def test_every_element_there_can_be_has_its_place_in_the_table() -> None:
    ports = tuple(PublishedPort(80, 80, host_ip=ip) for ip in (None, DUAL.subnets[0][1]))
    ports += (PublishedPort(81, 80, host_ip=DUAL.subnets[1][1]),)
    pod = attachment(1, "172.17.0.2/16", "fd00:17::2/64", ports=ports)
    things = [*network_objects(DUAL), *attachment_objects(DUAL, pod)]
    elements = [thing for thing in things if isinstance(thing, Element)]
    assert {each.container for each in elements} == set(DECLARED)
    for each in elements:
        assert len(each.match.split(" . ")) == DECLARED[each.container]


@pytest.mark.parametrize(
    ("container", "match", "text"),
    [
        pytest.param("pn_bridges", "podnet0", "podnet0", id="a plain name stays"),
        pytest.param("pn_bridges", "pn-0a1b2c3d4e", "pn-0a1b2c3d4e", id="a hashed one stays"),
        pytest.param("pn_bridges", "ip", '"ip"', id="a word of nft's language is quoted"),
        pytest.param("pn_l2", "podnet-1.2", '"podnet-1.2"', id="what is not plain is quoted"),
        pytest.param("pn_own4", "br0 . 10.0.0.0/8", '"br0" . 10.0.0.0/8', id="only the name"),
        pytest.param("pn_any4", "tcp . 80", "tcp . 80", id="no name, nothing to quote"),
    ],
)
def test_interface_names_are_quoted_where_they_could_mean_more(
    container: str, match: str, text: str
) -> None:
    assert spelled(container, match) == text
