"""Manifests on their way to the agent: which files, and their text. It reads them, we do not."""

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import click

from podnet_cli.client import Failure

SUFFIXES = (".yaml", ".yml", ".json")
BYTES = 10_000_000
"""Of all manifests of one command together: what the agent takes."""

Source = dict[str, str]
"""`name`, as the person gave it, and `text`."""


def file_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """-f and -R, as kubectl has them."""
    recursive = click.option("-R", "--recursive", is_flag=True, help="Folders in folders as well.")
    files = click.option(
        "-f",
        "--filename",
        "files",
        multiple=True,
        metavar="FILE",
        help="A file, a folder with *.yaml, *.yml and *.json, or - for standard input.",
    )
    return files(recursive(function))


def read(names: Sequence[str], *, recursive: bool = False) -> list[Source]:
    """The text of every file that the names stand for; Failure names the first that can't be."""
    if not names:
        raise Failure("say which manifests: a file, a folder, or - for standard input")
    found: list[Source] = []
    left = BYTES
    for name in names:
        for file in _files(name, recursive=recursive):
            text = _text(file, left)
            left -= len(text)
            found.append({"name": file, "text": _decoded(file, text)})
    return found


def _files(name: str, *, recursive: bool) -> Iterator[str]:
    if name == "-":
        yield name
        return
    path = Path(name)
    if not path.is_dir():
        yield name
        return
    entries = path.rglob("*") if recursive else path.iterdir()
    found = sorted(entry for entry in entries if entry.suffix in SUFFIXES and entry.is_file())
    if not found:
        deeper = "" if recursive else " (-R looks into its folders)"
        raise Failure(
            f"{name} has no manifest in it: none of its files ends in .yaml, .yml, .json{deeper}"
        )
    yield from map(str, found)


def _text(name: str, limit: int) -> bytes:
    try:
        if name == "-":
            text = sys.stdin.buffer.read(limit + 1)
        else:
            with open(name, "rb") as file:
                text = file.read(limit + 1)
    except OSError as error:
        raise Failure(f"{name} can't be read: {os.strerror(error.errno or 0)}") from None
    if len(text) > limit:
        raise Failure(f"{name}: manifests of one command are at most {BYTES // 10**6} MB together")
    return text


def _decoded(name: str, text: bytes) -> str:
    if b"\0" in text:
        raise Failure(f"{name} is not a manifest: it holds binary data")
    try:
        return text.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise Failure(f"{name} is not UTF-8 at byte {error.start}: write it so") from None
