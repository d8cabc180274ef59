"""The shortcuts' programs and endpoints in the kernel, by bpf(2): made, found again, taken away.

They stay without the agent. A program's name says that it is ours and which version; all of a
machine share their maps, which are found by way of any program that has them. Programs of others on
the same link are left alone: the kernel keeps a list (tcx, Linux 6.6).
"""

import ctypes
import errno as errnos
import logging
import os
import platform
import socket
import struct
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from functools import cache
from ipaddress import ip_address

from podnet.addresses import IPAddress
from podnet.errors import Retryable
from podnet.objects import Endpoint, Key, Seen, Shortcut
from podnet.plan import Operation, Remove
from podnet.shortcut import ENDPOINTS, MAPS, MARK, ON_BRIDGE, Map, program
from podnet_agent.links import HOST_END

_SYSCALL = {"x86_64": 321, "aarch64": 280}
_MAP_CREATE, _MAP_UPDATE, _MAP_DELETE, _MAP_READ = 0, 2, 3, 24
_PROG_LOAD, _PROG_ATTACH, _PROG_DETACH = 5, 8, 9
_PROG_BY_ID, _MAP_BY_ID, _INFO, _QUERY = 13, 14, 15, 16
_SCHED_CLS, _TCX_INGRESS, _REPLACE = 3, 46, 4
"""_MAP_READ is BPF_MAP_LOOKUP_BATCH. Numbers and layouts of `union bpf_attr`: linux/bpf.h."""
_MOST = 64
"""Programs that a link can have (BPF_MPROG_MAX)."""
_LOOPBACK = 1
"""The index of lo, in every network namespace."""

log = logging.getLogger(__name__)
_libc = ctypes.CDLL(None, use_errno=True)


class Shortcuts:
    """Those of the calling thread's network namespace. Used by one thread."""

    def __init__(self) -> None:
        self._known: dict[int, list[int]] = {}  # a program's maps, open; of the last one asked
        self._none = False  # there was no program when one was looked for

    def commit(self, operations: Sequence[Operation]) -> None:
        """One after the other; Retryable at the first program that the kernel refuses.

        A pod without its endpoint is reached all the same, so that is no error.
        """
        for operation in operations:
            thing = operation.what
            assert isinstance(thing, Shortcut | Endpoint)
            try:
                if isinstance(thing, Endpoint):
                    self._endpoint(thing, isinstance(operation, Remove))
                    continue
                self._none = False
                if isinstance(operation, Remove):
                    _detach(socket.if_nametoindex(thing.ifname))
                else:
                    _attach(socket.if_nametoindex(thing.ifname), thing.version)
            except OSError as error:
                sentence = f"no shortcut by {thing.key[2]}, its packets go on as without one"
                if isinstance(operation, Remove):
                    continue
                if isinstance(thing, Shortcut):
                    raise Retryable(f"{sentence}: {error.strerror}") from error
                log.warning("%s: %s", sentence, error.strerror)  # no reason to refuse a pod

    def listing(self) -> Mapping[Key, Seen]:
        """Ours, on whatever link but pods' own, and all endpoints."""
        if not is_available():
            return {}
        found: list[Shortcut | Endpoint] = []
        names = dict(socket.if_nameindex())
        for number, (index, name) in _programs(names).items():
            if not found:
                found += self._endpoints(number, names)
            found.append(Shortcut(ifname=names[index], version=name.removeprefix(MARK)))
        return {thing.key: Seen(thing, ours=True) for thing in found}

    def _endpoint(self, thing: Endpoint, removed: bool) -> None:
        maps = self._maps(thing.bridge)
        if maps is None:  # the next look adds the program, and what belongs to it
            return
        fd = maps[ENDPOINTS[thing.address.version]]
        key = ctypes.create_string_buffer(thing.address.packed)
        if removed:
            _bpf(_MAP_DELETE, struct.pack("=IxxxxQ", fd, ctypes.addressof(key)))
        else:
            value = ctypes.c_uint32(socket.if_nametoindex(thing.host_end))
            places = map(ctypes.addressof, (key, value))
            _bpf(_MAP_UPDATE, struct.pack("=IxxxxQQQ", fd, *places, 0))

    def _maps(self, bridge: str) -> list[int] | None:
        """Those of a bridge's program; without its name, of any, and first those known."""
        if self._none or not is_available():
            return None
        if not bridge and self._known:
            return next(iter(self._known.values()))
        links = {socket.if_nametoindex(bridge): bridge} if bridge else dict(socket.if_nameindex())
        number = next(iter(_programs(links)), None)
        self._none = number is None
        maps = [] if number is None else self._opened_maps(number)
        return maps if len(maps) == len(MAPS) else None  # else another release's

    def _opened_maps(self, number: int) -> list[int]:
        if number not in self._known:
            for fd in (fd for maps in self._known.values() for fd in maps):
                os.close(fd)
            self._known.clear()
            with ExitStack() as stack:
                maps = _maps_of(stack, number)
                self._known[number] = [os.dup(maps[shape]) for shape in MAPS if shape in maps]
        return self._known[number]

    def _endpoints(self, number: int, names: Mapping[int, str]) -> Iterator[Endpoint]:
        maps = self._opened_maps(number)
        if len(maps) == len(MAPS):
            for which in ENDPOINTS.values():
                for address, index in _entries(maps[which], MAPS[which]):
                    yield Endpoint(address=address, host_end=names.get(index, f"index {index}"))


@cache
def is_available() -> bool:
    """Whether this kernel has such lists, takes the program, and lets us."""
    try:
        _query(_LOOPBACK)
        with ExitStack() as stack:
            _load(stack, ON_BRIDGE, {})
    except OSError:
        return False
    return True


