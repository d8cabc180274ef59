"""A kubectl that answers what a test tells it to, and notes what it was asked."""

import json
import os
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest


class FakeKubectl:
    """A program called kubectl, first on the PATH: an answer for each beginning of a question."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self._program, self._log = folder / "kubectl", folder / "asked"
        self._cases: list[str] = []
        monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
        self._write()

    def answer(self, begins: str, out: Any = "", error: str = "", code: int = 0) -> None:
        """To the arguments that begin so; what is not text is JSON."""
        text = out if isinstance(out, str) else json.dumps(out)
        say = f"printf %s {shlex.quote(text)}; printf %s {shlex.quote(error)} >&2; exit {code}"
        self._cases.insert(0, f"{shlex.quote(begins)}*) {say};;")
        self._write()

    def items(self, begins: str, items: Sequence[Any]) -> None:
        """A list as the answer."""
        self.answer(begins, {"kind": "List", "items": list(items)})

    @property
    def asked(self) -> list[str]:
        """The arguments of each call."""
        return self._log.read_text().splitlines() if self._log.exists() else []

    def _write(self) -> None:
        lines = [
            "#!/bin/sh",
            f'echo "$*" >> {shlex.quote(str(self._log))}',
            'case "$*" in',
            *self._cases,
            "esac",
            'echo "the fake kubectl was not told of: $*" >&2; exit 1',
        ]
        self._program.write_text("\n".join(lines) + "\n")
        self._program.chmod(0o755)
