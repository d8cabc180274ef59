"""Objects, with kubectl's verbs: apply, delete, describe."""

import sys
from collections.abc import Sequence
from typing import Any

import click

from podnet.kinds import GROUP, Kind
from podnet_cli import manifests
from podnet_cli.client import Failure, Refused, Request, call, path_of
from podnet_cli.commands import namespace_option
from podnet_cli.resources import kind_of, object_path, targets
from podnet_cli.selector import parse

Body = dict[str, Any]
AT_ONCE = 100
"""Deletions under way together; each has a socket."""


@click.command()
@manifests.file_options
@namespace_option
def apply(files: tuple[str, ...], recursive: bool, namespace: str) -> None:
    """Create or change objects as manifests say."""
    sources = manifests.read(files, recursive=recursive)
    print_results(call("POST", "/apply", {"sources": sources, "namespace": namespace}))


def print_results(answer: Body) -> None:
    """What was done to each object, as kubectl says it; warnings on standard error."""
    for warning in answer.get("warnings", ()):
        print(f"Warning: {warning}", file=sys.stderr)
    for each in answer["results"]:
        print(f"{kind_of(each['kind']).resource}/{each['name']} {each['action']}")


@click.command()
@click.argument("words", metavar="[KIND NAME... | KIND/NAME...]", nargs=-1)
@manifests.file_options
@namespace_option
@click.option("--all", "everything", is_flag=True, help="All of KIND in the namespace.")
@click.option("-l", "--selector", help="All of KIND with these labels.")
@click.option("--ignore-not-found", is_flag=True, help="What is not there is no error.")
@click.option(
    "--wait",
    type=bool,
    is_flag=False,
    flag_value=True,
    default=True,
    help="--wait=false returns before they are gone.",
)
@click.option("--grace-period", type=click.IntRange(0), help="Seconds for containers to end.")
@click.option("--now", is_flag=True, help="The same as --grace-period=1.")
def delete(
    words: tuple[str, ...],
    files: tuple[str, ...],
    recursive: bool,
    namespace: str,
    everything: bool,
    selector: str | None,
    ignore_not_found: bool,
    wait: bool,
    grace_period: int | None,
    now: bool,
) -> int:
    """Delete objects that are named or that manifests hold."""
    grace = 1 if now else grace_period
    if files:
        if words:
            raise Failure("name objects or give manifests with -f, not both")
        sources = manifests.read(files, recursive=recursive)
        body = {"sources": sources, "namespace": namespace, "wait": wait, "grace": grace}
        return _deleted(call("POST", "/delete", body)["results"], ignore=ignore_not_found)
    names = _named(words, namespace, selector, everything=everything)
    query = {"wait": None if wait else "false", "grace": None if grace is None else str(grace)}
    results = []
    for begin in range(0, len(names), AT_ONCE):
        requests = [
            (kind, name, Request("DELETE", object_path(kind, namespace, name, **query)))
            for kind, name in names[begin : begin + AT_ONCE]
        ]
        results += [_result(kind, namespace, name, request) for kind, name, request in requests]
    return _deleted(results, ignore=ignore_not_found)


@click.command()
@click.argument("words", metavar="KIND NAME... | KIND/NAME...", nargs=-1)
@namespace_option
def describe(words: tuple[str, ...], namespace: str) -> None:
    """Show all there is to know of objects."""
    from podnet_cli.pages import page

    wanted = targets(words)
    names = _named(words, namespace, None, everything=all(name is None for _, name in wanted))
    pages = [page(call("GET", object_path(kind, namespace, name))) for kind, name in names]
    if not pages:
        print(f"No resources found in {namespace} namespace.", file=sys.stderr)
    print("\n\n\n".join(pages), end="\n" if pages else "")


def _named(
    words: Sequence[str], namespace: str, selector: str | None, *, everything: bool
) -> list[tuple[Kind, str]]:
    """The objects that are named, or all of the kinds where that is what was said."""
    names = []
    for kind, name in targets(words):
        if name is not None:
            names.append((kind, name))
        elif everything or selector:
            scope = namespace if kind.namespaced else None
            items = call("GET", path_of("objects", kind.plural, namespace=scope))["items"]
            matches = parse(selector) if selector else lambda labels: True
            names += [
                (kind, item["metadata"]["name"])
                for item in items
                if matches(item["metadata"].get("labels", {}))
            ]
        else:
            raise Failure(f"say which {kind.plural}: NAME..., -l LABELS or --all")
    return names


def _result(kind: Kind, namespace: str, name: str, request: Request) -> Body:
    action = "deleted"
    try:
        request.answer()
    except Refused as refused:
        if refused.reason != "NotFound":
            raise
        action = "missing"
    return {"kind": kind.kind, "namespace": namespace, "name": name, "action": action}


def _deleted(results: Sequence[Body], *, ignore: bool) -> int:
    """Say what went; exit code 1 where something was not there."""
    missing = []
    for each in results:
        kind = kind_of(each["kind"])
        if each["action"] == "deleted":
            where = f" from {each['namespace']} namespace" if kind.namespaced else ""
            print(f'{kind.resource} "{each["name"]}" deleted{where}')
        elif not ignore:
            missing.append(f'{kind.plural}.{GROUP} "{each["name"]}" not found')
    sys.stdout.flush()
    if not results:
        print("No resources found", file=sys.stderr)
    for sentence in missing:
        print(f"Error from server (NotFound): {sentence}", file=sys.stderr)
    return 1 if missing else 0
