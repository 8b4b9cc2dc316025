-- Check-ins that were refused since the last one that was taken.
CREATE TABLE refused_check_in (
    asset_id  TEXT PRIMARY KEY REFERENCES asset (id) ON DELETE CASCADE,
    reason    TEXT NOT NULL,
    detail    TEXT NOT NULL,
    first_at  BIGINT NOT NULL,
    last_at   BIGINT NOT NULL,
    times     BIGINT NOT NULL
);
