"""Opening the results database: create, check, migrate; and what goes wrong there, in sentences."""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path

from sqlite_utils import Database

from harness.exceptions import HarnessError
from harness.store.migrations import migrations
from harness.store.writer import Store

_HEADER = b"SQLite format 3\x00"
_BUSY_TIMEOUT_S = 30.0


class StoreError(HarnessError):
    """A results database that cannot be opened, read or written."""


def open_store(path: str | Path, *, create: bool = True) -> Store:
    """Opens the database at `path`, bringing its schema up to date.

    `create` also makes the folder and the file, and insists that the file can be written; without it the file must
    exist, and one that may only be read is opened for reading. Raises StoreError.
    """
    path = Path(path).expanduser()
    _check_file(path, create)
    writable = create or _can_write(path)
    try:
        connection = _connect(path, writable)
    except sqlite3.Error as error:
        raise _explained(error, path) from error
    try:
        db = Database(connection, execute_plugins=False)
        _check_schema(db, path)
        if migrations.pending(db):
            if not writable:
                raise StoreError(
                    f"{path} was written by an older version and cannot be brought up to date: it is read-only.",
                    hint="Copy it to a place where you may write, and name the copy with --results.",
                )
            _migrate(db)
    except sqlite3.Error as error:
        connection.close()
        raise _explained(error, path) from error
    except StoreError:
        connection.close()
        raise
    return Store(connection, path, writable=writable)


def _check_file(path: Path, create: bool) -> None:
    if path.is_dir():
        raise StoreError(f"{path} is a folder, not a results database.", hint=f"Did you mean {path / 'harness.db'}?")
    if path.exists():
        try:
            with path.open("rb") as file:
                head = file.read(len(_HEADER))
        except OSError as error:
            raise StoreError(f"{path} cannot be read: {error.strerror}.", hint="Check its permissions.") from error
        if head not in (b"", _HEADER):
            raise StoreError(f"{path} is not an SQLite database.", hint="Name another file with --results.")
        if create and not _can_write(path):
            raise StoreError(f"{path} is read-only.", hint="Change its permissions, or name another with --results.")
    elif not create:
        raise StoreError(
            f"there are no results at {path}.",
            hint="`harness run FILE` makes them; --results PATH names another database.",
        )
    else:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StoreError(
                f"the folder of {path} cannot be made: {error.strerror}.", hint="Name another with --results."
            ) from error


def _can_write(path: Path) -> bool:
    """The folder too: SQLite keeps its write-ahead log beside the file."""
    return os.access(path, os.W_OK) and os.access(path.parent, os.W_OK)


def _connect(path: Path, writable: bool) -> sqlite3.Connection:
    if writable:
        connection = sqlite3.connect(path, timeout=_BUSY_TIMEOUT_S)
        # Readers go on while a run writes. A network file system may refuse: then readers wait, nothing else changes.
        connection.execute("PRAGMA journal_mode = WAL")
        # In WAL mode a killed process loses nothing that was committed; only a power failure could cost the last rows.
        connection.execute("PRAGMA synchronous = NORMAL")
    else:
        connection = _connect_read_only(path)
    connection.execute("PRAGMA foreign_keys = ON")
    return connection


def _connect_read_only(path: Path) -> sqlite3.Connection:
    """Reading in WAL mode wants files beside the database; where they cannot be made the file is taken as it is."""
    uri = path.resolve().as_uri()
    connection = sqlite3.connect(f"{uri}?mode=ro", uri=True, timeout=_BUSY_TIMEOUT_S)
    try:
        connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    except sqlite3.OperationalError:
        connection.close()
        connection = sqlite3.connect(f"{uri}?immutable=1", uri=True)
    return connection


def _check_schema(db: Database, path: Path) -> None:
    known = {migration.name for migration in migrations._migrations}
    applied = {migration.name for migration in migrations.applied(db)}
    if applied - known:
        raise StoreError(
            f"{path} was written by a newer version of the harness ({max(applied - known)}).",
            hint="Upgrade the harness, or name another database with --results.",
        )
    if not applied and db.table_names():
        raise StoreError(
            f"{path} is an SQLite database, but holds something else ({', '.join(sorted(db.table_names())[:3])}).",
            hint="Name another file with --results.",
        )


def _migrate(db: Database) -> None:
    """One process migrates, a second that started at the same time waits and then finds nothing to do."""
    db.conn.execute("BEGIN IMMEDIATE")
    try:
        migrations.apply(db)
    except BaseException:
        db.conn.rollback()
        raise
    db.conn.commit()


def _explained(error: sqlite3.Error, path: Path) -> StoreError:
    text = str(error)
    if "locked" in text:
        return StoreError(
            f"{path} is locked by another process.", hint="Wait for it to end, or name another database with --results."
        )
    if "malformed" in text or "not a database" in text:
        return StoreError(
            f"{path} is damaged: {text}.",
            hint=f"`sqlite3 {path} .recover` may save its rows; or name another with --results.",
        )
    if "readonly" in text or "unable to open" in text:
        return StoreError(f"{path} cannot be opened for writing: {text}.", hint="Check the permissions of its folder.")
    return StoreError(f"{path}: {text}.", hint="Name another database with --results.")
