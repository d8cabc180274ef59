"""The agent and this machine: up, down, agent, doctor, version, api-resources."""

import sys
from pathlib import Path
from typing import Any

import click

from podnet.kinds import GROUP, KINDS, VERSION
from podnet_cli import manifests, starting
from podnet_cli.client import Away, call, log_path
from podnet_cli.commands import namespace_option
from podnet_cli.listing import machine_text
from podnet_cli.objects import print_results
from podnet_cli.plugin import cni_folders
from podnet_cli.screen import Columns
from podnet_cli.waiting import Seconds, names_of, until_ready

ID_DIGITS = 12
"""Of a sandbox's id, at the end of its namespace's name; others' names may begin as ours do."""


@click.command()
@click.argument("files", metavar="[FILE|FOLDER|-]...", nargs=-1)
@click.option("-f", "--filename", "more", multiple=True, metavar="FILE", hidden=True)
@click.option("-R", "--recursive", is_flag=True, help="Folders in folders as well.")
@namespace_option
@click.option("--timeout", type=Seconds(), default=60.0, help="How long; 60s when left out.")
def up(
    files: tuple[str, ...],
    more: tuple[str, ...],
    recursive: bool,
    namespace: str,
    timeout: float,
) -> int:
    """Build what manifests want and wait until it is ready.

    Starts the agent where none runs; without a manifest, nothing else. It stays, and keeps all so,
    until `podnet down`.
    """
    if not files and not more:
        starting.start()
        return 0
    sources = manifests.read([*files, *more], recursive=recursive)
    body = {"sources": sources, "namespace": namespace}
    answer = starting.call_or_start("POST", "/apply", body)
    print_results(answer)
    sys.stdout.flush()
    return 0 if until_ready(names_of(answer["results"]), timeout) else 1


@click.command()
def down() -> int:
    """Take away all that podnet made here, and end the agent."""
    try:
        answer = starting.down()
    except Away:
        starting.need_root()
        if not _leftovers():
            print("nothing of podnet's is on this machine")
            return 0
        starting.start()  # it adopts what another one left; then it knows what to take away
        answer = starting.down()
    removed = [f"{number} {plural}" for plural, number in answer["removed"].items() if number]
    print(f"removed {', '.join(removed) or 'nothing but the agent'}")
    for sentence in answer.get("kept", ()):
        print(sentence)
    sys.stdout.flush()
    for note in answer.get("notes", ()):
        print(note, file=sys.stderr)
    return 1 if answer.get("notes") else 0


def _leftovers() -> bool:
    """Whether something on this machine looks like ours: records, namespaces, links."""
    folder = Path(log_path()).parent
    pinned = Path("/run/netns").glob(f"podnet-{'[0-9a-f]' * ID_DIGITS}")
    aliases = Path("/sys/class/net").glob("*/ifalias")
    return (
        (folder / "store.db").exists()
        or any(pinned)
        or any(alias.read_text().startswith("podnet") for alias in aliases)
    )


@click.command()
@click.option("--cni", is_flag=True, help="Be the CNI plugin of this machine's containerd.")
@cni_folders
def agent(cni: bool, folders: list[str]) -> None:
    """Run the agent in the foreground; what it built stays."""
    starting.become_agent("serve", ["--cni", *folders] if cni else folders)


@click.command()
@click.option("-o", "--output", "form", type=click.Choice(["json"]), help="As JSON.")
@click.option("--leaks", is_flag=True, help="Instead, what is left over of sandboxes that went.")
def doctor(form: str | None, leaks: bool) -> int:
    """Say what this machine lacks, and how to get it.

    The exit code is 1 where something is missing, or left over.
    """
    if leaks:
        return _leaks(call("GET", "/leaks"), form)
    starting.become_agent("doctor", ["-o", form] if form else [])


def _leaks(found: dict[str, Any], form: str | None) -> int:
    """Each with who had it, why nobody needs it, and what takes it away."""
    if form:
        print(machine_text(found, form))
    else:
        for leak in found["leaks"]:
            owner = f" of {leak['owner']}" if leak["owner"] else ""
            print(f"{leak['kind']} {leak['name']}{owner}: {leak['why']}")
            print(f"    removed by {leak['removed_by']}")
        if not found["leaks"]:
            print("nothing is left over")
        if found["runtimeNotAsked"]:
            print(f"not compared with the runtime: {found['runtimeNotAsked']}")
    return 1 if found["leaks"] else 0


@click.command()
@click.option("--client", is_flag=True, help="Do not ask the agent for its own.")
def version(client: bool) -> None:
    """Print the versions of this program and of the agent."""
    from importlib.metadata import version as installed

    print(f"podnet {installed('podnet')}")
    if not client:
        try:
            answer = call("GET", "/version")
        except Away:
            print("agent none runs")
        else:
            print(f"agent {answer['version']}, process {answer['pid']}")


@click.command("api-resources")
def api_resources() -> None:
    """List the kinds of objects, with their short names."""
    rows = [["NAME", "SHORTNAMES", "APIVERSION", "NAMESPACED", "KIND"]]
    for kind in KINDS:
        version = f"{GROUP}/{VERSION}"
        rows.append([kind.plural, kind.short, version, str(kind.namespaced).lower(), kind.kind])
    columns = Columns(rows)
    print("\n".join(columns.line(row) for row in rows))
