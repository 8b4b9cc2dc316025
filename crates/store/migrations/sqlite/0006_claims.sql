-- What the platform holds of hosts is one thing, what they say of themselves another. From here on,
-- asset.name, asset.os and asset.source are held, and so is what is in asset_address;
-- asset.addresses is what the host said last.

CREATE TABLE asset_address (
    address  TEXT PRIMARY KEY,
    asset_id TEXT NOT NULL REFERENCES asset (id) ON DELETE CASCADE,
    since    BIGINT NOT NULL,
    -- When a check-in of the asset last came from this address.
    seen_at  BIGINT
);
CREATE INDEX asset_address_asset ON asset_address (asset_id);

-- Each address goes to the asset that registered first. (SQLite takes the other columns from the row
-- that has the minimum.)
INSERT INTO asset_address (address, asset_id, since)
    SELECT address, asset_id, since FROM (
        SELECT said.value AS address, asset.id AS asset_id, min(asset.created_at) AS since
        FROM asset, json_each(asset.addresses) AS said
        WHERE asset.decommissioned_at IS NULL
        GROUP BY said.value
    );

-- What hosts say of themselves and is not held by itself, and what operators decided about it.
CREATE TABLE asset_claim (
    asset_id    TEXT NOT NULL REFERENCES asset (id) ON DELETE CASCADE,
    kind        TEXT NOT NULL,
    value       TEXT NOT NULL,
    standing    TEXT NOT NULL CHECK (standing IN ('waiting', 'accepted', 'refused')),
    reason      TEXT NOT NULL,
    other_asset TEXT REFERENCES asset (id) ON DELETE SET NULL,
    since       BIGINT NOT NULL,
    PRIMARY KEY (asset_id, kind, value)
);
CREATE INDEX asset_claim_other ON asset_claim (other_asset);
CREATE INDEX asset_claim_standing ON asset_claim (standing);

-- The machines that check in with this identity, JSON.
ALTER TABLE asset ADD COLUMN lineage TEXT NOT NULL DEFAULT '{}';
