"""S11: a range that is somebody else's already is refused by name."""

from ipaddress import ip_network

import pytest

from podnet.overlaps import Range, overlaps


def of(owner: str, cidr: str) -> Range:
    return Range(owner, ip_network(cidr))


BLUE = of("PodNetwork/blue", "10.8.0.0/16")


@pytest.mark.parametrize(
    ("other", "overlap"),
    [
        pytest.param("10.8.0.0/16", True, id="the same"),
        pytest.param("10.8.3.0/24", True, id="a part"),
        pytest.param("10.0.0.0/8", True, id="the whole"),
        pytest.param("10.8.0.1/32", True, id="an address"),
        pytest.param("10.9.0.0/16", False, id="a neighbour"),
        pytest.param("fd00::/16", False, id="another family"),
        pytest.param("0.0.0.0/0", False, id="everything, which nobody means"),
    ],
)
def test_two_ranges_overlap_if_they_share_an_address(other: str, overlap: bool) -> None:
    assert bool(overlaps([BLUE], [of("services", other)])) is overlap


def test_the_sentence_names_both() -> None:
    assert overlaps([BLUE], [of("ServiceCIDR/kubernetes", "10.8.128.0/20")]) == {
        "PodNetwork/blue": "10.8.0.0/16 overlaps 10.8.128.0/20 of ServiceCIDR/kubernetes: delete"
        " PodNetwork/blue and make it with another range"
    }


def test_the_first_stays_and_what_is_refused_is_in_nobodys_way() -> None:
    wide = of("PodNetwork/wide", "10.0.0.0/8")
    far = of("PodNetwork/far", "10.200.0.0/16")
    assert list(overlaps([BLUE, wide, far], [])) == ["PodNetwork/wide"]


def test_nobody_overlaps_itself() -> None:
    assert overlaps([BLUE, of(BLUE.owner, "10.8.4.0/24")], []) == {}
