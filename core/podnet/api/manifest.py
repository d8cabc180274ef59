"""Manifest: what a person wrote, as objects; or every mistake in it."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar, overload

from podnet.addresses import bridge_name
from podnet.api.meta import API_VERSION, SERVER_FIELDS, Found, Place, spoken
from podnet.api.mistakes import mistakes
from podnet.api.nodesubnet import NodeSubnet
from podnet.api.podnetwork import PodNetwork, PodNetworkSpec
from podnet.api.podsandbox import PodSandbox
from podnet.api.rules import IMMUTABLE
from podnet.errors import Invalid, Problem
from podnet.kinds import find

if TYPE_CHECKING:
    from podnet.api.document import Document

Resource = PodNetwork | PodSandbox
R = TypeVar("R", PodNetwork, NodeSubnet, PodSandbox)


class Source(NamedTuple):
    """A file's name, as the person gave it, and what it holds."""

    name: str
    text: bytes


_MODELS: Mapping[str, type[PodNetwork] | type[PodSandbox]] = {
    "PodNetwork": PodNetwork,
    "PodSandbox": PodSandbox,
}
"""Of what people write."""
_STORED: Mapping[str, type[PodNetwork] | type[NodeSubnet] | type[PodSandbox]] = {
    **_MODELS,
    "NodeSubnet": NodeSubnet,
}


_OF_API_SERVERS = ("managedFields", "ownerReferences", "finalizers", "generateName", "selfLink")
"""Of metadata in a cluster: no model has it; the operator reads some of it where it stands."""


def read(
    sources: Sequence[Source],
    namespace: str = "default",
    further: Callable[[Resource], Found] = lambda resource: [],
) -> tuple[Resource, ...]:
    """Every object of the sources, in their order; Invalid with every mistake of all of them.

    `namespace` is that of objects which name none; `further` says what else is wrong with one that
    could be meant.
    """
    from podnet.api.document import BYTES, MISTAKES, documents  # yaml costs 10 ms

    size = sum(len(source.text) for source in sources)
    if size > BYTES:
        message = f"manifests of one call are at most {BYTES // 10**6} MB together: split them"
        raise Invalid([Problem(sources[-1].name, message)])
    problems: list[Problem] = []
    found: list[Resource] = []
    first: dict[tuple[str, str, str], str] = {}
    for source in sources:
        empty = True
        before = len(problems)
        for document in documents(source.name, source.text, problems):
            for place, data in _objects(document, problems):
                empty = False
                if len(problems) > MISTAKES:
                    raise Invalid(problems)
                resource, wrong = _resource(data, namespace)
                if isinstance(resource, Resource):
                    wrong += further(resource)
                wrong.sort(key=lambda each: document.mark((*place, *each[0])).line)
                problems += [_problem(document, (*place, *at), text) for at, text in wrong]
                if not isinstance(resource, Resource):
                    continue
                where = _where(document, place)
                known = first.setdefault(_name(resource), where)
                if known != where:
                    sentence = f"{label(resource)} stands at {known} already: leave one of them"
                    problems.append(Problem(where, sentence))
                found.append(resource)
        if empty and len(problems) == before:
            kinds = " or ".join(_MODELS)
            problems.append(Problem(source.name, f"holds no object: write a {kinds}"))
    if problems:
        raise Invalid(problems)
    return tuple(found)


@overload
def from_body(body: Mapping[str, Any]) -> Resource: ...
@overload
def from_body(body: Mapping[str, Any], kind: type[R]) -> R: ...
def from_body(body: Mapping[str, Any], kind: Any = Resource) -> Any:
    """A stored object, or one that was made as data; Invalid with every mistake."""
    resource, wrong = _resource(dict(body), "default", stored=True)
    if resource is not None and not isinstance(resource, kind):
        meant = " or ".join(_MODELS) if kind is Resource else kind.__name__
        wrong = [(("kind",), f"is {resource.kind}: write {meant}")]
    if wrong:
        meta = body.get("metadata")
        names = [meta.get("namespace"), meta.get("name")] if isinstance(meta, Mapping) else []
        start = "/".join(spoken(part) for part in (body.get("kind"), *names) if part)
        raise Invalid([Problem(f"{start} {spelt(place)}".strip(), text) for place, text in wrong])
    return resource


def to_body(resource: Resource) -> dict[str, Any]:
    """The object as JSON has it: what was given, no defaults; equal as long as that is."""
    body = resource.model_dump(mode="json", by_alias=True, exclude_unset=True)
    if isinstance(resource, PodSandbox):
        body["metadata"].setdefault("namespace", resource.metadata.namespace)
    body.setdefault("spec", {})
    return body


