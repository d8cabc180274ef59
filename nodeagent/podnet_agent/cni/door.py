"""Who comes in by the agent's socket: calls of the CNI shim are answered here, the rest is HTTP's.

A kubelet waits for these, so they take the shortest way: read, carried out and answered in the
loop, or in the writer thread while that is busy. docs/cni.md has the protocol.
"""

import asyncio
import contextlib
import logging
import select
import socket
import struct
from collections.abc import Awaitable, Callable, Sequence
from functools import partial

from podnet.cni.call import Call, parse, version_asked, version_body
from podnet.cni.error import CniError, Code, error_body
from podnet.errors import PodNetError
from podnet.objects import Netns, Observed
from podnet_agent.cni import http
from podnet_agent.cni.deferred import Deferred
from podnet_agent.cni.plugin import Plugin
from podnet_agent.namespaces import EXHAUSTED
from podnet_agent.threads import Threads

log = logging.getLogger(__name__)

BACKLOG = 1024
"""Connections that may wait: more than pods a node can have."""
ACCEPTED_AT_ONCE = 8
"""Then the loop has others to serve: each may take it some milliseconds."""
REQUEST_SECONDS = 10.0
"""How long a request may take to arrive, and who asked to take the answer."""
PAUSE_SECONDS = 0.1
"""How long nobody is let in after the process had no file descriptor for one."""
_UCRED = struct.Struct("3i")
"""What SO_PEERCRED gives: process, user, group (unix(7))."""

Look = Callable[[Sequence[Netns]], Awaitable[Observed]]


class Door:
    """Lives in the asyncio loop. `other` makes the protocol of a connection that is not CNI's."""

    def __init__(
        self,
        listener: socket.socket,
        threads: Threads,
        plugin: Plugin,
        deferred: Deferred,
        look: Look,
        other: Callable[[], asyncio.BaseProtocol],
        crashed: Callable[[BaseException], None],
    ) -> None:
        self._listener, self._threads, self._plugin = listener, threads, plugin
        self._deferred, self._look, self._other, self._crashed = deferred, look, other, crashed
        self._loop = asyncio.get_running_loop()
        self._tasks: set[asyncio.Task[object]] = set()

    def open(self) -> None:
        """Let people in from now on."""
        self._listener.setblocking(False)
        self._listener.listen(BACKLOG)
        self._loop.add_reader(self._listener, self._accept)

    def close(self) -> None:
        """Let nobody in any more."""
        self._loop.remove_reader(self._listener)
        self._listener.close()

    def _accept(self) -> None:
        for _ in range(ACCEPTED_AT_ONCE):
            try:
                connection, _ = self._listener.accept()
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno not in EXHAUSTED:
                    continue  # who came has gone
                log.warning("nobody can be let in for a moment: %s", error.strerror)
                self._loop.remove_reader(self._listener)
                self._loop.call_later(PAUSE_SECONDS, self._go_on)
                return
            connection.setblocking(False)
            _Visitor(self._loop, connection, self._arrived, self._hand_over).look()

    def _go_on(self) -> None:
        if self._listener.fileno() >= 0:
            self._loop.add_reader(self._listener, self._accept)

    def _hand_over(self, connection: socket.socket) -> None:
        self._start(self._loop.connect_accepted_socket(self._other, connection))

    def _start(self, work: Awaitable[object]) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _arrived(self, connection: socket.socket, request: http.Request) -> None:
        """A whole request: most are the writer's, some can be answered at once."""
        if self._listener.fileno() < 0:  # the agent ends: who asked hears that it is away
            connection.close()
            return
        try:
            call = parse(request.environment, request.stdin)
        except CniError as error:
            body = error_body(error, version_asked(request.stdin))
            _answer(connection, http.answer(422, body))
            return
        match call.verb:
            case "VERSION":
                _answer(connection, http.answer(200, version_body(call.config.version)))
            case "CHECK":
                self._start(self._checked(connection, call))
            case _:
                short = call.verb != "GC" and not call.config.ports  # who has a port, takes a while
                serve = self._threads.serve if short else self._threads.serve_later
                serve(partial(self._serve, connection, call), self._crashed)

    async def _checked(self, connection: socket.socket, call: Call) -> None:
        try:
            record = await self._threads.write(self._plugin.recorded, call)
            observed = await self._look([record.attachment.request.netns])
            await self._threads.write(self._plugin.check, call, observed)
            answer = http.answer(200)
        except PodNetError as error:
            answer = http.answer(422, error_body(error, call.config.version))
        _answer(connection, answer)

    def _serve(self, connection: socket.socket, call: Call) -> None:
        """When nothing else is being written. Who has given up meanwhile is not attached."""
        if call.verb == "ADD" and _has_left(connection):
            log.warning("%s: the runtime did not wait for its ADD", call.owner)
            connection.close()
            return
        try:
            self._deferred.work_off()
            answer, done = http.answer(200, self._plugin.answer(call)), True
        except PodNetError as error:
            log.warning("%s %s %s: %s", call.verb, call.owner, call.ifname, error)
            answer, done = http.answer(422, error_body(error, call.config.version)), False
        heard = _answer(connection, answer)
        if call.verb == "ADD" and done and not heard:
            log.warning("%s: the runtime did not wait for its ADD, which is undone", call.owner)
            with contextlib.suppress(PodNetError):  # then it is done when the runtime deletes it
                self._plugin.delete(call)


