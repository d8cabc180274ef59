"""The file of the node's records: opened, set aside where it is broken, changed, copied. SQLite.

The file lies in /run, so a reboot takes records and namespaces together and nothing needs fsync.
"""

import logging
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from podnet.errors import Retryable

log = logging.getLogger(__name__)

_BROKEN = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}
_PRIMARY = 0xFF
"""The byte of an extended result code that says what it is about (sqlite.org/rescode.html)."""


class Database:
    """One file, or `:memory:`. Used by one thread at a time."""

    def __init__(self, path: str, schema: str) -> None:
        self._path = path
        try:
            self._connection = _open(path, schema)
        except sqlite3.DatabaseError as error:
            if error.sqlite_errorcode & _PRIMARY not in _BROKEN:
                raise self._translated(error) from error
            log.error("%s is broken (%s): set aside as %s", path, error, _set_aside(Path(path)))
            self._connection = _open(path, schema)

    def close(self) -> None:
        """The file can be removed after this."""
        self._connection.close()

    def execute(self, sql: str, values: Sequence[object] = ()) -> sqlite3.Cursor:
        """One statement; Retryable when the file can't be written (a full disk)."""
        try:
            return self._connection.execute(sql, values)
        except sqlite3.OperationalError as error:
            raise self._translated(error) from error

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Everything in the block is written, or, with an exception, nothing."""
        self.execute("BEGIN IMMEDIATE")
        try:
            yield
            self.execute("COMMIT")
        except BaseException:
            if self._connection.in_transaction:  # a full disk has ended it already
                self._connection.execute("ROLLBACK")
            raise

    @contextmanager
    def attempt(self) -> Iterator[None]:
        """As `transaction`, inside one: what went before stays."""
        self.execute("SAVEPOINT attempt")
        try:
            yield
        except BaseException:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK TO attempt")
            raise
        finally:
            if self._connection.in_transaction:
                self._connection.execute("RELEASE attempt")

    def copy_to(self, other: "Database") -> None:
        """The other one holds the same afterwards."""
        self._connection.backup(other._connection)

    def _translated(self, error: sqlite3.DatabaseError) -> Exception:
        if error.sqlite_errorcode & _PRIMARY == sqlite3.SQLITE_ERROR:
            return error  # a mistake in a statement of ours
        return Retryable(f"{self._path} can't be used: {error}: free space there or mend the disk")


def _open(path: str, schema: str) -> sqlite3.Connection:
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    try:
        connection.executescript(f"PRAGMA journal_mode=WAL; PRAGMA synchronous=OFF; {schema}")
        (verdict,) = connection.execute("PRAGMA quick_check(1)").fetchone()
        if verdict != "ok":
            error = sqlite3.DatabaseError(verdict)
            error.sqlite_errorcode = sqlite3.SQLITE_CORRUPT
            raise error
    except BaseException:
        connection.close()
        raise
    return connection


def _set_aside(path: Path) -> Path:
    """Rename the file, and SQLite's two beside it, to the first name that is free."""
    number = 1
    while (aside := path.with_name(f"{path.name}.broken-{number}")).exists():
        number += 1
    for suffix in ("", "-wal", "-shm"):
        part = Path(f"{path}{suffix}")
        if part.exists():
            part.rename(f"{aside}{suffix}")
    return aside
