"""Lease: of two operators that run by accident, one writes (S38)."""

import asyncio
import logging
import time
from collections.abc import Callable
from datetime import UTC, datetime

from podnet.errors import Conflict, PodNetError, Retryable
from podnet_operator.client import Body, Client, Missing, Resource

log = logging.getLogger(__name__)

LEASES = Resource("Lease", "coordination.k8s.io", "v1", "leases")
NAME = "podnet-operator"


class Lease:
    """Held by one operator at a time, as long as it renews it.

    Kubernetes' own rule (client-go, tools/leaderelection): another one's lease has ended when it
    has not changed for its duration as seen here; clocks of machines are not compared.
    """

    def __init__(
        self, client: Client, namespace: str, holder: str, *, seconds: float = 15.0
    ) -> None:
        self._client, self._namespace, self._holder = client, namespace, holder
        self._seconds = seconds
        self._until = 0.0  # on the clock of time.monotonic
        self._seen: tuple[object, float] = (None, 0.0)  # another one's renewal, and since when
        self.other = ""
        """Who else holds it."""
        self.gained: Callable[[], None] = lambda: None
        """Called when this one has it and had not."""

    @property
    def held(self) -> bool:
        """Whether nobody else can have it, now and for a third of its time."""
        return time.monotonic() < self._until - self._seconds / 3

    async def keep(self) -> None:
        """Try to get it, renew it, for ever."""
        while True:
            try:
                async with asyncio.timeout(self._seconds / 3):
                    await self.renew()
            except (PodNetError, TimeoutError) as error:
                log.warning("the lease is not renewed: %s", str(error) or "no answer in time")
            await asyncio.sleep(self._seconds / 3)

    async def renew(self) -> None:
        """Hold it for its whole time from now on, unless another one does."""
        began = time.monotonic()
        try:
            body = await self._client.get(LEASES, NAME, self._namespace)
        except Missing:
            await self._made(began)
            return
        spec = body.get("spec") or {}
        holder = spec.get("holderIdentity") or ""
        if holder not in ("", self._holder) and not self._has_ended(spec, began):
            if holder != self.other:
                log.warning("operator %s holds the lease; this one waits", holder)
            self.other, self._until = holder, 0.0
            return
        body["spec"] = self._spec(spec if holder == self._holder else {})
        try:
            await self._client.replace(LEASES, NAME, body, self._namespace)
        except Conflict:
            return  # another one was faster; the next look tells
        self._got(began)

    async def release(self) -> None:
        """Let the next operator begin at once."""
        if not self.held:
            return
        self._until = 0.0
        body = await self._client.get(LEASES, NAME, self._namespace)
        if (body.get("spec") or {}).get("holderIdentity") == self._holder:
            body["spec"]["holderIdentity"] = ""
            await self._client.replace(LEASES, NAME, body, self._namespace)

    def _has_ended(self, spec: Body, now: float) -> bool:
        renewal = spec.get("renewTime"), spec.get("holderIdentity")
        if renewal != self._seen[0]:
            self._seen = (renewal, now)
        return now > self._seen[1] + float(spec.get("leaseDurationSeconds") or self._seconds)

    async def _made(self, began: float) -> None:
        body = {"metadata": {"name": NAME}, "spec": self._spec({})}
        try:
            await self._client.create(LEASES, body, self._namespace)
        except Conflict:
            return
        self._got(began)

    def _got(self, began: float) -> None:
        had, before = self.held, self._until
        self._until, self.other = began + self._seconds, ""
        if not before:
            log.info("this operator (%s) holds the lease", self._holder)
        if not had:
            self.gained()

    def _spec(self, before: Body) -> Body:
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        return {
            "holderIdentity": self._holder,
            "leaseDurationSeconds": max(1, round(self._seconds)),
            "acquireTime": before.get("acquireTime") or now,
            "renewTime": now,
            "leaseTransitions": before.get("leaseTransitions") or 0,
        }


def refuse_unless_held(lease: Lease) -> None:
    """Retryable where another operator may write."""
    if not lease.held:
        who = f"operator {lease.other} holds it" if lease.other else "it could not be renewed"
        raise Retryable(f"this operator does not hold the lease: {who}")
