"""Which objects a person means: `psb web`, `psb,pnet`, `psb/web`, `-l app=web`."""

from __future__ import annotations

from podnet.kinds import CLUSTER_KINDS, GROUP, KINDS, Kind, find
from podnet_cli.client import Failure, path_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

    Target = tuple[Kind, str | None]
    """A kind, and a name or all of them."""

EVERY_KIND = ("all", "podnet")
"""kubectl's word for everything, and the category of our kinds."""


def targets(arguments: Sequence[str]) -> list[Target]:
    """What the arguments of get, delete, describe or wait name, in their order."""
    if not arguments:
        raise Failure("name what you mean: podsandboxes (psb), podnetworks (pnet) or KIND/NAME")
    if any("/" in argument for argument in arguments):
        return [_pair(argument) for argument in arguments]
    words, names = arguments[0], list[str | None](arguments[1:])
    kinds = [kind for word in words.split(",") for kind in _kinds(word)]
    return [(kind, name) for kind in kinds for name in (names or [None])]


def kind_of(word: str) -> Kind:
    """The kind of that word, or kubectl's sentence."""
    kind = find(word)
    if kind is None:
        raise Failure(
            f'the server doesn\'t have a resource type "{word}": it has'
            f" {' and '.join(f'{each.plural} ({each.short})' for each in KINDS)}"
        )
    return kind


def sandbox_name(word: str) -> str:
    """The NAME of exec and logs, which may be psb/NAME as well."""
    kind, slash, name = word.rpartition("/")
    if slash and kind_of(kind).kind != "PodSandbox":
        raise Failure(f"{word} is not a PodSandbox: only those have containers")
    return name


def object_path(kind: Kind, namespace: str, name: str, **query: str | None) -> str:
    """Where the agent has that object."""
    return path_of("objects", kind.plural, namespace if kind.namespaced else "-", name, **query)


def resource_name(body: Mapping[str, Any]) -> str:
    """podsandbox.podnet.dev/web, as kubectl prints it."""
    return f"{body['kind'].lower()}.{GROUP}/{body['metadata']['name']}"


def _pair(argument: str) -> Target:
    word, slash, name = argument.partition("/")
    if not slash or not name or "/" in name or "," in word:
        raise Failure(f"{argument} is not KIND/NAME: write it so, or KIND NAME... without a slash")
    return kind_of(word), name


def _kinds(word: str) -> Sequence[Kind]:
    return CLUSTER_KINDS[::-1] if word in EVERY_KIND else (kind_of(word),)
