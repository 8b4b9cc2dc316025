-- A command that operators gave: to one asset or to many. Its id is what every host hears.
CREATE TABLE command_job (
    id           TEXT PRIMARY KEY,
    kind         TEXT NOT NULL,
    duration     BIGINT,
    target       TEXT NOT NULL,
    created_at   BIGINT NOT NULL,
    created_by   TEXT NOT NULL,
    expires_at   BIGINT NOT NULL,
    cancelled_at BIGINT
);
CREATE INDEX command_job_created ON command_job (created_at);

-- How it goes at each asset. `number` only grows: it says whether something is new for an asset.
CREATE TABLE command_target (
    number   INTEGER PRIMARY KEY AUTOINCREMENT,
    job_id   TEXT NOT NULL REFERENCES command_job (id) ON DELETE CASCADE,
    asset_id TEXT NOT NULL REFERENCES asset (id) ON DELETE CASCADE,
    state    TEXT NOT NULL CHECK (state IN
        ('waiting', 'told', 'done', 'failed', 'expired', 'unknown', 'cancelled')),
    told_at  BIGINT,
    ended_at BIGINT,
    host_at  BIGINT,
    reason   TEXT NOT NULL,
    UNIQUE (job_id, asset_id)
);
CREATE INDEX command_target_asset ON command_target (asset_id, state);

INSERT INTO command_job (id, kind, target, created_at, created_by, expires_at)
    SELECT id, kind, '{}', created_at, '', created_at + 86400 FROM command;
INSERT INTO command_target (job_id, asset_id, state, reason)
    SELECT id, asset_id, 'waiting', '' FROM command;
DROP TABLE command;

-- Files that hosts upload. The bytes are in the data directory, under `id`.
CREATE TABLE upload (
    id         TEXT PRIMARY KEY,
    job_id     TEXT NOT NULL,
    asset_id   TEXT NOT NULL REFERENCES asset (id) ON DELETE CASCADE,
    total      BIGINT NOT NULL,
    digest     BLOB NOT NULL,
    received   BIGINT NOT NULL,
    complete   BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    changed_at BIGINT NOT NULL,
    UNIQUE (asset_id, job_id)
);

-- What hosts log while an operator looks closely: pieces of `bytes`, each with its lines as JSON.
CREATE TABLE debug_log (
    number      INTEGER PRIMARY KEY AUTOINCREMENT,
    asset_id    TEXT NOT NULL REFERENCES asset (id) ON DELETE CASCADE,
    job_id      TEXT NOT NULL,
    received_at BIGINT NOT NULL,
    first       BIGINT NOT NULL,
    dropped     BIGINT NOT NULL,
    ends        BIGINT NOT NULL,
    bytes       BIGINT NOT NULL,
    lines       TEXT NOT NULL
);
CREATE INDEX debug_log_asset ON debug_log (asset_id, number);

-- What host programs did.
CREATE TABLE agent_event (
    number      INTEGER PRIMARY KEY AUTOINCREMENT,
    asset_id    TEXT NOT NULL REFERENCES asset (id) ON DELETE CASCADE,
    kind        TEXT NOT NULL,
    text        TEXT NOT NULL,
    revision    BIGINT,
    seconds     BIGINT,
    at          BIGINT NOT NULL,
    received_at BIGINT NOT NULL
);
CREATE INDEX agent_event_asset ON agent_event (asset_id, number);

-- Denials and matches as they happen, JSON; never added to a count.
CREATE TABLE live_event (
    number      INTEGER PRIMARY KEY AUTOINCREMENT,
    asset_id    TEXT NOT NULL REFERENCES asset (id) ON DELETE CASCADE,
    event       TEXT NOT NULL,
    received_at BIGINT NOT NULL
);
CREATE INDEX live_event_asset ON live_event (asset_id, number);

-- Problems outlive the check-in that told of them. `times`: how often one came, not how long it stayed.
CREATE TABLE problem_history (
    asset_id   TEXT NOT NULL REFERENCES asset (id) ON DELETE CASCADE,
    code       TEXT NOT NULL,
    text       TEXT NOT NULL,
    first_seen BIGINT NOT NULL,
    last_seen  BIGINT NOT NULL,
    times      BIGINT NOT NULL,
    PRIMARY KEY (asset_id, code, text)
);

ALTER TABLE asset ADD COLUMN check_in_interval BIGINT;
ALTER TABLE asset ADD COLUMN routes TEXT NOT NULL DEFAULT '[]';
ALTER TABLE asset ADD COLUMN usage TEXT;
ALTER TABLE asset ADD COLUMN decommissioned_at BIGINT;

ALTER TABLE asset ADD COLUMN paths_lost BIGINT NOT NULL DEFAULT 0;

CREATE TABLE host_telemetry (
    asset_id    TEXT PRIMARY KEY REFERENCES asset (id) ON DELETE CASCADE,
    telemetry   TEXT NOT NULL,
    created     BIGINT NOT NULL,
    received_at BIGINT NOT NULL
);

-- Installed packages, as a JSON list packed with Zstandard.
CREATE TABLE software (
    asset_id    TEXT PRIMARY KEY REFERENCES asset (id) ON DELETE CASCADE,
    packages    BLOB NOT NULL,
    digest      TEXT NOT NULL,
    count       BIGINT NOT NULL,
    taken       BIGINT NOT NULL,
    received_at BIGINT NOT NULL
);

CREATE TABLE software_change (
    number       INTEGER PRIMARY KEY AUTOINCREMENT,
    asset_id     TEXT NOT NULL REFERENCES asset (id) ON DELETE CASCADE,
    change       TEXT NOT NULL CHECK (change IN ('added', 'removed')),
    name         TEXT NOT NULL,
    version      TEXT NOT NULL,
    architecture TEXT NOT NULL,
    manager      TEXT NOT NULL,
    at           BIGINT NOT NULL
);
CREATE INDEX software_change_asset ON software_change (asset_id, number);

CREATE TABLE active_path (
    id          INTEGER PRIMARY KEY,
    asset_id    TEXT NOT NULL REFERENCES asset (id) ON DELETE CASCADE,
    direction   TEXT NOT NULL,
    source      TEXT NOT NULL,
    destination TEXT NOT NULL,
    protocol    TEXT NOT NULL,
    port        BIGINT NOT NULL,
    process     TEXT NOT NULL,
    user_name   TEXT NOT NULL,
    service     TEXT NOT NULL,
    read_from   TEXT NOT NULL,
    connections BIGINT NOT NULL,
    bytes_forth BIGINT NOT NULL,
    bytes_back  BIGINT NOT NULL,
    first_seen  BIGINT NOT NULL,
    last_seen   BIGINT NOT NULL,
    UNIQUE (asset_id, direction, source, destination, protocol, port, process, user_name, service,
            read_from)
);
CREATE INDEX active_path_seen ON active_path (asset_id, last_seen);
CREATE INDEX active_path_last ON active_path (last_seen);

-- What operators configure at hosts: for all ('platform'), a segment ('segment:NAME') or an asset
-- ('asset:ID').
CREATE TABLE host_configuration (
    scope      TEXT PRIMARY KEY,
    settings   TEXT NOT NULL,
    updated_at BIGINT NOT NULL,
    updated_by TEXT NOT NULL
);

-- What that comes to for an asset. `version` grows whenever it changes.
CREATE TABLE asset_configuration (
    asset_id TEXT PRIMARY KEY REFERENCES asset (id) ON DELETE CASCADE,
    version  BIGINT NOT NULL,
    settings TEXT NOT NULL
);
