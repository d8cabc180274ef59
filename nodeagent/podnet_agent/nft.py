"""nftables through libnftables: our table's transactions, and what is read back of it.

A context belongs to the network namespace of the thread that made it, and to that thread: the
writer has one, the reader another.
"""

import ctypes
import errno as errnos
import json
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from typing import Any

from podnet.errors import PodNetError
from podnet.objects import Element, Key, Ruleset, Seen
from podnet.plan import Add, Change, Operation, Remove
from podnet.ruleset import TABLE, TEXT, VERSION, VERSION_PREFIX, spelled
from podnet_agent import namespaces
from podnet_agent.conntrack import Conntrack

OUTPUT_JSON = 1 << 4
"""NFT_CTX_OUTPUT_JSON (nftables/libnftables.h)."""
PROTOCOLS = {"tcp": "6", "udp": "17"}
"""nft looks names up in /etc/protocols, which a small machine may not have."""
_NUMBERS = {6: "tcp", 17: "udp"}
_LENGTHS = {"ipv4_addr": 32, "ipv6_addr": 128}

Listed = dict[str, Any]


class NftError(PodNetError):
    """libnftables refused. `errno` is the kernel's; EAGAIN where the text itself was refused."""

    def __init__(self, errno: int, words: str) -> None:
        super().__init__(f"nftables: {words}")
        self.errno = errno


@cache
def _library() -> ctypes.CDLL:
    try:
        library = ctypes.CDLL("libnftables.so.1", use_errno=True)
    except OSError as error:
        raise PodNetError(
            "libnftables.so.1 is not on this machine: apt-get install libnftables1"
        ) from error
    library.nft_ctx_new.restype = ctypes.c_void_p
    library.nft_run_cmd_from_buffer.argtypes = [ctypes.c_void_p, ctypes.c_char_p]
    for name in ("nft_ctx_get_output_buffer", "nft_ctx_get_error_buffer"):
        getattr(library, name).restype = ctypes.c_char_p
        getattr(library, name).argtypes = [ctypes.c_void_p]
    for name in ("nft_ctx_buffer_output", "nft_ctx_buffer_error", "nft_ctx_free"):
        getattr(library, name).argtypes = [ctypes.c_void_p]
    library.nft_ctx_output_set_flags.argtypes = [ctypes.c_void_p, ctypes.c_uint]
    return library


class Context:
    """A connection to the nftables of the calling thread's network namespace."""

    def __init__(self) -> None:
        self._library = _library()
        self._context = ctypes.c_void_p(self._library.nft_ctx_new(0))
        self._library.nft_ctx_buffer_output(self._context)
        self._library.nft_ctx_buffer_error(self._context)

    def close(self) -> None:
        """Its socket holds the namespace until then."""
        self._library.nft_ctx_free(self._context)

    def run(self, text: str) -> str:
        """Carry out a text in nft's language as one transaction, and return what it says.

        NftError when it is refused; then nothing was done.
        """
        ctypes.set_errno(0)
        refused = self._library.nft_run_cmd_from_buffer(self._context, text.encode())
        errno = ctypes.get_errno()
        said: bytes = self._library.nft_ctx_get_output_buffer(self._context)
        words: bytes = self._library.nft_ctx_get_error_buffer(self._context)
        if refused:
            raise NftError(errno, _first_line(words))
        return said.decode(errors="replace")

    def listed(self, what: str) -> list[Listed]:
        """The objects of `list WHAT`, each with one key, its kind; NftError when there is none."""
        self._library.nft_ctx_output_set_flags(self._context, OUTPUT_JSON)
        try:
            answer = self.run(f"list {what}")
        finally:
            self._library.nft_ctx_output_set_flags(self._context, 0)
        objects: list[Listed] = json.loads(answer)["nftables"] if answer.strip() else []
        return [one for one in objects if "metainfo" not in one]


def _first_line(words: bytes) -> str:
    lines = words.decode(errors="replace").splitlines() or ["no reason given"]
    return lines[0].rpartition("Error: ")[2]


