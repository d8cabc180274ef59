"""The shortcuts' programs in the kernel, by bpf(2): attached, found again, taken away.

They stay where they are without the agent. A program's name says that it is ours and which version;
all of a machine share two maps, which are found by way of any program that has them. Programs of
others on the same link are left alone: the kernel keeps a list (tcx, Linux 6.6).
"""

import ctypes
import errno as errnos
import os
import platform
import socket
import struct
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from functools import cache

from podnet.errors import Retryable
from podnet.objects import Key, Seen, Shortcut
from podnet.plan import Operation, Remove
from podnet.shortcut import FLOWS, KEY_BYTES, MARK, ON_BRIDGE, VALUE_BYTES, program
from podnet_agent.links import HOST_END

_SYSCALL = {"x86_64": 321, "aarch64": 280}
_MAP_CREATE, _PROG_LOAD, _PROG_ATTACH, _PROG_DETACH = 0, 5, 8, 9
_PROG_BY_ID, _MAP_BY_ID, _INFO, _QUERY = 13, 14, 15, 16
_LRU_HASH, _SCHED_CLS, _TCX_INGRESS = 9, 3, 46
_REPLACE = 4
"""BPF_F_REPLACE. Numbers and layouts of `union bpf_attr`: linux/bpf.h."""
_MOST = 64
"""Programs that a link can have (BPF_MPROG_MAX)."""
_LOOPBACK = 1
"""The index of lo, in every network namespace."""

_libc = ctypes.CDLL(None, use_errno=True)


class Shortcuts:
    """Those of the calling thread's network namespace."""

    def commit(self, operations: Sequence[Operation]) -> None:
        """One after the other; Retryable at the first that the kernel refuses."""
        for operation in operations:
            thing = operation.what
            assert isinstance(thing, Shortcut)
            try:
                index = socket.if_nametoindex(thing.ifname)
                if isinstance(operation, Remove):
                    _detach(index)
                else:
                    _attach(index, thing.version)
            except OSError as error:
                if not isinstance(operation, Remove):
                    raise Retryable(
                        f"no shortcut on {thing.ifname}, its packets go by the rules:"
                        f" {error.strerror}"
                    ) from error

    def listing(self) -> Mapping[Key, Seen]:
        """Ours, on whatever link but pods' own."""
        if not is_available():
            return {}
        found = (
            Shortcut(ifname=ifname, version=name.removeprefix(MARK))
            for index, ifname in socket.if_nameindex()
            if not HOST_END.fullmatch(ifname)
            for _, name in _ours(index)
        )
        return {thing.key: Seen(thing, ours=True) for thing in found}


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
        here = [number for number, name in _ours(index)]
        before = [_opened(stack, _by_id(_PROG_BY_ID, number)) for number in here]
        new = _load(stack, version, _maps(stack))
        old, flags = (before[0], _REPLACE) if before else (0, 0)
        _bpf(_PROG_ATTACH, struct.pack("=IIIII", index, new, _TCX_INGRESS, flags, old))


def _detach(index: int) -> None:
    with ExitStack() as stack:
        for number, _ in _ours(index):
            old = _opened(stack, _by_id(_PROG_BY_ID, number))
            _bpf(_PROG_DETACH, struct.pack("=III", index, old, _TCX_INGRESS))


def _load(stack: ExitStack, version: str, maps: Mapping[int, int]) -> int:
    """The program with these maps, by the size of their keys; those that are missing are made."""
    flows = [maps.get(size) or _new_map(stack, size) for size in KEY_BYTES.values()]
    code = ctypes.create_string_buffer(program(*flows, neighbours=version == ON_BRIDGE))
    words = ctypes.create_string_buffer(b"GPL")
    attributes = struct.pack(
        "=IIQQIIQII16sII",
        *(_SCHED_CLS, (len(code) - 1) // 8, ctypes.addressof(code), ctypes.addressof(words)),
        *(0, 0, 0, 0, 0, f"{MARK}{version}".encode(), 0, _TCX_INGRESS),
    )
    return _opened(stack, _bpf(_PROG_LOAD, attributes))


def _new_map(stack: ExitStack, key_bytes: int) -> int:
    attributes = struct.pack("=IIIII", _LRU_HASH, key_bytes, VALUE_BYTES, FLOWS, 0)
    return _opened(stack, _bpf(_MAP_CREATE, attributes))


def _maps(stack: ExitStack) -> dict[int, int]:
    """Of a program that is attached somewhere here, by the size of their keys."""
    for index, ifname in socket.if_nameindex():
        if not HOST_END.fullmatch(ifname):
            for number, _ in _ours(index):
                found = _opened(stack, _by_id(_PROG_BY_ID, number))
                return {key_bytes: fd for key_bytes, fd in _maps_of(stack, found)}
    return {}


def _maps_of(stack: ExitStack, found: int) -> Iterator[tuple[int, int]]:
    """Those that this version could use."""
    numbers = (ctypes.c_uint32 * 8)()
    info = bytearray(256)  # struct bpf_prog_info: nr_map_ids at 52, map_ids at 56
    struct.pack_into("=IQ", info, 52, len(numbers), ctypes.addressof(numbers))
    count = min(struct.unpack_from("=I", _info(found, info), 52)[0], len(numbers))
    for number in numbers[:count]:
        fd = _opened(stack, _by_id(_MAP_BY_ID, number))
        kind, _, key, value, entries = struct.unpack_from("=5I", _info(fd, bytearray(256)))
        if (kind, value, entries) == (_LRU_HASH, VALUE_BYTES, FLOWS):
            yield key, fd


def _ours(index: int) -> list[tuple[int, str]]:
    """Numbers and names of our programs on that link."""
    found = []
    for number in _query(index):
        with ExitStack() as stack:
            fd = _opened(stack, _by_id(_PROG_BY_ID, number))
            name = bytes(_info(fd, bytearray(256))[64:80]).rstrip(b"\0").decode()
        if name.startswith(MARK):
            found.append((number, name))
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
    """bpf(2); what the kernel writes comes back in a bytearray. OSError."""
    number = _SYSCALL.get(platform.machine())
    if number is None:
        raise OSError(errnos.ENOSYS, os.strerror(errnos.ENOSYS))
    buffer = ctypes.create_string_buffer(bytes(attributes), 160)
    done = _libc.syscall(number, command, buffer, len(buffer))
    if done < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    if isinstance(attributes, bytearray):
        attributes[:] = buffer.raw[: len(attributes)]
    return int(done)
