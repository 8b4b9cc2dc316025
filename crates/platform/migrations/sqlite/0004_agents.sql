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

-- What hosts log while an operator looks closely.
CREATE TABLE debug_log (
    number      INTEGER PRIMARY KEY AUTOINCREMENT,
    asset_id    TEXT NOT NULL REFERENCES asset (id) ON DELETE CASCADE,
    created     BIGINT NOT NULL,
    received_at BIGINT NOT NULL,
    bytes       BIGINT NOT NULL,
    lost        BIGINT NOT NULL,
    text        TEXT NOT NULL
);
CREATE INDEX debug_log_asset ON debug_log (asset_id, number);

-- What host programs tell of themselves.
CREATE TABLE agent_event (
    number      INTEGER PRIMARY KEY AUTOINCREMENT,
    asset_id    TEXT NOT NULL REFERENCES asset (id) ON DELETE CASCADE,
    kind        TEXT NOT NULL,
    at          BIGINT NOT NULL,
    received_at BIGINT NOT NULL,
    detail      TEXT NOT NULL
);
CREATE INDEX agent_event_asset ON agent_event (asset_id, number);

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

CREATE TABLE host_telemetry (
    asset_id    TEXT PRIMARY KEY REFERENCES asset (id) ON DELETE CASCADE,
    telemetry   TEXT NOT NULL,
    created     BIGINT NOT NULL,
    received_at BIGINT NOT NULL
);

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
