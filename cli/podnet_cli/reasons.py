"""Why: `podnet plan`, what manifests would do to the kernel, and `podnet explain`, what is there
for a sandbox."""

import sys
from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Any

import click

from podnet_cli import attachments, manifests, starting
from podnet_cli.client import call, path_of
from podnet_cli.commands import namespace_option
from podnet_cli.listing import machine_text
from podnet_cli.resources import targets
from podnet_cli.screen import DIM, paint

Body = dict[str, Any]


@click.command()
@click.argument("more", metavar="[FILE|FOLDER|-]...", nargs=-1)
@manifests.file_options
@click.option(
    "-o",
    "--output",
    "form",
    type=click.Choice(["sh", "json"]),
    help="sh: a script that does it; json: as the agent gave it.",
)
@namespace_option
def plan(
    more: tuple[str, ...],
    files: tuple[str, ...],
    recursive: bool,
    form: str | None,
    namespace: str,
) -> int:
    """Print the commands that would do what manifests want.

    Each under its cause. Nothing is done. The exit code is 1 where something that is not podnet's
    stands in the way.
    """
    sources = manifests.read([*more, *files], recursive=recursive)
    body = starting.plan({"sources": sources, "namespace": namespace})
    if form == "json":
        print(machine_text(body, "json"))
    else:
        if form == "sh":
            print("#!/bin/sh\nset -e")
        for line in _script(body["operations"]):
            print(paint(line, DIM) if line.startswith("#") else line)
        if not body["operations"] and not body["conflicts"]:
            print("# nothing to do: the kernel is as the manifests want it")
    sys.stdout.flush()
    for conflict in body["conflicts"]:
        print(f"conflict: {conflict}", file=sys.stderr)
    return 1 if body["conflicts"] else 0


def _script(operations: Sequence[Body]) -> Iterator[str]:
    """The commands, and before each run of them that has one cause, the cause as a comment."""
    for cause, several in groupby(operations, key=lambda each: each["cause"]):
        yield f"# {cause or 'no longer wanted'}"
        for operation in several:
            yield from operation["commands"]


words_argument = click.argument("words", metavar="[psb|pod] NAME", nargs=-1, required=True)
form_option = click.option(
    "-o",
    "--output",
    "form",
    type=click.Choice(["json", "mermaid"]),
    help="json: as the agent gave it; mermaid: a diagram's text.",
)


@click.command()
@words_argument
@form_option
@namespace_option
def explain(words: tuple[str, ...], form: str | None, namespace: str) -> int:
    """Show what in the kernel makes a sandbox work, and why; of a Pod with pod/NAME.

    Each object: is it right, which field caused it, which command would have made it. The exit
    code is 1 where one is not right.
    """
    if attached := attached_of(words, namespace):
        body = call("GET", path_of("explain", *attached))
        neighbours = attachments.ports(call("GET", "/attachments")["items"])
    else:
        body = call("GET", path_of("explain", namespace, sandbox_of(words)))
        neighbours = call("GET", "/objects/podsandboxes")["items"]
    return show(body, neighbours, form)


def show(body: Body, neighbours: Sequence[Body], form: str | None) -> int:
    """Print an explanation in that form; `neighbours`: the node's sandboxes. The exit code."""
    from podnet_cli import drawing

    if form == "json":
        print(machine_text(body, "json"))
    elif form == "mermaid":
        print("\n".join(drawing.mermaid(body)))
    else:
        print("\n".join(drawing.screen(body, neighbours)))
    return 0 if all(line["verdict"] == "right" for line in body["lines"]) else 1


def attached_of(words: Sequence[str], namespace: str) -> tuple[str, str, str] | None:
    """`pod/NAME`, `pod NAME`, `container/ID`: what a runtime had attached by CNI.

    As the agent's paths have it: plural, namespace, name.
    """
    kind, _, name = "/".join(words).partition("/")
    if kind in ("pod", "pods", "po") and name:
        return "pods", namespace, name
    return ("containers", "-", name) if kind in ("container", "containers") and name else None


def sandbox_of(words: Sequence[str]) -> str:
    """The name of the one sandbox that is meant."""
    if len(words) == 1 and "/" not in words[0]:
        return words[0]
    (kind, name), *more = targets(words)
    if kind.kind != "PodSandbox" or name is None or more:
        raise click.UsageError("explain takes one sandbox: podnet explain NAME")
    return name
