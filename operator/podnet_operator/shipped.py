"""Shipped: the networks that come with the installation, made when the operator starts, and anew
where their kind was deleted and is back.

They can't be among what `kubectl apply` is given: it knows no kind that it makes itself. One that
is there already, whatever it says, is a person's.
"""

import asyncio
import logging
from pathlib import Path

from podnet.api.document import documents
from podnet.errors import Conflict, PodNetError, Problem, Retryable
from podnet_operator.client import Body, Client, Missing, Resource
from podnet_operator.facts import NETWORKS

log = logging.getLogger(__name__)

FOLDER = Path("/etc/podnet/networks")
"""Where deploy/base/operator.yaml mounts them."""
KINDS = Resource(
    "CustomResourceDefinition", "apiextensions.k8s.io", "v1", "customresourcedefinitions"
)
KIND = f"{NETWORKS.plural}.{NETWORKS.group}"
RETRY_SECONDS = 2.0
LOOK_SECONDS = 10.0
"""Between two looks whether the kind is another one."""


async def keep(client: Client, folder: Path = FOLDER) -> None:
    """Make them whenever the kind is a new one, for ever."""
    made_for = ""
    while True:
        try:
            kind = (await client.get(KINDS, KIND))["metadata"]
        except PodNetError as error:  # it may be made yet, or be back
            log.debug("%s: %s", KIND, error)
            await asyncio.sleep(RETRY_SECONDS)
            continue
        if "deletionTimestamp" not in kind and kind["uid"] != made_for:
            await make(client, folder)
            made_for = kind["uid"]
        await asyncio.sleep(LOOK_SECONDS)


async def make(client: Client, folder: Path = FOLDER) -> None:
    """Every network of the folder's files exists, or the API server refused it for good."""
    for body in _bodies(folder):
        await _make(client, body)


async def _make(client: Client, body: Body) -> None:
    name = body["metadata"]["name"]
    while True:
        try:
            await client.create(NETWORKS, body)
            log.info("made PodNetwork %s, as it comes with the installation", name)
        except Conflict:
            log.debug("PodNetwork %s is there already", name)
        except (Retryable, Missing) as error:  # or the kind does not exist yet
            log.debug("PodNetwork %s can't be made yet: %s", name, error)
            await asyncio.sleep(RETRY_SECONDS)
            continue
        except PodNetError as error:
            log.error("PodNetwork %s of %s can't be made: %s", name, FOLDER, error)
        return


def _bodies(folder: Path) -> list[Body]:
    problems: list[Problem] = []
    files = sorted(folder.glob("*.yaml"))
    found = [
        each.value for file in files for each in documents(file.name, file.read_bytes(), problems)
    ]
    for problem in problems:
        log.error("%s: %s %s", folder, problem.place, problem.message)
    return found
