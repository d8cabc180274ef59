"""The three files of a sandbox: written once, kept as a container has changed them, joined."""

from ipaddress import ip_address
from pathlib import Path

import pytest

from podnet.sandbox import Dns, Mode, Sandbox
from podnet_agent import files


def sandbox(mode: Mode = "Bridge", hostname: str | None = "web") -> Sandbox:
    return Sandbox(
        id="ab",
        name="web",
        namespace="default",
        owner="PodSandbox/default/web",
        mode=mode,
        network="default",
        joins=None,
        addresses=(),
        mac=None,
        ports=(),
        hostname=hostname,
        dns=Dns((ip_address("192.0.2.1"),)),
        host_aliases=(),
        restart_policy="Always",
        containers=(),
    )


def test_a_sandbox_has_its_name_and_address(tmp_path: Path) -> None:
    files.write_files(tmp_path, sandbox(), [ip_address("172.17.0.2")])
    assert (tmp_path / "hosts").read_text().splitlines()[-1] == "172.17.0.2\tweb"
    assert (tmp_path / "hostname").read_text() == "web\n"
    assert files.read_hostname(tmp_path) == "web"
    assert (tmp_path / "resolv.conf").read_text().startswith("nameserver 192.0.2.1\n")
    assert (tmp_path / "hosts").stat().st_mode & 0o777 == 0o644


def test_without_an_address_its_name_stands_nowhere(tmp_path: Path) -> None:
    files.write_files(tmp_path, sandbox("None"), [])
    assert "web" not in (tmp_path / "hosts").read_text()


def test_host_mode_has_the_machines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("socket.gethostname", lambda: "machine")
    files.write_files(tmp_path, sandbox("Host", None), [])
    assert (tmp_path / "hosts").read_text() == Path("/etc/hosts").read_text()
    assert files.read_hostname(tmp_path) == "machine"


def test_what_a_container_has_changed_stays_and_what_is_missing_comes_back(tmp_path: Path) -> None:
    files.write_files(tmp_path, sandbox(), [])
    (tmp_path / "hosts").write_text("changed")
    (tmp_path / "hostname").unlink()
    files.write_files(tmp_path, sandbox(), [])
    assert (tmp_path / "hosts").read_text() == "changed"
    assert files.read_hostname(tmp_path) == "web"


def test_who_joins_has_the_same_files(tmp_path: Path) -> None:
    owner, joiner = tmp_path / "owner", tmp_path / "joiner"
    files.write_files(owner, sandbox(), [])
    for _ in range(2):
        files.join_files(joiner, owner)
    for name in ("hosts", "hostname", "resolv.conf"):
        assert (owner / name).samefile(joiner / name)
