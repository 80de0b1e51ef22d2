"""The statements of the fourth migration: due times ahead of their runs, and what runs may use up, change and cost.

Two tables are made anew because the words of their CHECKs grow (https://sqlite.org/lang_altertable.html#otheralter): the caller
has switched foreign keys off, and checks them at the end.
"""

from __future__ import annotations

_NEW_TABLES = (
    # (agent_id, key) is what makes a due time happen once. `key` and `path` are text or bytes: see values.py.
    # `held_until_us`: something that happened waits for what `held_by` names, and is not claimed before.
    """
    CREATE TABLE new_occurrences (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        agent_id INTEGER NOT NULL REFERENCES agents (id),
        trigger TEXT NOT NULL,
        trigger_key TEXT,
        key ANY NOT NULL,
        due_us INTEGER NOT NULL,
        n_due INTEGER NOT NULL DEFAULT 1 CHECK (n_due >= 1),
        path ANY,
        content_hash TEXT,
        size_bytes INTEGER,
        input TEXT,
        status TEXT NOT NULL CHECK (status IN ('scheduled', 'claimed', 'pending', 'running', 'waiting_for_approval', 'succeeded',
            'unverified', 'failed', 'missed', 'skipped', 'cancelled')),
        reason TEXT,
        owner TEXT,
        claimed_us INTEGER,
        fence INTEGER NOT NULL DEFAULT 0 CHECK (fence >= 0),
        held_until_us INTEGER CHECK (held_until_us IS NULL OR status = 'scheduled'),
        held_by TEXT CHECK (held_by IN ('hours', 'ac_power', 'stopped', 'run_limit')),
        created_us INTEGER NOT NULL,
        UNIQUE (agent_id, key),
        CHECK ((status = 'claimed') = (owner IS NOT NULL)),
        CHECK ((held_until_us IS NULL) = (held_by IS NULL)),
        CHECK (held_until_us IS NULL OR reason IS NOT NULL),
        CHECK (status NOT IN ('unverified', 'failed', 'missed', 'skipped', 'cancelled') OR reason IS NOT NULL),
        CHECK (n_due = 1 OR status = 'missed')
    ) STRICT
    """,
    """
    INSERT INTO new_occurrences (id, agent_id, trigger, key, due_us, path, content_hash, size_bytes, status, reason, created_us)
    SELECT id, agent_id, trigger, key, due_us, path, content_hash, size_bytes, status, reason, created_us FROM occurrences
    """,
    # `due_us` is its occurrence's: with it the run to take next is the first entry of an index.
    """
    CREATE TABLE new_runs (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        occurrence_id INTEGER NOT NULL REFERENCES occurrences (id),
        agent_id INTEGER NOT NULL REFERENCES agents (id),
        revision_id INTEGER NOT NULL REFERENCES agent_revisions (id),
        due_us INTEGER NOT NULL,
        status TEXT NOT NULL CHECK (status IN ('pending', 'running', 'waiting_for_approval', 'succeeded', 'unverified', 'failed',
            'cancelled')),
        reason TEXT,
        error_code TEXT CHECK (error_code IS NULL OR status = 'failed'),
        attempt INTEGER NOT NULL DEFAULT 0,
        failures INTEGER NOT NULL DEFAULT 0,
        not_before_us INTEGER CHECK (not_before_us IS NULL OR status = 'pending'),
        retry_of INTEGER REFERENCES runs (id),
        replay_of INTEGER REFERENCES runs (id),
        owner TEXT,
        model TEXT,
        created_us INTEGER NOT NULL,
        started_us INTEGER,
        finished_us INTEGER,
        CHECK ((status = 'running') = (owner IS NOT NULL)),
        CHECK ((status IN ('succeeded', 'unverified', 'failed', 'cancelled')) = (finished_us IS NOT NULL)),
        CHECK (status NOT IN ('unverified', 'failed', 'cancelled') OR reason IS NOT NULL)
    ) STRICT
    """,
    """
    INSERT INTO new_runs (id, occurrence_id, agent_id, revision_id, due_us, status, reason, error_code, attempt, owner, model,
        created_us, started_us, finished_us)
    SELECT r.id, r.occurrence_id, r.agent_id, r.revision_id, o.due_us, r.status, r.reason, r.error_code, r.attempt, r.owner,
        r.model, r.created_us, r.started_us, r.finished_us
    FROM runs r JOIN occurrences o ON o.id = r.occurrence_id
    """,
    "DROP TABLE runs",
    "DROP TABLE occurrences",
    "ALTER TABLE new_occurrences RENAME TO occurrences",
    "ALTER TABLE new_runs RENAME TO runs",
)

