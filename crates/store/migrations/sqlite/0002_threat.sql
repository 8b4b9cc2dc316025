-- Times are seconds since 1970-01-01 UTC. JSON columns hold text. Digests are hexadecimal.

-- `secret` (a header's value) is sealed with the platform's storage key. `listing` and `held` name
-- files under threat/listings in the data directory.
CREATE TABLE threat_feed (
    name         TEXT PRIMARY KEY,
    settings     TEXT NOT NULL,
    secret       TEXT,
    created_at   BIGINT NOT NULL,
    created_by   TEXT NOT NULL,
    next_run     BIGINT NOT NULL,
    last_run     BIGINT,
    last_success BIGINT,
    listing      TEXT,
    held         TEXT,
    state        TEXT NOT NULL
);

CREATE TABLE threat_exception (
    id         TEXT PRIMARY KEY,
    target     TEXT NOT NULL,
    reason     TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    created_by TEXT NOT NULL,
    expires_at BIGINT
);

-- What a list was at one time; `sources` names the listings and exceptions that it was made of.
CREATE TABLE threat_revision (
    revision   BIGINT PRIMARY KEY,
    digest     TEXT NOT NULL,
    entries    BIGINT NOT NULL,
    added      BIGINT NOT NULL,
    removed    BIGINT NOT NULL,
    reason     TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    sources    TEXT NOT NULL
);

-- Snapshots and deltas under threat/files in the data directory. `base` is empty for a snapshot.
CREATE TABLE threat_file (
    sha256     TEXT PRIMARY KEY,
    base       TEXT NOT NULL,
    target     TEXT NOT NULL,
    bytes      BIGINT NOT NULL,
    created_at BIGINT NOT NULL
);
CREATE INDEX threat_file_target ON threat_file (target);

-- One row: what holds for the platform as a whole.
CREATE TABLE threat_setting (
    id       BIGINT PRIMARY KEY CHECK (id = 1),
    settings TEXT NOT NULL
);

-- What holds for the members of a segment of the committed policy.
CREATE TABLE threat_segment (
    segment  TEXT PRIMARY KEY,
    inbound  TEXT,
    outbound TEXT
);

-- What operators want of one asset, what it is told, and how it says it stands.
CREATE TABLE threat_asset (
    asset_id    TEXT PRIMARY KEY REFERENCES asset (id) ON DELETE CASCADE,
    inbound     TEXT,
    outbound    TEXT,
    budget      BIGINT,
    sequence    BIGINT NOT NULL,
    ordered     TEXT,
    digest      TEXT,
    envelope    TEXT,
    ordered_at  BIGINT,
    standing    TEXT,
    standing_at BIGINT
);
