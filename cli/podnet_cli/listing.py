"""`podnet get`: objects as a table, or exactly as the agent gave them.

Its arguments are read by getopt and its imports are few: as a whole process it takes about as
long as `docker ps`.
"""

from __future__ import annotations

import sys
from getopt import GetoptError, gnu_getopt

from podnet_cli import attachments
from podnet_cli.client import Failure, Refused, Request, call, path_of
from podnet_cli.resources import object_path, resource_name, targets
from podnet_cli.tables import Table

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from typing import Any

    from podnet.kinds import Kind
    from podnet_cli.resources import Target

    Body = dict[str, Any]

HELP = """\
Usage: {program} get KIND[,KIND...] [NAME...] | KIND/NAME... [OPTIONS]

  Show objects: podsandboxes (psb), podnetworks (pnet), or `all`; or `attachments`.

Options:
  -n, --namespace NAME  The namespace; `default` when it is left out.
  -A, --all-namespaces  Those of every namespace.
  -l, --selector LABELS Only those with these labels: KEY=VALUE, KEY!=VALUE, KEY, !KEY.
  -o, --output FORMAT   wide, name, json, yaml or jsonpath='{.status.phase}'.
  -w, --watch           Go on: a line for each change, until stopped.
  --no-headers          A table without its first line.
  --show-labels         One more column.
  -h, --help            Show this message and exit.
"""
_SHORT = "n:Al:o:wh"
_LONG = ["namespace=", "all-namespaces", "selector=", "output=", "watch", "no-headers"]
_LONG += ["show-labels", "help"]
_ALIASES = {"-n": "namespace", "-A": "all-namespaces", "-l": "selector", "-o": "output"}
_ALIASES |= {"-w": "watch", "-h": "help"}
FORMATS = ("", "wide", "name", "json", "yaml")


def get(arguments: Sequence[str]) -> int:
    """Do it; the exit code is 1 where something that was named is not there."""
    try:
        pairs, words = gnu_getopt(list(arguments), _SHORT, _LONG)
    except GetoptError as error:
        raise Failure(f"{error}: `podnet get --help` lists the options") from None
    options = {_ALIASES.get(key, key.removeprefix("--")): value for key, value in pairs}
    if "help" in options:
        from podnet_cli.main import program_name

        print(HELP.replace("{program}", program_name()), end="")
        return 0
    if words and words[0] in attachments.WORDS:
        form = options.get("output", "").removeprefix("=")
        print(attachments.show(form, headings="no-headers" not in options))
        return 0
    return _Get(options, targets(words)).run()


class _Get:
    def __init__(self, options: dict[str, str], wanted: list[Target]) -> None:
        self._options, self._wanted = options, wanted
        self._everywhere = "all-namespaces" in options
        self._namespace = options.get("namespace") or "default"
        self._format = options.get("output", "").removeprefix("=")
        self._template = ""
        if self._format.startswith("jsonpath="):
            self._format, _, self._template = self._format.partition("=")
        elif self._format not in FORMATS:
            raise Failure(
                f"-o {self._format} is not known: it is wide, name, json, yaml or"
                f" jsonpath='{{...}}'"
            )
        self._kinds = list(dict.fromkeys(kind for kind, _ in wanted))
        self._missing: list[Refused] = []
        self._matches = _matcher(options.get("selector"))

    def run(self) -> int:
        if self._everywhere and any(name for _, name in self._wanted):
            raise Failure("a name stands in one namespace: leave out -A, or the name")
        if "watch" in self._options and len(self._kinds) > 1:
            raise Failure("one kind can be watched at a time: name one")
        found = {kind: self._fetch(kind) for kind in self._kinds}
        items = [body for bodies in found.values() for body in bodies]
        if self._format in ("", "wide"):
            tables = self._print_tables(found)
            show: Callable[[Body], str] = tables[self._kinds[0]].line
        else:
            show = self._machine_format
            text = self._machine_text(items)
            if text:  # kubectl ends what a template makes with no line of its own
                print(text, end="" if self._template else "\n")
        for refused in self._missing:
            sys.stdout.flush()
            print(refused.text, file=sys.stderr)
        if "watch" in self._options:
            self._watch(self._kinds[0], items, show)
        return 1 if self._missing else 0

    def _fetch(self, kind: Kind) -> list[Body]:
        names = [name for each, name in self._wanted if each is kind and name is not None]
        if not names:
            scope = self._namespace if kind.namespaced and not self._everywhere else None
            items = call("GET", path_of("objects", kind.plural, namespace=scope))["items"]
            return [body for body in items if self._matches(body["metadata"].get("labels", {}))]
        found = []
        for name in names:
            try:
                found.append(call("GET", object_path(kind, self._namespace, name)))
            except Refused as refused:
                self._missing.append(refused)
        return found

    def _print_tables(self, found: dict[Kind, list[Body]]) -> dict[Kind, Table]:
        tables = {
            kind: Table(
                kind.kind,
                wide=self._format == "wide",
                namespaces=self._everywhere and kind.namespaced,
                labels="show-labels" in self._options,
                kinds=len(self._kinds) > 1,
            )
            for kind in self._kinds
        }
        headings = "no-headers" not in self._options
        blocks = [
            "\n".join(tables[kind].lines(items, headings=headings))
            for kind, items in found.items()
            if items
        ]
        if blocks:
            print("\n\n".join(blocks))
        elif not self._missing:
            namespaced = any(kind.namespaced for kind in self._kinds) and not self._everywhere
            where = f" in {self._namespace} namespace." if namespaced else ""
            print(f"No resources found{where}", file=sys.stderr)
        return tables

    def _machine_text(self, items: Sequence[Body]) -> str:
        if self._format == "name":
            return "\n".join(map(resource_name, items))
        if len(self._wanted) == 1 and self._wanted[0][1] is not None:
            return self._machine_format(items[0]) if items else ""
        return self._machine_format({"apiVersion": "v1", "kind": "List", "items": list(items)})

    def _machine_format(self, body: Body) -> str:
        if self._format == "name":
            return resource_name(body)
        if self._format == "jsonpath":
            from podnet_cli.jsonpath import render

            return render(self._template, body)
        return machine_text(body, self._format)

    def _watch(self, kind: Kind, known: Iterable[Body], show: Callable[[Body], str]) -> None:
        shown = {_version(body) for body in known}
        names = {name for _, name in self._wanted if name is not None}
        scope = self._namespace if kind.namespaced and not self._everywhere else None
        for event in Request("GET", path_of("watch", kind.plural, namespace=scope)).events():
            if event["type"] == "BOOKMARK":
                continue
            body = event["object"]
            named = not names or body["metadata"]["name"] in names
            is_meant = named and self._matches(body["metadata"].get("labels", {}))
            if is_meant and (event["type"] != "ADDED" or _version(body) not in shown):
                print(show(body), flush=True)


def machine_text(body: Any, form: str) -> str:
    """`-o json` or `-o yaml`: nothing is left out, nothing is added."""
    if form == "json":
        import json

        return json.dumps(body, indent=4)
    try:
        import yaml
    except ImportError:
        raise Failure(
            "-o yaml needs PyYAML, which comes with the agent (pip install podnet[agent]):"
            " install it or ask for -o json"
        ) from None
    return str(yaml.safe_dump(body, sort_keys=False, default_flow_style=False)).rstrip()


def _matcher(selector: str | None) -> Callable[[dict[str, str]], bool]:
    if not selector:
        return lambda labels: True
    from podnet_cli.selector import parse

    return parse(selector)


def _version(body: Body) -> tuple[str, str]:
    return body["metadata"]["uid"], body["metadata"].get("resourceVersion", "")
