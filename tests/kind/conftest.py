"""The kind cluster as a fixture; the machine itself is compared before and after."""

import os
import secrets
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest

from support.cluster import Cluster, why_not
from support.crowd import Crowd, dismiss, gather
from support.guard import untouched
from support.plane import Body, pair_of

HERE = Path(__file__).parent
FIRST_UP_SECONDS = 1800
"""Kubernetes is compiled in it, once for each machine."""
TEST_SECONDS = 600


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests of this folder wait for Pods; where no cluster can be, they say why."""
    here = [item for item in items if item.path.is_relative_to(HERE)]
    reason = why_not()
    for item in here:
        item.add_marker(pytest.mark.timeout(FIRST_UP_SECONDS if item is here[0] else TEST_SECONDS))
        if reason and not os.environ.get("CI"):
            item.add_marker(pytest.mark.skip(reason=reason))


@pytest.fixture(scope="session", autouse=True)
def untouched_machine() -> Iterator[None]:
    """Whatever the cluster does, the machine's own network is afterwards what it was."""
    with untouched():
        yield


@pytest.fixture(scope="session")
def cluster(pytestconfig: pytest.Config) -> Cluster:
    """The cluster, made if there is none; the same for all tests, and for the next session."""
    if reason := why_not():
        pytest.fail(reason, pytrace=False)
    with _steps_shown(pytestconfig):
        return Cluster()


@pytest.fixture(scope="session")
def deployed(cluster: Cluster, pytestconfig: pytest.Config) -> Cluster:
    """The cluster with podnet in it, as this checkout has it."""
    with _steps_shown(pytestconfig):
        cluster.deploy()
    return cluster


@pytest.fixture
def namespace(cluster: Cluster) -> Iterator[str]:
    """A namespace of this test's own, empty."""
    name = f"test-{secrets.token_hex(4)}"
    cluster.kubectl("create", "namespace", name)
    yield name
    cluster.kubectl("delete", "namespace", name, "--wait=false")


@pytest.fixture
def pair(deployed: Cluster, namespace: str) -> tuple[Body, Body]:
    """A sandbox on each worker, which is called as the worker is."""
    first, second = pair_of(deployed, namespace)
    return first, second


@pytest.fixture(scope="module")
def crowd(deployed: Cluster) -> Iterator[Crowd]:
    """Pods and sandboxes on both workers, and Services."""
    namespace = f"test-{secrets.token_hex(4)}"
    deployed.kubectl("create", "namespace", namespace)
    try:
        yield gather(deployed, namespace)
    finally:
        dismiss(deployed, namespace)


def _steps_shown(config: pytest.Config) -> AbstractContextManager[None]:
    """What takes minutes tells its steps."""
    capturing: Any = config.pluginmanager.getplugin("capturemanager")
    shown: AbstractContextManager[None] = capturing.global_and_fixture_disabled()
    return shown
