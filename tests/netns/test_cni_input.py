"""S34: bad input to the plugin's program, and by it to the agent: the specification's error."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from podnet.cni.config import LARGEST_BYTES
from support.host import Host
from support.leaks import traces
from support.runtime import Pod, Runtime, started

SHIM = Path(sys.executable).with_name("podnet-cni")


class Standing:
    """A Pod that is attached, beside whom nothing may change."""

    def __init__(self, cni: Runtime) -> None:
        self.cni = cni
        self.result = cni.add(cni.pod("standing"))
        self.before, self.pid = traces(cni.host), self._pid()
        self.pod = cni.pod("fresh")
        """One that nobody attaches."""
        self.before |= {"namespaces": traces(cni.host)["namespaces"]}

    def check(self) -> None:
        """Nothing was touched, and the agent is the same."""
        assert traces(self.cni.host) == self.before
        assert self.pod.interfaces() == {}
        assert self._pid() == self.pid

    def _pid(self) -> int:
        pid: int = self.cni.podnet.request("GET", "/version")[1]["pid"]
        return pid


@pytest.fixture(scope="module")
def standing() -> Iterator[Standing]:
    with Host("cni") as host:
        yield Standing(started(host))


def config(**fields: Any) -> bytes:
    """A configuration; a field of None is left out."""
    given = {"cniVersion": "1.1.0", "name": "podnet", "type": "podnet-cni", **fields}
    return json.dumps({key: value for key, value in given.items() if value is not None}).encode()


def refused(
    standing: Standing, pod: Pod, verb: str, data: bytes, **changed: str | None
) -> dict[str, Any]:
    """The error that the program prints, by a runtime that does so; nothing else has happened."""
    given = pod.environment(verb) | changed
    environment = {name: value for name, value in given.items() if value is not None}
    process = standing.cni.host.popen([SHIM], env=environment, stdin=-1, stdout=-1)
    out, _ = process.communicate(data, 20)
    assert process.returncode == 1, out
    error: dict[str, Any] = json.loads(out)
    assert error.keys() == {"cniVersion", "code", "msg", "details"}
    standing.check()
    return error


INPUTS = {
    "none": b"",
    "garbage": bytes(range(256)) * 16,
    "1 MB of garbage": bytes(range(256)) * 4096,
    "1 MB of brackets": b"[" * LARGEST_BYTES,
    "more than 1 MB": config(note="x" * LARGEST_BYTES),
    "cut half way": config()[: len(config()) // 2],
    "a list": b"[]",
    "zeros": bytes(4096),
}


@pytest.mark.parametrize("verb", ["ADD", "DEL", "CHECK", "GC", "STATUS"])
def test_input_that_is_no_configuration(standing: Standing, verb: str) -> None:
    """S34: code 6 of every verb."""
    for what, data in INPUTS.items():
        error = refused(standing, standing.pod, verb, data)
        assert (what, error["code"]) == (what, 6), error


VERSIONS = ["0.1.0", "0.2.0", "0.3.2", "0.4.1", "0.5.0", "1.0.1", "1.2.0", "2.0.0", "9.9.9", None]


@pytest.mark.parametrize("verb", ["ADD", "DEL", "CHECK", "GC", "STATUS"])
def test_versions_that_are_not_spoken(standing: Standing, verb: str) -> None:
    """S34: code 1, with those that are; one that is left out is 0.1.0."""
    for version in VERSIONS:
        error = refused(standing, standing.pod, verb, config(cniVersion=version))
        assert error["code"] == 1, (version, error)
        assert "1.1.0" in error["details"]


NEEDED = {
    "ADD": ("CNI_COMMAND", "CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME", "CNI_PATH"),
    "DEL": ("CNI_COMMAND", "CNI_CONTAINERID", "CNI_IFNAME", "CNI_PATH"),
    "CHECK": ("CNI_COMMAND", "CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME", "CNI_PATH"),
    "GC": ("CNI_COMMAND", "CNI_PATH"),
    "STATUS": ("CNI_COMMAND", "CNI_PATH"),
}


@pytest.mark.parametrize("verb", NEEDED)
def test_variables_that_are_missing_or_empty(standing: Standing, verb: str) -> None:
    """S34: code 4, by name."""
    for name in NEEDED[verb]:
        for value in (None, ""):
            error = refused(standing, standing.pod, verb, config(), **{name: value})
            assert (error["code"], name in error["msg"] + error["details"]) == (4, True), error


WRONG = [
    ("CNI_COMMAND", "MAKE"),
    ("CNI_COMMAND", "add"),
    ("CNI_IFNAME", "sixteen-bytes-ab"),
    ("CNI_IFNAME", "a/b"),
    ("CNI_IFNAME", ".."),
    ("CNI_IFNAME", "eth%d"),
    ("CNI_IFNAME", "a b"),
    ("CNI_CONTAINERID", "../../etc/passwd"),
    ("CNI_CONTAINERID", "a/b"),
    ("CNI_CONTAINERID", "a" * 254),
    ("CNI_CONTAINERID", "a" * 5000),
    ("CNI_NETNS", "run/netns/x"),
    ("CNI_NETNS", "/run/netns/../../etc/hostname"),
    ("CNI_NETNS", "/run/netns/nobody"),
    ("CNI_NETNS", "/run/netns/x\nCni-Command: DEL"),
    ("CNI_ARGS", "K8S_POD_NAME"),
    ("CNI_ARGS", "K8S_POD_NAMESPACE=../x;K8S_POD_NAME=web"),
]


@pytest.mark.parametrize(("name", "value"), WRONG, ids=repr)
def test_variables_that_are_wrong(standing: Standing, name: str, value: str) -> None:
    """S34: code 4, by name."""
    error = refused(standing, standing.pod, "ADD", config(), **{name: value})
    assert (error["code"], name in error["msg"] + error["details"]) == (4, True), error


NAMES = {
    "CNI_IFNAME": ["sixteen-bytes-ab", "a/b", "..", "../eth0"],
    "CNI_CONTAINERID": ["../../etc/passwd", "a/../b", "..", "a/b"],
}


@pytest.mark.parametrize("verb", ["ADD", "DEL", "CHECK"])
def test_names_that_are_wrong(standing: Standing, verb: str) -> None:
    """S34: code 4 of every verb that is told one."""
    previous = config(prevResult=standing.result)
    for name, values in NAMES.items():
        for value in values:
            error = refused(standing, standing.pod, verb, previous, **{name: value})
            assert (error["code"], name in error["msg"] + error["details"]) == (4, True), error


def test_after_all_of_that_a_pod_is_attached(standing: Standing) -> None:
    """S34: and the one that stood there is as it was."""
    cni = standing.cni
    late = cni.pod("late")
    cni.add(late)
    cni.delete(late)
    (first,) = (each for each in cni.attachments() if each["owner"] == "Pod/default/standing")
    assert first["addresses"] == [standing.result["ips"][0]["address"]]