def changes_refused(old: Resource, new: Resource) -> Found:
    """Which immutable fields differ. The remedy is always to delete the object first."""
    before, after = (each.model_dump(mode="json", by_alias=True)["spec"] for each in (old, new))
    if isinstance(new, PodNetwork):
        name = new.metadata.name
        for spec in (before, after):
            spec["bridge"]["name"] = spec["bridge"]["name"] or bridge_name(name)
            spec["backend"]["type"] = spec["backend"]["type"] or "Local"
        fixed = PodNetworkSpec.fixed
        before, after = ({key: spec[key] for key in fixed} for spec in (before, after))
    return [
        (
            place,
            IMMUTABLE.format(change=f" and was {_shown(was)}, not {_shown(now)}", kind=new.kind),
        )
        for place, was, now in _differences(before, after, ("spec",))
    ]


def label(resource: Resource) -> str:
    """How sentences name the object: PodSandbox/default/web, PodNetwork/blue."""
    return "/".join(part for part in _name(resource) if part)


def spelt(place: Place) -> str:
    """spec.network.ports[0].hostPort."""
    text = ""
    for key in place:
        text += f"[{key}]" if isinstance(key, int) else f".{spoken(key)}"
    return text.removeprefix(".")


def _name(resource: Resource) -> tuple[str, str, str]:
    namespace = resource.metadata.namespace if isinstance(resource, PodSandbox) else ""
    return resource.kind, namespace, resource.metadata.name


def _where(document: "Document", place: Place) -> str:
    return f"{document.source} line {document.mark(place).line} {spelt(place)}".rstrip()


def _problem(document: "Document", place: Place, sentence: str) -> Problem:
    """With the line, and with a scalar as the person spelt it: `no` is false to YAML."""
    written = document.mark(place).text
    for read_as in ("the truth value false", "the truth value true"):
        start = f"is {read_as}"
        if written and written not in read_as and sentence.startswith(start):
            sentence = f"is {written}, which YAML reads as {read_as}" + sentence[len(start) :]
    return Problem(_where(document, place), sentence)


def _objects(document: "Document", problems: list[Problem]) -> Iterator[tuple[Place, Any]]:
    """The document, or the items of a List, each with its place in the document."""
    value = document.value
    if not isinstance(value, dict) or value.get("kind") != "List":
        yield (), value
        return
    items = value.get("items")
    if not isinstance(items, list):
        problems.append(_problem(document, ("items",), "is missing: write a list of objects"))
        return
    yield from ((("items", index), item) for index, item in enumerate(items))


def _resource(
    data: Any, namespace: str, *, stored: bool = False
) -> tuple[PodNetwork | NodeSubnet | PodSandbox | None, Found]:
    """The object in the data, or what is wrong with it."""
    if not isinstance(data, dict):
        return None, [((), f"is {spoken(data)}: write an object with apiVersion, kind, metadata")]
    kind = data.get("kind")
    models = _STORED if stored else _MODELS
    model = models.get(kind) if isinstance(kind, str) else None
    if model is None:
        what = "is missing" if kind is None else f"is {spoken(kind)}, which podnet does not know"
        known = find(kind) if isinstance(kind, str) else None
        remedy = known.kind if known and known.kind in _MODELS else " or ".join(_MODELS)
        return None, [(("kind",), f"{what}: write {remedy}")]
    if data.get("apiVersion") is None:
        return None, [(("apiVersion",), f"is missing: write {API_VERSION}")]
    data = {key: value for key, value in data.items() if key != "status"}
    meta = data.get("metadata")
    if isinstance(meta, dict):
        left_away = _OF_API_SERVERS + (() if stored else SERVER_FIELDS)
        meta = {key: value for key, value in meta.items() if key not in left_away}
        if model is PodSandbox and meta.get("namespace") is None:
            meta = meta | {"namespace": namespace}
        data["metadata"] = meta
    resource, wrong = mistakes(model, data)
    assert resource is None or isinstance(resource, (PodNetwork, NodeSubnet, PodSandbox))
    return resource, wrong


def _differences(was: Any, now: Any, place: Place) -> Iterator[tuple[Place, Any, Any]]:
    """The smallest parts that differ; lists of different length differ as a whole."""
    if isinstance(was, dict) and isinstance(now, dict):
        for key in was | now:
            yield from _differences(was.get(key), now.get(key), (*place, key))
    elif isinstance(was, list) and isinstance(now, list) and len(was) == len(now):
        for index, (one, other) in enumerate(zip(was, now, strict=True)):
            yield from _differences(one, other, (*place, index))
    elif was != now:
        yield place, was, now


def _shown(value: Any) -> str:
    match value:
        case None | []:
            return "left out"
        case [dict(), *_]:
            return f"a list of {len(value)}"
        case list():
            return ", ".join(map(_shown, value))
    return spoken(value)
