-- Times are seconds since 1970-01-01 UTC. JSON columns hold text.

CREATE TABLE account (
    name        TEXT PRIMARY KEY,
    role        TEXT NOT NULL CHECK (role IN ('viewer', 'operator', 'admin')),
    password    TEXT NOT NULL,
    created_at  BIGINT NOT NULL
);

CREATE TABLE api_token (
    id           TEXT PRIMARY KEY,
    account      TEXT NOT NULL REFERENCES account (name) ON DELETE CASCADE,
    name         TEXT NOT NULL,
    role         TEXT NOT NULL CHECK (role IN ('viewer', 'operator', 'admin')),
    secret_hash  BLOB NOT NULL,
    created_at   BIGINT NOT NULL,
    expires_at   BIGINT,
    last_used_at BIGINT,
    revoked_at   BIGINT
);
CREATE INDEX api_token_account ON api_token (account);

-- `secret` is sealed with the platform's storage key: a copy of the database alone opens nothing.
CREATE TABLE enforcement_key (
    id          TEXT PRIMARY KEY,
    name        TEXT NOT NULL,
    secret      TEXT NOT NULL,
    tags        TEXT NOT NULL,
    created_at  BIGINT NOT NULL,
    created_by  TEXT NOT NULL,
    expires_at  BIGINT,
    revoked_at  BIGINT,
    replaced_by TEXT REFERENCES enforcement_key (id),
    last_used_at BIGINT
);

CREATE TABLE asset (
    id                  TEXT PRIMARY KEY,
    name                TEXT NOT NULL UNIQUE,
    source              TEXT NOT NULL,
    identity            BLOB NOT NULL UNIQUE,
    pending_identity    BLOB,
    pending_since       BIGINT,
    rejected_identity   BLOB,
    os                  TEXT NOT NULL,
    kernel              TEXT NOT NULL,
    addresses           TEXT NOT NULL,
    boot_id             TEXT NOT NULL,
    program_version     TEXT NOT NULL,
    sequence            BIGINT NOT NULL,
    state               TEXT NOT NULL,
    state_reason        TEXT NOT NULL,
    in_force_revision   BIGINT,
    in_force_digest     TEXT,
    problems            TEXT NOT NULL,
    events_lost         BIGINT NOT NULL,
    created_at          BIGINT NOT NULL,
    last_check_in       BIGINT
);
CREATE INDEX asset_last_check_in ON asset (last_check_in);

CREATE TABLE asset_tag (
    asset_id TEXT NOT NULL REFERENCES asset (id) ON DELETE CASCADE,
    key      TEXT NOT NULL,
    value    TEXT NOT NULL,
    PRIMARY KEY (asset_id, key)
);
CREATE INDEX asset_tag_value ON asset_tag (key, value);

CREATE TABLE command (
    id         TEXT PRIMARY KEY,
    asset_id   TEXT NOT NULL REFERENCES asset (id) ON DELETE CASCADE,
    kind       TEXT NOT NULL,
    created_at BIGINT NOT NULL
);
CREATE INDEX command_asset ON command (asset_id);

-- One row: what operators are editing.
CREATE TABLE policy_candidate (
    id         BIGINT PRIMARY KEY CHECK (id = 1),
    version    BIGINT NOT NULL,
    documents  TEXT NOT NULL,
    updated_at BIGINT NOT NULL,
    updated_by TEXT NOT NULL
);

CREATE TABLE policy_revision (
    revision     BIGINT PRIMARY KEY,
    documents    TEXT NOT NULL,
    note         TEXT NOT NULL,
    committed_at BIGINT NOT NULL,
    committed_by TEXT NOT NULL
);

-- What each asset should have now.
CREATE TABLE ruleset (
    asset_id    TEXT PRIMARY KEY REFERENCES asset (id) ON DELETE CASCADE,
    revision    BIGINT NOT NULL,
    digest      TEXT NOT NULL,
    envelope    TEXT NOT NULL,
    compiled_at BIGINT NOT NULL
);

-- Batches already counted.
CREATE TABLE batch (
    asset_id    TEXT NOT NULL REFERENCES asset (id) ON DELETE CASCADE,
    batch       BLOB NOT NULL,
    received_at BIGINT NOT NULL,
    PRIMARY KEY (asset_id, batch)
);
CREATE INDEX batch_received ON batch (received_at);

CREATE TABLE firewall_event (
    id          INTEGER PRIMARY KEY,
    asset_id    TEXT NOT NULL REFERENCES asset (id) ON DELETE CASCADE,
    kind        TEXT NOT NULL,
    direction   TEXT NOT NULL,
    source      TEXT NOT NULL,
    destination TEXT NOT NULL,
    protocol    TEXT NOT NULL,
    port        BIGINT NOT NULL,
    rule        TEXT NOT NULL,
    process     TEXT NOT NULL,
    read_from   TEXT NOT NULL,
    packets     BIGINT NOT NULL,
    bytes       BIGINT NOT NULL,
    batches     BIGINT NOT NULL,
    first_seen  BIGINT NOT NULL,
    last_seen   BIGINT NOT NULL,
    UNIQUE (asset_id, kind, direction, source, destination, protocol, port, rule, process, read_from)
);
CREATE INDEX firewall_event_seen ON firewall_event (asset_id, last_seen);
CREATE INDEX firewall_event_last ON firewall_event (last_seen);

CREATE TABLE rule_hits (
    asset_id  TEXT NOT NULL REFERENCES asset (id) ON DELETE CASCADE,
    direction TEXT NOT NULL,
    rule      TEXT NOT NULL,
    packets   BIGINT NOT NULL,
    bytes     BIGINT NOT NULL,
    last_hit  BIGINT NOT NULL,
    PRIMARY KEY (asset_id, direction, rule)
);

CREATE TABLE programmed (
    asset_id    TEXT PRIMARY KEY REFERENCES asset (id) ON DELETE CASCADE,
    report      TEXT NOT NULL,
    text        TEXT,
    created     BIGINT NOT NULL,
    received_at BIGINT NOT NULL
);

CREATE TABLE listening (
    asset_id    TEXT PRIMARY KEY REFERENCES asset (id) ON DELETE CASCADE,
    ports       TEXT NOT NULL,
    created     BIGINT NOT NULL,
    received_at BIGINT NOT NULL
);

CREATE TABLE audit (
    id      INTEGER PRIMARY KEY,
    at      BIGINT NOT NULL,
    actor   TEXT NOT NULL,
    action  TEXT NOT NULL,
    target  TEXT NOT NULL,
    before  TEXT NOT NULL,
    after   TEXT NOT NULL
);
