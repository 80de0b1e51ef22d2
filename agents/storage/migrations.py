"""The database's schema, as numbered migrations that sqlite-utils applies; a released one never changes.

Each runs in its own transaction and ends by setting user_version to its number, so that an older program can see that the file is
newer than itself. The tables check the words of the state machines too; kinds, which grow with each version, are checked in code.
"""

from __future__ import annotations

from sqlite_utils import Database
from sqlite_utils.migrations import Migrations

from agents.storage.driver import rows
from agents.storage.schema_4 import DUE_TIMES

APPLICATION_ID = 0x48727468  # "Hrth" (https://sqlite.org/pragma.html#pragma_application_id)

MIGRATIONS = Migrations("hearth")

_LEDGER = (
    """
    CREATE TABLE meta (
        key TEXT PRIMARY KEY,
        value TEXT NOT NULL
    ) STRICT, WITHOUT ROWID
    """,
    """
    CREATE TABLE agents (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        name TEXT NOT NULL,
        name_key TEXT NOT NULL,
        revision INTEGER NOT NULL CHECK (revision >= 1),
        paused INTEGER NOT NULL DEFAULT 0 CHECK (paused IN (0, 1)),
        created_us INTEGER NOT NULL,
        removed_us INTEGER
    ) STRICT
    """,
    # The name of a removed agent is free again.
    "CREATE UNIQUE INDEX agents_by_name ON agents (name_key) WHERE removed_us IS NULL",
    """
    CREATE TABLE agent_revisions (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        agent_id INTEGER NOT NULL REFERENCES agents (id),
        number INTEGER NOT NULL CHECK (number >= 1),
        source TEXT NOT NULL,
        definition TEXT NOT NULL,
        created_us INTEGER NOT NULL,
        UNIQUE (agent_id, number)
    ) STRICT
    """,
    """
    CREATE TABLE triggers (
        revision_id INTEGER NOT NULL REFERENCES agent_revisions (id),
        seq INTEGER NOT NULL,
        kind TEXT NOT NULL,
        spec TEXT NOT NULL,
        PRIMARY KEY (revision_id, seq)
    ) STRICT, WITHOUT ROWID
    """,
    # (agent_id, key) is what makes a due time happen once. `key` and `path` are text or bytes: see values.py.
    """
    CREATE TABLE occurrences (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        agent_id INTEGER NOT NULL REFERENCES agents (id),
        trigger TEXT NOT NULL,
        key ANY NOT NULL,
        due_us INTEGER NOT NULL,
        path ANY,
        content_hash TEXT,
        size_bytes INTEGER,
        status TEXT NOT NULL CHECK (status IN ('pending', 'running', 'succeeded', 'failed', 'cancelled')),
        reason TEXT,
        created_us INTEGER NOT NULL,
        UNIQUE (agent_id, key)
    ) STRICT
    """,
    "CREATE INDEX occurrences_by_content ON occurrences (agent_id, content_hash)",
    """
    CREATE TABLE runs (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        occurrence_id INTEGER NOT NULL REFERENCES occurrences (id),
        agent_id INTEGER NOT NULL REFERENCES agents (id),
        revision_id INTEGER NOT NULL REFERENCES agent_revisions (id),
        status TEXT NOT NULL CHECK (status IN ('pending', 'running', 'succeeded', 'failed', 'cancelled')),
        reason TEXT,
        attempt INTEGER NOT NULL DEFAULT 0,
        owner TEXT,
        model TEXT,
        created_us INTEGER NOT NULL,
        started_us INTEGER,
        finished_us INTEGER,
        CHECK ((status = 'running') = (owner IS NOT NULL)),
        CHECK ((status IN ('succeeded', 'failed', 'cancelled')) = (finished_us IS NOT NULL)),
        CHECK (status NOT IN ('failed', 'cancelled') OR reason IS NOT NULL)
    ) STRICT
    """,
    "CREATE INDEX runs_by_status ON runs (status)",
    "CREATE INDEX runs_by_agent ON runs (agent_id, status)",
    "CREATE INDEX runs_by_occurrence ON runs (occurrence_id)",
    """
    CREATE TABLE steps (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        run_id INTEGER NOT NULL REFERENCES runs (id),
        seq INTEGER NOT NULL CHECK (seq >= 1),
        key TEXT NOT NULL,
        kind TEXT NOT NULL,
        title TEXT NOT NULL,
        status TEXT NOT NULL CHECK (status IN ('running', 'succeeded', 'failed', 'interrupted')),
        detail TEXT,
        error TEXT,
        output TEXT,
        prompt_tokens INTEGER NOT NULL DEFAULT 0,
        completion_tokens INTEGER NOT NULL DEFAULT 0,
        prefill_s REAL NOT NULL DEFAULT 0,
        decode_s REAL NOT NULL DEFAULT 0,
        started_us INTEGER NOT NULL,
        finished_us INTEGER,
        UNIQUE (run_id, key),
        UNIQUE (run_id, seq),
        CHECK ((status = 'running') = (finished_us IS NULL))
    ) STRICT
    """,
    """
    CREATE TABLE results (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        run_id INTEGER NOT NULL UNIQUE REFERENCES runs (id),
        title TEXT NOT NULL,
        summary TEXT NOT NULL,
        action_items TEXT NOT NULL,
        category TEXT NOT NULL,
        created_us INTEGER NOT NULL
    ) STRICT
    """,
    # An inode is text because its 64 bits have no sign, and SQLite's integers have one.
    """
    CREATE TABLE file_states (
        agent_id INTEGER NOT NULL REFERENCES agents (id),
        path ANY NOT NULL,
        size_bytes INTEGER NOT NULL,
        mtime_ns INTEGER NOT NULL,
        inode TEXT NOT NULL,
        content_hash TEXT NOT NULL,
        PRIMARY KEY (agent_id, path)
    ) STRICT, WITHOUT ROWID
    """,
)