_INDEXES = (
    "CREATE INDEX occurrences_by_content ON occurrences (agent_id, content_hash) WHERE content_hash IS NOT NULL",
    "CREATE INDEX occurrences_scheduled ON occurrences (due_us) WHERE status = 'scheduled'",
    "CREATE INDEX occurrences_held ON occurrences (held_until_us) WHERE held_until_us IS NOT NULL",
    "CREATE INDEX occurrences_claimed ON occurrences (owner) WHERE status = 'claimed'",
    """
    CREATE INDEX occurrences_of_trigger ON occurrences (agent_id, trigger_key, due_us)
    WHERE trigger IN ('cron', 'interval', 'once')
    """,
    "CREATE INDEX occurrences_of_agent ON occurrences (agent_id)",
    "CREATE INDEX occurrences_by_status ON occurrences (status)",
    "CREATE INDEX occurrences_by_due ON occurrences (due_us)",
    "CREATE UNIQUE INDEX runs_by_occurrence ON runs (occurrence_id)",
    "CREATE INDEX runs_by_status ON runs (status)",
    "CREATE INDEX runs_by_agent ON runs (agent_id, status)",
    "CREATE INDEX runs_of_agent ON runs (agent_id)",
    "CREATE INDEX runs_pending ON runs (due_us) WHERE status = 'pending'",
    "CREATE INDEX runs_by_creation ON runs (created_us, agent_id)",
    "CREATE INDEX runs_by_start ON runs (started_us, finished_us)",
    "CREATE INDEX runs_by_finish ON runs (finished_us)",
    "CREATE INDEX runs_ended ON runs (agent_id, finished_us) WHERE finished_us IS NOT NULL",
    "CREATE INDEX runs_whose_file_was_gone ON runs (agent_id) WHERE error_code = 'file_gone'",
    "CREATE INDEX runs_done_again ON runs (retry_of) WHERE retry_of IS NOT NULL",
    "CREATE INDEX runs_replayed ON runs (replay_of) WHERE replay_of IS NOT NULL",
)

_COLUMNS = (
    "ALTER TABLE steps ADD COLUMN energy_j REAL",
    "ALTER TABLE steps ADD COLUMN cost_usd REAL NOT NULL DEFAULT 0",
    "ALTER TABLE steps ADD COLUMN route TEXT",
    # With its run's agent a page of one agent's results is the end of an index.
    "ALTER TABLE results ADD COLUMN agent_id INTEGER REFERENCES agents (id)",
    "UPDATE results SET agent_id = (SELECT r.agent_id FROM runs r WHERE r.id = results.run_id)",
    "CREATE INDEX results_of_agent ON results (agent_id)",
    "ALTER TABLE agents ADD COLUMN paused_reason TEXT",
    # From when on its failures count: those before it was changed or let run again are the user's past.
    "ALTER TABLE agents ADD COLUMN fresh_us INTEGER NOT NULL DEFAULT 0",
    # How often a trigger woke it, and how often a gate sent it back: they outlive the rows that they were counted from.
    "ALTER TABLE agents ADD COLUMN woken INTEGER NOT NULL DEFAULT 0",
    "ALTER TABLE agents ADD COLUMN woken_free INTEGER NOT NULL DEFAULT 0",
    """
    UPDATE agents SET woken = (SELECT count(*) FROM occurrences o WHERE o.agent_id = agents.id AND o.trigger <> 'manual')
    """,
)