class Table:
    """Our table in the namespace of the thread that made this: carries out operations on it."""

    def __init__(self) -> None:
        self._context = Context()
        self._conntrack = Conntrack()
        self._reference: list[Listed] = []
        self.commits = 0
        """Transactions so far."""

    def commit(self, operations: Sequence[Operation]) -> None:
        """All of it in one transaction, or NftError and nothing; what is gone needs no removal.

        Flows of UDP that a published port leads elsewhere now are forgotten.
        """
        text = "".join(line for operation in operations for line in _lines(operation))
        try:
            self._run(text)
        except NftError as error:
            if error.errno == errnos.EEXIST or all(isinstance(each, Add) for each in operations):
                raise
            self._one_by_one(operations)
        self._conntrack.forget_stale(operations)

    def _run(self, text: str) -> None:
        self._context.run(text)
        self.commits += 1

    def _one_by_one(self, operations: Sequence[Operation]) -> None:
        """Each removal by itself, since it may be what failed; then the rest at once."""
        rest = []
        for operation in operations:
            match operation:
                case Remove(what=thing) | Change(was=Element() as thing):
                    self._remove(thing)
            match operation:
                case Add():
                    rest.append(operation)
                case Change():
                    rest.append(Add(operation.what))
        if rest:
            self._run("".join(line for operation in rest for line in _lines(operation)))

    def _remove(self, thing: Any) -> None:
        try:
            self._run("".join(_lines(Remove(thing))))
        except NftError as error:
            gone = error.errno == errnos.ENOENT or (
                isinstance(thing, Element) and thing.container not in _names(self._objects())
            )
            if not gone:
                raise

    def _objects(self) -> list[Listed]:
        try:
            return self._context.listed("table inet podnet")
        except NftError:
            return []

    def listing(self) -> Mapping[Key, Seen]:
        """Our table and its elements as the kernel has them, spelled as `desired` spells them.

        The elements of a table that is not as its text says are left out: they go with it.
        """
        objects = self._objects()
        if not objects:
            return {}
        if not self._reference:
            self._reference = _freshly_loaded()
        version = next(
            (name.removeprefix(VERSION_PREFIX) for name in _names(objects) if _is_version(name)),
            "unknown",
        )
        right = _skeleton(objects) == self._reference
        if not right and version == VERSION:
            version = f"{version}, damaged"
        seen = {TABLE: Seen(Ruleset(version=version), ours=True)}
        if right:
            seen |= {element.key: Seen(element, ours=True) for element in _elements(objects)}
        return seen


def _lines(operation: Operation) -> Iterator[str]:
    """An operation in nft's language, a command a line."""
    thing = operation.what
    if isinstance(thing, Ruleset):
        yield "delete table inet podnet\n" if isinstance(operation, Remove) else TEXT
        return
    assert isinstance(thing, Element)
    where = f"element inet podnet {thing.container}"
    match = _numbered(spelled(thing.container, thing.match))
    if not isinstance(operation, Add):
        yield f"delete {where} {{ {match} }}\n"
    if not isinstance(operation, Remove):
        value = f" : {thing.verdict}" if thing.verdict else ""
        yield f"add {where} {{ {match}{value} }}\n"


def _numbered(match: str) -> str:
    return " . ".join(PROTOCOLS.get(word, word) for word in match.split(" . "))


def _freshly_loaded() -> list[Listed]:
    """What this machine's libnftables lists of the table as its text makes it.

    Asked in a network namespace of its own, which is gone afterwards: another version may write
    the same rules in another way.
    """
    found: list[Listed] = []

    def load() -> None:
        context = Context()
        try:
            context.run(TEXT)
            found.extend(_skeleton(context.listed("table inet podnet")))
        finally:
            context.close()

    namespaces.make({"net": namespaces.CLONE_NEWNET}, {}, inside=load)
    return found


def _skeleton(objects: Sequence[Listed]) -> list[Listed]:
    """All that the text says: without elements, and handles, which are counted up."""
    return [
        {kind: {name: value for name, value in one.items() if name not in ("handle", "elem")}}
        for thing in objects
        for kind, one in thing.items()
    ]


def _names(objects: Sequence[Listed]) -> set[str]:
    """Of chains, sets and maps."""
    return {one["name"] for thing in objects for one in thing.values() if "name" in one}


def _is_version(name: str) -> bool:
    return name.startswith(VERSION_PREFIX)


def _elements(objects: Sequence[Listed]) -> Iterator[Element]:
    for thing in objects:
        container = thing.get("set") or thing.get("map")
        if container is None:
            continue
        for element in container.get("elem", ()):
            match, verdict = element if "map" in thing else (element, "")
            yield Element(
                container=container["name"],
                match=_words(match, container["type"], ranges="flags" in container),
                verdict=verdict and _words(verdict, container["map"].split(" . ")),
                within=TABLE,
            )


def _words(value: Any, types: str | list[str], *, ranges: bool = False) -> str:
    """A key or a value as words one ` . ` apart: podnet0 . 10.1.0.0/16, tcp . 80."""
    if isinstance(types, str):
        types = [types]
    parts = value["concat"] if isinstance(value, dict) and "concat" in value else [value]
    words = (_word(part, kind, ranges=ranges) for part, kind in zip(parts, types, strict=True))
    return " . ".join(words)


def _word(part: Any, kind: str, *, ranges: bool) -> str:
    if isinstance(part, dict) and "prefix" in part:
        return f"{part['prefix']['addr']}/{part['prefix']['len']}"
    if ranges and kind in _LENGTHS:  # a range of one address
        return f"{part}/{_LENGTHS[kind]}"
    if kind == "inet_proto" and isinstance(part, int):
        return _NUMBERS.get(part, str(part))
    return str(part)