_CONVERSATIONS = (
    """
    CREATE TABLE conversations (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        title TEXT NOT NULL,
        created_us INTEGER NOT NULL,
        updated_us INTEGER NOT NULL
    ) STRICT
    """,
    "CREATE INDEX conversations_by_use ON conversations (updated_us)",
    """
    CREATE TABLE messages (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        conversation_id INTEGER NOT NULL REFERENCES conversations (id) ON DELETE CASCADE,
        role TEXT NOT NULL CHECK (role IN ('user', 'assistant')),
        text TEXT NOT NULL,
        status TEXT NOT NULL CHECK (status IN ('complete', 'streaming', 'cut', 'failed')),
        prompt_tokens INTEGER NOT NULL DEFAULT 0,
        completion_tokens INTEGER NOT NULL DEFAULT 0,
        prefill_s REAL NOT NULL DEFAULT 0,
        decode_s REAL NOT NULL DEFAULT 0,
        created_us INTEGER NOT NULL
    ) STRICT
    """,
    "CREATE INDEX messages_by_conversation ON messages (conversation_id)",
)

_FAILURE_CODES = (
    "ALTER TABLE runs ADD COLUMN error_code TEXT CHECK (error_code IS NULL OR status = 'failed')",
    "CREATE INDEX runs_whose_file_was_gone ON runs (agent_id) WHERE error_code = 'file_gone'",
)


def _run(db: Database, statements: tuple[str, ...], number: int) -> None:
    for statement in statements:
        db.execute(statement)
    db.execute(f"PRAGMA user_version = {number}")


@MIGRATIONS()
def m0001_ledger(db: Database) -> None:
    db.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    _run(db, _LEDGER, 1)


@MIGRATIONS()
def m0002_conversations(db: Database) -> None:
    _run(db, _CONVERSATIONS, 2)


@MIGRATIONS()
def m0003_failure_codes(db: Database) -> None:
    _run(db, _FAILURE_CODES, 3)


@MIGRATIONS()
def m0004_due_times(db: Database) -> None:
    _run(db, DUE_TIMES, 4)
    strays = rows(db, "PRAGMA foreign_key_check")
    if strays:
        raise RuntimeError(f"{len(strays)} rows would point at nothing")


KNOWN_MIGRATIONS = ("m0001_ledger", "m0002_conversations", "m0003_failure_codes", "m0004_due_times")
SCHEMA_VERSION = len(KNOWN_MIGRATIONS)


def migrate(db: Database) -> None:
    """Applies what is missing. Foreign keys rest meanwhile, since a table that is made anew is gone for a moment."""
    db.execute("PRAGMA foreign_keys = OFF")
    MIGRATIONS.apply(db)
    db.execute("PRAGMA foreign_keys = ON")