_ADDED_TABLES = (
    """
    CREATE TABLE gate_checks (
        occurrence_id INTEGER NOT NULL REFERENCES occurrences (id),
        seq INTEGER NOT NULL CHECK (seq >= 1),
        gate TEXT NOT NULL,
        key TEXT NOT NULL,
        is_open INTEGER NOT NULL CHECK (is_open IN (0, 1)),
        detail TEXT NOT NULL,
        created_us INTEGER NOT NULL,
        PRIMARY KEY (occurrence_id, seq)
    ) STRICT, WITHOUT ROWID
    """,
    # What each gate saw when it last let a run through.
    """
    CREATE TABLE gate_states (
        agent_id INTEGER NOT NULL REFERENCES agents (id),
        key TEXT NOT NULL,
        state TEXT NOT NULL,
        updated_us INTEGER NOT NULL,
        PRIMARY KEY (agent_id, key)
    ) STRICT, WITHOUT ROWID
    """,
    # The files of a storm: many new versions that one run tells about.
    """
    CREATE TABLE occurrence_files (
        occurrence_id INTEGER NOT NULL REFERENCES occurrences (id),
        path ANY NOT NULL,
        content_hash TEXT NOT NULL,
        size_bytes INTEGER NOT NULL,
        PRIMARY KEY (occurrence_id, path)
    ) STRICT, WITHOUT ROWID
    """,
    "CREATE INDEX occurrence_files_by_content ON occurrence_files (content_hash)",
    # What a run changes outside: the intent before it, the outcome after it.
    """
    CREATE TABLE effects (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        run_id INTEGER NOT NULL REFERENCES runs (id),
        key TEXT NOT NULL,
        kind TEXT NOT NULL,
        request TEXT NOT NULL,
        outcome TEXT,
        created_us INTEGER NOT NULL,
        settled_us INTEGER,
        UNIQUE (run_id, key),
        CHECK ((outcome IS NULL) = (settled_us IS NULL))
    ) STRICT
    """,
    # What an agent wrote itself never wakes it, also when the run that wrote it is forgotten.
    """
    CREATE TABLE written_files (
        agent_id INTEGER NOT NULL REFERENCES agents (id),
        path ANY NOT NULL,
        content_hash TEXT NOT NULL,
        PRIMARY KEY (agent_id, path, content_hash)
    ) STRICT, WITHOUT ROWID
    """,
    # A day is the user's calendar day, as YYYY-MM-DD. Until it is settled, a reservation counts in full.
    """
    CREATE TABLE reservations (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        run_id INTEGER NOT NULL REFERENCES runs (id),
        agent_id INTEGER NOT NULL REFERENCES agents (id),
        day TEXT NOT NULL,
        tokens INTEGER NOT NULL,
        seconds REAL NOT NULL,
        wh REAL NOT NULL,
        usd REAL NOT NULL,
        tool_calls INTEGER NOT NULL,
        is_settled INTEGER NOT NULL DEFAULT 0 CHECK (is_settled IN (0, 1)),
        created_us INTEGER NOT NULL
    ) STRICT
    """,
    "CREATE INDEX reservations_by_day ON reservations (day, agent_id)",
    "CREATE INDEX reservations_of_run ON reservations (run_id)",
    """
    CREATE TABLE incidents (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        kind TEXT NOT NULL,
        detail TEXT NOT NULL,
        at_us INTEGER NOT NULL
    ) STRICT
    """,
)

DUE_TIMES = (*_NEW_TABLES, *_INDEXES, *_COLUMNS, *_ADDED_TABLES)