def _attach(index: int, version: str) -> None:
    """Where one of ours is, in its place: nothing passes in between."""
    with ExitStack() as stack:
        here = _programs({index: ""})
        there = here or _programs(dict(socket.if_nameindex()))
        maps = _maps_of(stack, next(iter(there))) if there else {}
        old = _opened(stack, _by_id(_PROG_BY_ID, next(iter(here)))) if here else 0
        new = _load(stack, version, maps)
        flags = _REPLACE if here else 0
        _bpf(_PROG_ATTACH, struct.pack("=IIIII", index, new, _TCX_INGRESS, flags, old))


def _detach(index: int) -> None:
    with ExitStack() as stack:
        for number in _programs({index: ""}):
            old = _opened(stack, _by_id(_PROG_BY_ID, number))
            _bpf(_PROG_DETACH, struct.pack("=III", index, old, _TCX_INGRESS))


def _load(stack: ExitStack, version: str, maps: Mapping[Map, int]) -> int:
    """The program with these maps; those that are missing are made."""
    all_of_them = [maps.get(shape) or _new_map(stack, shape) for shape in MAPS]
    packed = program(all_of_them, neighbours=version == ON_BRIDGE)
    code, words = ctypes.create_string_buffer(packed), ctypes.create_string_buffer(b"GPL")
    attributes = struct.pack(
        "=IIQQIIQII16sII",
        *(_SCHED_CLS, len(packed) // 8, ctypes.addressof(code), ctypes.addressof(words)),
        *(0, 0, 0, 0, 0, f"{MARK}{version}".encode(), 0, _TCX_INGRESS),
    )
    return _opened(stack, _bpf(_PROG_LOAD, attributes))


def _new_map(stack: ExitStack, shape: Map) -> int:
    return _opened(stack, _bpf(_MAP_CREATE, struct.pack("=5I", *shape)))


def _maps_of(stack: ExitStack, number: int) -> dict[Map, int]:
    """A program's maps, open, by their shape."""
    numbers = (ctypes.c_uint32 * 8)()
    info = bytearray(256)  # struct bpf_prog_info: nr_map_ids at 52, map_ids at 56, name at 64
    struct.pack_into("=IQ", info, 52, len(numbers), ctypes.addressof(numbers))
    _info(_opened(stack, _by_id(_PROG_BY_ID, number)), info)
    found = {}
    for each in numbers[: min(struct.unpack_from("=I", info, 52)[0], len(numbers))]:
        fd = _opened(stack, _by_id(_MAP_BY_ID, each))
        kind, _, *shape = struct.unpack_from("=6I", _info(fd, bytearray(256)))
        found[Map(kind, *shape)] = fd
    return found


def _entries(fd: int, shape: Map) -> Iterator[tuple[IPAddress, int]]:
    """All of a map of endpoints, in one go."""
    keys = ctypes.create_string_buffer(shape.key_bytes * shape.entries)
    values = (ctypes.c_uint32 * shape.entries)()
    place = ctypes.c_uint64()
    places = map(ctypes.addressof, (place, keys, values))
    attributes = bytearray(struct.pack("=QQQQIIQQ", 0, *places, shape.entries, fd, 0, 0))
    try:
        _bpf(_MAP_READ, attributes)
    except OSError as error:
        if error.errno != errnos.ENOENT:  # the end was reached
            raise
    for each in range(struct.unpack_from("=I", attributes, 32)[0]):
        packed = keys.raw[each * shape.key_bytes : (each + 1) * shape.key_bytes]
        yield ip_address(packed), values[each]


def _programs(links: Mapping[int, str]) -> dict[int, tuple[int, str]]:
    """Our programs' numbers, each with its link and name, on these links but for pods' own."""
    found = {}
    for index, ifname in links.items():
        for number in () if HOST_END.fullmatch(ifname) else _query(index):
            with ExitStack() as stack:
                fd = _opened(stack, _by_id(_PROG_BY_ID, number))
                name = bytes(_info(fd, bytearray(256))[64:80]).rstrip(b"\0").decode()
            if name.startswith(MARK):
                found[number] = (index, name)
    return found


def _query(index: int) -> list[int]:
    numbers = (ctypes.c_uint32 * _MOST)()
    address = ctypes.addressof(numbers)
    attributes = bytearray(struct.pack("=IIIIQI", index, _TCX_INGRESS, 0, 0, address, _MOST))
    _bpf(_QUERY, attributes)
    return list(numbers[: struct.unpack_from("=I", attributes, 24)[0]])


def _info(fd: int, info: bytearray) -> bytearray:
    """What the kernel tells of a program or a map, into `info`."""
    place = (ctypes.c_char * len(info)).from_buffer(info)
    _bpf(_INFO, struct.pack("=IIQ", fd, len(info), ctypes.addressof(place)))
    return info


def _by_id(command: int, number: int) -> int:
    return _bpf(command, struct.pack("=I", number))


def _opened(stack: ExitStack, fd: int) -> int:
    stack.callback(os.close, fd)
    return fd


def _bpf(command: int, attributes: bytes | bytearray) -> int:
    """bpf(2); what the kernel writes comes back in a bytearray, also with an OSError."""
    number = _SYSCALL.get(platform.machine())
    if number is None:
        raise OSError(errnos.ENOSYS, os.strerror(errnos.ENOSYS))
    buffer = ctypes.create_string_buffer(bytes(attributes), 160)
    done = _libc.syscall(number, command, buffer, len(buffer))
    code = ctypes.get_errno()
    if isinstance(attributes, bytearray):
        attributes[:] = buffer.raw[: len(attributes)]
    if done < 0:
        raise OSError(code, os.strerror(code))
    return int(done)