class _Visitor:
    """One connection until it is known what it wants."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        connection: socket.socket,
        arrived: Callable[[socket.socket, http.Request], None],
        hand_over: Callable[[socket.socket], None],
    ) -> None:
        self._loop, self._connection = loop, connection
        self._arrived, self._hand_over = arrived, hand_over
        self._timer: asyncio.TimerHandle | None = None
        self._data = bytearray()

    def look(self) -> None:
        """Wait for the first bytes, then read, or leave the connection to HTTP as it came."""
        try:
            begin = self._connection.recv(len(http.BEGINNING), socket.MSG_PEEK)
        except BlockingIOError:
            return self._wait(self.look)
        except ConnectionError:
            return self._end()
        if begin == http.BEGINNING and is_root(self._connection):
            return self._read()
        self._rest()
        return self._hand_over(self._connection)

    def _read(self) -> None:
        try:
            request = self._request()
        except BlockingIOError:
            return self._wait(self._read)
        except CniError as error:
            self._rest()
            _answer(self._connection, http.answer(422, error_body(error)))
            return None
        except ConnectionError:
            return self._end()
        self._rest()
        return self._arrived(self._connection, request)

    def _request(self) -> http.Request:
        while True:
            chunk = self._connection.recv(1 << 16)
            self._data += chunk
            request = http.read(self._data)
            if request is not None:
                return request
            if not chunk:
                details = f"it ended after {len(self._data)} bytes"
                raise CniError(Code.IO_FAILURE, "the request was cut", details)

    def _wait(self, further: Callable[[], None]) -> None:
        # By number: of a socket that it does not know yet the loop asks the kernel all it can say.
        self._loop.add_reader(self._connection.fileno(), further)
        if self._timer is None:
            self._timer = self._loop.call_later(REQUEST_SECONDS, self._end)

    def _rest(self) -> None:
        """Nothing of the loop's is left at the connection."""
        if self._timer is not None:
            self._loop.remove_reader(self._connection.fileno())
            self._timer.cancel()

    def _end(self) -> None:
        self._rest()
        self._connection.close()


def _answer(connection: socket.socket, answer: bytes) -> bool:
    """Send it and hang up; whether it was taken.

    The socket's buffer has room for it, unless it repeats a long prevResult: who asked has
    REQUEST_SECONDS to read then.
    """
    with connection:
        try:
            sent = connection.send(answer)
            if sent < len(answer):
                connection.settimeout(REQUEST_SECONDS)
                connection.sendall(answer[sent:])
        except OSError:
            return False
    return True


def _has_left(connection: socket.socket) -> bool:
    poll = select.poll()
    poll.register(connection, 0)
    return any(events & select.POLLHUP for _, events in poll.poll(0))


def is_root(connection: socket.socket) -> bool:
    """Whether root is at the other end, as the kernel says."""
    credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size)
    user: int = _UCRED.unpack(credentials)[1]
    return user == 0
