"""Which versions of CNI are spoken, and what is said to a caller of another."""

import pytest

from podnet.cni.call import parse
from podnet.cni.config import VERSIONS
from podnet.cni.error import Code
from support.calls import ENVIRONMENT, PREVIOUS, call, refused, stdin


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("verb", ["ADD", "DEL"])
def test_every_version_is_spoken(verb: str, version: str) -> None:
    assert call(verb, stdin(cniVersion=version)).config.version == version


@pytest.mark.parametrize(
    ("given", "said"),
    [(b"", "1.1.0"), (b'{"cniVersion": "0.3.1"}', "0.3.1"), (b'{"cniVersion": "7"}', "1.1.0")],
)
def test_version_answers_in_the_callers_own(given: bytes, said: str) -> None:
    assert parse({"CNI_COMMAND": "VERSION"}, given).config.version == said


OTHERS = [None, "0.1.0", "0.2.0", "0.3.2", "0.5.0", "1.0.1", "1.2.0", "2.0.0", "9.9.9", "", "1.0"]


@pytest.mark.parametrize("version", OTHERS)
@pytest.mark.parametrize("verb", ["ADD", "DEL", "CHECK", "GC", "STATUS"])
def test_another_version_is_refused_by_every_verb(verb: str, version: str | None) -> None:
    """S34: a configuration without a version is of the first one."""
    error = refused(ENVIRONMENT | {"CNI_COMMAND": verb}, stdin(cniVersion=version))
    assert error.code == Code.INCOMPATIBLE_VERSION
    assert "1.1.0" in error.details


def test_of_all_versions_there_could_be_those_that_are_spoken_are_taken() -> None:
    """S34: 0.1.0 to 9.9.9."""
    digits = range(10)
    all_versions = [f"{x}.{y}.{z}" for x in digits for y in digits for z in digits][10:]
    assert (all_versions[0], all_versions[-1]) == ("0.1.0", "9.9.9")
    for version in all_versions:
        config = stdin(cniVersion=version)
        if version in VERSIONS:
            assert call("ADD", config).config.version == version
        else:
            error = refused(ENVIRONMENT, config)
            assert (version, error.code) == (version, Code.INCOMPATIBLE_VERSION)


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(("verb", "since"), [("CHECK", 2), ("GC", 4), ("STATUS", 4)])
def test_a_verb_is_only_of_the_versions_that_have_it(verb: str, since: int, version: str) -> None:
    environment = ENVIRONMENT | {"CNI_COMMAND": verb}
    config = stdin(cniVersion=version, prevResult=PREVIOUS)
    if VERSIONS.index(version) < since:
        assert refused(environment, config).code == Code.INCOMPATIBLE_VERSION
    else:
        assert parse(environment, config).verb == verb
