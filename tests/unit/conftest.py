"""What holds for every unit test, and the programs that several files try."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from podnet_cli import main
from support.commands import Typed
from support.fake_agent import FakeAgent, serve
from support.fake_kubectl import FakeKubectl
from support.shim import build

# How long an example takes says more about the machine's other work than about the code.
settings.register_profile("podnet", deadline=None)
settings.load_profile("podnet")


@pytest.fixture
def podnet(capfd: pytest.CaptureFixture[str]) -> Typed:
    """The command line, in this process."""
    return lambda *arguments: (main.run(list(arguments)), *capfd.readouterr())


@pytest.fixture
def agent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeAgent]:
    """An agent that answers what it is told to."""
    monkeypatch.setenv("PODNET_SOCKET", str(tmp_path / "agent.sock"))
    yield from serve(tmp_path)


@pytest.fixture
def kubectl(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeKubectl:
    """A kubectl that answers what it is told to; podnet runs as its plugin."""
    monkeypatch.setattr(sys, "argv", ["/somewhere/kubectl-podnet"])
    return FakeKubectl(tmp_path, monkeypatch)


@pytest.fixture(scope="session")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder for what is compiled."""
    return tmp_path_factory.mktemp("shim")


@pytest.fixture(scope="session")
def shim(programs: Path) -> Path:
    """The program that containerd starts."""
    return build(programs / "podnet-cni")


@pytest.fixture(scope="session")
def hasty(programs: Path) -> Path:
    """One whose seconds are 4 ms, and whose queue holds three requests."""
    return build(programs / "hasty", SECOND_MS=4, QUEUE_FILES=3)
