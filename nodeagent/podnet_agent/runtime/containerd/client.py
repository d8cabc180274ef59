"""A connection to containerd: one call a method, its errors as ours.

It connects again by itself when containerd was started anew. What waited then ends with Retryable.
"""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, TypeVar

from podnet.errors import PodNetError, Retryable
from podnet_agent.runtime.containerd import messages
from podnet_agent.runtime.containerd.protobuf import decode, encode

SOCKET = Path("/run/containerd/containerd.sock")
"""containerd's own default."""
NAMESPACE = "k8s.io"
"""Where the kubelet's images are. Neither CRI nor kubelet see there what lacks the CRI's labels."""
CALL_SECONDS = 60.0
"""The kubelet gives its containerd 2 min; nothing that is called here takes seconds."""
CONNECT_SECONDS = 5.0
"""How long it may take to be started anew before somebody is told."""

Answer = TypeVar("Answer")


class NotFound(PodNetError):
    """containerd has nothing of that name."""


class Exists(PodNetError):
    """containerd has something of that name."""


class Client:
    """Lives in the asyncio loop. A method is named `SERVICE.vN.NAME/METHOD`, less its beginning."""

    def __init__(self, socket: Path = SOCKET) -> None:
        try:
            import grpc  # 23 MiB that an agent without a cluster has no use for
        except ImportError as error:
            raise PodNetError(
                f"containerd can't be asked without grpcio: pip install 'podnet[cluster]' ({error})"
            ) from error
        self._socket, self._codes = socket, grpc.StatusCode
        # No retries of its own, and no proxy: it is a socket on this machine.
        options = [("grpc.enable_http_proxy", 0), ("grpc.max_reconnect_backoff_ms", 1000)]
        self._channel = grpc.aio.insecure_channel(f"unix:{socket}", options=options)
        self._error: type[Any] = grpc.aio.AioRpcError
        self._metadata = (("containerd-namespace", NAMESPACE),)

    async def close(self) -> None:
        """Hang up."""
        await self._channel.close()

    async def call(
        self,
        method: str,
        request: Any,
        answer: type[Answer] = messages.Empty,  # type: ignore[assignment]
        *,
        seconds: float | None = CALL_SECONDS,
    ) -> Answer:
        """Its answer. NotFound, Exists, Retryable where it is away, else PodNetError."""
        call = self._channel.unary_unary(
            f"/containerd.services.{method}",
            request_serializer=encode,
            response_deserializer=lambda data: decode(answer, data),
        )
        await self._connected(CONNECT_SECONDS if seconds else None)
        try:
            found: Answer = await call(request, metadata=self._metadata, timeout=seconds)
        except self._error as error:
            raise self._translated(error) from None
        return found

    async def stream(
        self, method: str, request: Any, answer: type[Answer]
    ) -> AsyncIterator[Answer]:
        """Its answers as they come; errors as of `call`."""
        call = self._channel.unary_stream(
            f"/containerd.services.{method}",
            request_serializer=encode,
            response_deserializer=lambda data: decode(answer, data),
        )
        try:
            async for found in call(request, metadata=self._metadata, wait_for_ready=True):
                yield found
        except self._error as error:
            raise self._translated(error) from None

    async def _connected(self, seconds: float | None) -> None:
        """It waits for a connection: containerd may be being started."""
        try:
            async with asyncio.timeout(seconds):
                await self._channel.channel_ready()
        except TimeoutError:
            raise self._away("nothing listens there") from None

    def _away(self, said: str) -> Retryable:
        return Retryable(
            f"containerd does not answer on {self._socket} ({said}): `systemctl status"
            f" containerd` on the node says why"
        )

    def _translated(self, error: Any) -> PodNetError:
        code, said = error.code(), (error.details() or "").removesuffix(": unknown")
        match code:
            case self._codes.NOT_FOUND:
                return NotFound(f"containerd: {said}")
            case self._codes.ALREADY_EXISTS:
                return Exists(f"containerd: {said}")
            case self._codes.UNAVAILABLE | self._codes.DEADLINE_EXCEEDED | self._codes.CANCELLED:
                return self._away(said)
        return PodNetError(said or f"containerd failed: {code.name}")
