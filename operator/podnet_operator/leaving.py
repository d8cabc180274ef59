"""Leaving: an operator whose installation is deleted lets go of the networks that it holds.

Whoever deletes podnet deletes the operator's rights and account in the same second, and nobody else
takes its finalizers away. So before it holds the first network, it sees to it that it can let go:
a role of its own that goes with the namespace, and its account, which it holds itself until the end
(the API server takes the tokens of an account that is being deleted for 60 s: claims.go).
"""

import asyncio
import logging
import time

from podnet.errors import Conflict, PodNetError
from podnet_operator.client import Body, Client, Missing, Resource
from podnet_operator.facts import FINALIZER, NETWORKS

log = logging.getLogger(__name__)

ACCOUNT = "podnet-operator"
NAME = "podnet-operator-leaving"
"""Of role and binding; deploy/base/operator.yaml names them too."""
RBAC = "rbac.authorization.k8s.io"
ROLES = Resource("ClusterRole", RBAC, "v1", "clusterroles")
BINDINGS = Resource("ClusterRoleBinding", RBAC, "v1", "clusterrolebindings")
NAMESPACES = Resource("Namespace", "", "v1", "namespaces")
ACCOUNTS = Resource("ServiceAccount", "", "v1", "serviceaccounts")
SECONDS, PAUSE_SECONDS = 20.0, 0.2
"""How long it tries at its end: its Pod has 30 s."""


class Leaving:
    """Of the operator that runs in that namespace."""

    def __init__(self, client: Client, namespace: str) -> None:
        self._client, self._namespace = client, namespace
        self._prepared = asyncio.Lock()
        self._done = False

    async def prepare(self) -> None:
        """From now on `leave` can do its work, whatever is deleted."""
        async with self._prepared:
            if self._done:
                return
            uid = (await self._client.get(NAMESPACES, self._namespace))["metadata"]["uid"]
            for resource, body in ((ROLES, _role(self._namespace)), (BINDINGS, self._binding())):
                await self._make(resource, body, uid)
            await self._hold_account(held=True)
            self._done = True

    async def leave(self) -> None:
        """Where podnet is being deleted, nothing is held any more. Goes on over errors."""
        end = time.monotonic() + SECONDS
        while True:
            try:
                if await self._is_deleted():
                    await self._let_go()
                return
            except PodNetError as error:
                if time.monotonic() > end:
                    log.error("networks may be held still, see docs/install.md: %s", error)
                    return
            await asyncio.sleep(PAUSE_SECONDS)

    async def _is_deleted(self) -> bool:
        try:
            account = await self._client.get(ACCOUNTS, ACCOUNT, self._namespace)
            namespace = await self._client.get(NAMESPACES, self._namespace)
        except Missing:
            return False  # nothing was prepared, so nothing is held
        return any("deletionTimestamp" in each["metadata"] for each in (account, namespace))

    async def _let_go(self) -> None:
        try:
            networks, _ = await self._client.list(NETWORKS)
        except Missing:  # the kind has gone
            networks = []
        for body in networks:
            if FINALIZER in body["metadata"].get("finalizers", ()):
                await self._finalize(NETWORKS, body, held=False)
                log.info("podnet is being deleted: PodNetwork %s is free", body["metadata"]["name"])
        await self._hold_account(held=False)

    async def _hold_account(self, *, held: bool) -> None:
        body = await self._client.get(ACCOUNTS, ACCOUNT, self._namespace)
        if (FINALIZER in body["metadata"].get("finalizers", ())) != held:
            await self._finalize(ACCOUNTS, body, held=held)

    async def _finalize(self, resource: Resource, body: Body, *, held: bool) -> None:
        meta = body["metadata"]
        finalizers = [each for each in meta.get("finalizers", ()) if each != FINALIZER]
        finalizers += [FINALIZER] if held else []
        change = {"finalizers": finalizers, "resourceVersion": meta["resourceVersion"]}
        try:
            namespace = meta.get("namespace", "")
            await self._client.merge(resource, meta["name"], {"metadata": change}, namespace)
        except Missing:
            if held:
                raise

    async def _make(self, resource: Resource, body: Body, owner: str) -> None:
        """It is there, and goes when the namespace is gone."""
        reference = {"apiVersion": "v1", "kind": "Namespace", "name": self._namespace, "uid": owner}
        meta = {"name": NAME, "ownerReferences": [reference]}
        try:
            await self._client.create(resource, {"metadata": meta, **body})
        except Conflict:  # of an earlier operator, perhaps of another namespace of that name
            await self._client.merge(resource, NAME, {"metadata": meta, **body})

    def _binding(self) -> Body:
        return {
            "roleRef": {"apiGroup": RBAC, "kind": ROLES.kind, "name": NAME},
            "subjects": [
                {"kind": ACCOUNTS.kind, "name": ACCOUNT, "namespace": self._namespace},
            ],
        }


def _role(namespace: str) -> Body:
    """No more than deploy/base/operator.yaml grants: the API server sees to that."""
    return {
        "rules": [
            _rule(NETWORKS, "list", "patch"),
            _rule(NAMESPACES, "get", names=[namespace]),
            _rule(ACCOUNTS, "get", "patch", names=[ACCOUNT]),
        ]
    }


def _rule(resource: Resource, *verbs: str, names: list[str] | None = None) -> Body:
    named = {"resourceNames": names} if names else {}
    rule: Body = {"apiGroups": [resource.group], "resources": [resource.plural], "verbs": [*verbs]}
    return rule | named
