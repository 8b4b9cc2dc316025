-- Who may register with an enforcement key, how often and from where, and who uses it.

-- 'token': for one host; it has a term and registers once.
ALTER TABLE enforcement_key ADD COLUMN kind TEXT NOT NULL DEFAULT 'key';
-- The one name that may register; NULL: any.
ALTER TABLE enforcement_key ADD COLUMN bound_name TEXT;
-- NULL: as many as there are.
ALTER TABLE enforcement_key ADD COLUMN max_registrations BIGINT;
-- Prefixes, JSON, at least one; NULL: from anywhere.
ALTER TABLE enforcement_key ADD COLUMN allowed_networks TEXT;
ALTER TABLE enforcement_key ADD COLUMN registrations BIGINT NOT NULL DEFAULT 0;
ALTER TABLE enforcement_key ADD COLUMN last_registered_at BIGINT;
ALTER TABLE enforcement_key ADD COLUMN last_used_from TEXT;

-- The key that let the host in; NULL when it registered before this was written down.
ALTER TABLE asset ADD COLUMN registered_with TEXT;
-- The last session: with which key, when, from where, and the host's request, by which a replay of it
-- is known.
ALTER TABLE asset ADD COLUMN session_key TEXT;
ALTER TABLE asset ADD COLUMN session_at BIGINT;
ALTER TABLE asset ADD COLUMN session_from TEXT;
ALTER TABLE asset ADD COLUMN session_created BIGINT;
ALTER TABLE asset ADD COLUMN session_nonce BLOB;
CREATE INDEX asset_session_key ON asset (session_key);

-- Identity keys that spoke in an asset's name and are not the pinned one: what an operator has not
-- decided about is 'waiting', what an operator has turned away is 'rejected'.
CREATE TABLE other_identity (
    asset_id   TEXT NOT NULL REFERENCES asset (id) ON DELETE CASCADE,
    identity   BLOB NOT NULL,
    -- In which order they came, from 1.
    position   BIGINT NOT NULL,
    state      TEXT NOT NULL CHECK (state IN ('waiting', 'rejected')),
    key_id     TEXT NOT NULL,
    source     TEXT NOT NULL,
    first_seen BIGINT NOT NULL,
    last_seen  BIGINT NOT NULL,
    attempts   BIGINT NOT NULL,
    PRIMARY KEY (asset_id, identity)
);
INSERT INTO other_identity
    SELECT id, pending_identity, 1, 'waiting', '', '', pending_since, pending_since, 1
    FROM asset WHERE pending_identity IS NOT NULL AND pending_since IS NOT NULL;
INSERT INTO other_identity
    SELECT id, rejected_identity, 2, 'rejected', '', '', created_at, created_at, 1
    FROM asset WHERE rejected_identity IS NOT NULL
    AND (pending_identity IS NULL OR rejected_identity <> pending_identity);
ALTER TABLE asset DROP COLUMN pending_identity;
ALTER TABLE asset DROP COLUMN pending_since;
ALTER TABLE asset DROP COLUMN rejected_identity;

-- The last session requests of hosts whose assets were deleted: none of them registers one again.
CREATE TABLE forgotten_identity (
    identity        BLOB PRIMARY KEY,
    session_created BIGINT NOT NULL,
    session_nonce   BLOB NOT NULL,
    forgotten_at    BIGINT NOT NULL
);
