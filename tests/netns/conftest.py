"""Private hosts as fixtures; the machine itself is compared before and after."""

import contextlib
import os
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from support.containerd import with_agent
from support.cri import Cri
from support.docker import Docker, installable, why_not
from support.drivers import NoDrivers, built
from support.guard import untouched
from support.host import Host
from support.nodes import V4, V6, Nodes
from support.podnet import Podnet
from support.traffic import icmp, reach
from support.twins import Twins


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Everything in this folder needs root: without it, skipped at home, failed in CI."""
    for item in items:
        item.add_marker(pytest.mark.netns)
        if os.geteuid() and not os.environ.get("CI"):
            item.add_marker(pytest.mark.skip(reason="needs root: run as root to test it"))
    if any("drivers" in getattr(item, "fixturenames", ()) for item in items):
        # Some minutes on a new machine, which no test has.
        with contextlib.suppress(NoDrivers, subprocess.CalledProcessError):
            built()


@pytest.fixture(scope="session", autouse=True)
def untouched_machine() -> Iterator[None]:
    """Whatever the tests do, the machine's own network is afterwards what it was."""
    with untouched():
        yield


@pytest.fixture
def make_host() -> Iterator[Callable[..., Host]]:
    """Make hosts for this test; the arguments are Host's."""
    with ExitStack() as stack:

        def make(name: str = "host", *, bridge_nf: bool = False) -> Host:
            return stack.enter_context(Host(name, bridge_nf=bridge_nf))

        yield make


@pytest.fixture
def host(make_host: Callable[..., Host]) -> Host:
    """One private host, made for this test."""
    return make_host()


@pytest.fixture(scope="module")
def machine() -> Iterator[Podnet]:
    """A machine with an agent and the network `default`, for tests that leave it as it was."""
    with Host("machine") as host:
        podnet = Podnet(host)
        podnet.agent()
        yield podnet


@pytest.fixture(params=["runc", "containerd"])
def podnet(host: Host, request: pytest.FixtureRequest) -> Podnet:
    """An agent in a host of this test's own: on one machine, and on a cluster's node."""
    return with_agent(host, request.param)


@pytest.fixture(scope="session")
def drivers() -> None:
    """cnitool and crictl, or why there are none: skipped at home, failed in CI."""
    try:
        built()
    except NoDrivers as error:
        if os.environ.get("CI"):
            pytest.fail(str(error), pytrace=False)
        pytest.skip(str(error))


@pytest.fixture
def cri(drivers: None, host: Host) -> Cri:
    """A containerd without a network."""
    return Cri(host)


@pytest.fixture(scope="session")
def dockerd() -> Iterator[Docker]:
    """Debian's dockerd with an image `busybox`, in a private host for the whole session.

    Shared: name containers after the test and remove them.
    """
    if missing := why_not():
        if not installable():
            pytest.skip(f"{missing}, and this machine's archive has no docker.io")
        pytest.fail(f"cannot compare with Docker: {missing}")
    with Host("docker") as host:
        docker = Docker(host)
        docker.import_busybox()
        yield docker


@pytest.fixture(scope="session")
def twins(dockerd: Docker) -> Iterator[Twins]:
    """Docker's host, and one where podnet has its first network to itself as Docker has."""
    with Host("docker") as host:
        podnet = Podnet(host)
        podnet.agent()
        yield Twins(dockerd, podnet)


@pytest.fixture(scope="module")
def shared_nodes() -> Iterator[Nodes]:
    """Nodes a and b with a share each of the network `default`, one pair for all of a file."""
    with Nodes() as cluster:
        cluster.api.network("default", "10.1.0.0/16", "fd01::/48")
        for number, name in enumerate("ab", start=1):
            cluster.api.share("default", name, V4.format(number), V6.format(number))
            cluster.node(name, number)
        yield cluster


@pytest.fixture
def cluster(shared_nodes: Nodes) -> Iterator[Nodes]:
    """Nodes a and b, which are afterwards what they were before."""
    yield shared_nodes
    for name in shared_nodes.api.names("PodSandbox"):
        shared_nodes.delete(name)
    for node in shared_nodes.nodes.values():
        if not node.answers():
            node.agent()


@pytest.fixture
def pair(cluster: Nodes) -> Nodes:
    """The same, with sandboxes web on a and client on b."""
    cluster.sandbox("web", "a")
    cluster.sandbox("client", "b")
    reach(cluster.place("client"), icmp(cluster.ip("web")))
    return cluster
