-- When an agent last told of this flow as it happened, by the host's clock; 0: never. What it counts of
-- that time later is not told again.
ALTER TABLE threat_event ADD COLUMN live_at BIGINT NOT NULL DEFAULT 0;
