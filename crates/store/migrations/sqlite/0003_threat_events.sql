-- Traffic with listed peers, added up by flow. `remote_key` orders addresses: a byte 4 or 6, then the
-- address. `via` is the proxy's address where the match was read from an access log. `feeds` and what
-- belongs to it are as they were when the match came in: the list changes later.
CREATE TABLE threat_event (
    id         INTEGER PRIMARY KEY,
    asset_id   TEXT NOT NULL REFERENCES asset (id) ON DELETE CASCADE,
    action     TEXT NOT NULL,
    direction  TEXT NOT NULL,
    remote     TEXT NOT NULL,
    remote_key BLOB NOT NULL,
    local      TEXT NOT NULL,
    protocol   TEXT NOT NULL,
    port       BIGINT NOT NULL,
    process    TEXT NOT NULL,
    service    TEXT NOT NULL,
    via        TEXT NOT NULL,
    rule       TEXT NOT NULL,
    policy     TEXT NOT NULL,
    request    TEXT NOT NULL,
    read_from  TEXT NOT NULL,
    revision   BIGINT NOT NULL,
    feeds      TEXT NOT NULL,
    feed_names TEXT NOT NULL,
    entry      TEXT NOT NULL,
    confidence BIGINT NOT NULL,
    packets    BIGINT NOT NULL,
    bytes      BIGINT NOT NULL,
    batches    BIGINT NOT NULL,
    first_seen BIGINT NOT NULL,
    last_seen  BIGINT NOT NULL,
    UNIQUE (asset_id, action, direction, remote, local, protocol, port, process, service, via)
);
CREATE INDEX threat_event_last ON threat_event (last_seen);
CREATE INDEX threat_event_seen ON threat_event (asset_id, last_seen);
CREATE INDEX threat_event_remote ON threat_event (remote_key, asset_id);

-- Matched packets that hosts could not record.
CREATE TABLE threat_loss (
    asset_id TEXT PRIMARY KEY REFERENCES asset (id) ON DELETE CASCADE,
    lost     BIGINT NOT NULL,
    lost_at  BIGINT NOT NULL
);

-- Matches that no alert rule has looked at yet. They leave in the transaction that writes what the
-- rules make of them, so each is looked at once.
CREATE TABLE threat_fresh (
    id       INTEGER PRIMARY KEY,
    event_id BIGINT NOT NULL REFERENCES threat_event (id) ON DELETE CASCADE,
    novelty  TEXT NOT NULL,
    packets  BIGINT NOT NULL,
    at       BIGINT NOT NULL
);
CREATE INDEX threat_fresh_event ON threat_fresh (event_id);

-- `settings` has no secret in it; `secret` is sealed with the platform's storage key.
CREATE TABLE alert_channel (
    name          TEXT PRIMARY KEY,
    id            TEXT NOT NULL UNIQUE,
    settings      TEXT NOT NULL,
    secret        TEXT,
    enabled       BIGINT NOT NULL,
    created_at    BIGINT NOT NULL,
    created_by    TEXT NOT NULL,
    next_attempt  BIGINT NOT NULL,
    failures      BIGINT NOT NULL,
    last_success  BIGINT,
    last_failure  BIGINT,
    last_answer   TEXT NOT NULL
);

CREATE TABLE alert_rule (
    name       TEXT PRIMARY KEY,
    document   TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    created_by TEXT NOT NULL
);

-- What a rule remembers of a key (an asset, an address, both): counts in its window, and what was
-- withheld since the last alert.
CREATE TABLE alert_memory (
    rule        TEXT NOT NULL REFERENCES alert_rule (name) ON DELETE CASCADE,
    subject     TEXT NOT NULL,
    counts      TEXT NOT NULL,
    last_alert  BIGINT,
    withheld    BIGINT NOT NULL,
    touched_at  BIGINT NOT NULL,
    PRIMARY KEY (rule, subject)
);
CREATE INDEX alert_memory_touched ON alert_memory (touched_at);

CREATE TABLE alert (
    id       INTEGER PRIMARY KEY,
    at       BIGINT NOT NULL,
    rule     TEXT NOT NULL,
    kind     TEXT NOT NULL,
    subject  TEXT NOT NULL,
    asset    TEXT NOT NULL,
    remote   TEXT NOT NULL,
    withheld BIGINT NOT NULL,
    body     TEXT NOT NULL
);
CREATE INDEX alert_at ON alert (at);

-- Alerts that a channel has to deliver and that are in no delivery yet.
CREATE TABLE alert_notice (
    channel_id TEXT NOT NULL REFERENCES alert_channel (id) ON DELETE CASCADE,
    alert_id   BIGINT NOT NULL REFERENCES alert (id) ON DELETE CASCADE,
    due_at     BIGINT NOT NULL,
    PRIMARY KEY (channel_id, alert_id)
);
CREATE INDEX alert_notice_alert ON alert_notice (alert_id);
CREATE INDEX alert_notice_due ON alert_notice (channel_id, due_at);

-- Deliveries. The payload is made once, so that every attempt sends the same under the same id.
CREATE TABLE delivery (
    number       INTEGER PRIMARY KEY,
    id           TEXT NOT NULL UNIQUE,
    channel_id   TEXT NOT NULL REFERENCES alert_channel (id) ON DELETE CASCADE,
    kind         TEXT NOT NULL,
    alerts       BIGINT NOT NULL,
    payload      TEXT NOT NULL,
    state        TEXT NOT NULL,
    attempts     BIGINT NOT NULL,
    created_at   BIGINT NOT NULL,
    last_attempt BIGINT,
    answer       TEXT NOT NULL
);
CREATE INDEX delivery_channel ON delivery (channel_id, state);
CREATE INDEX delivery_created ON delivery (created_at);
