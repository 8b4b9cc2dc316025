-- Counters that were added up beyond 64 bits became floating-point numbers, which nothing reads as counts.
-- What is above the greatest count (2^53) becomes that one; what is no number, or below 0, becomes 0.

UPDATE asset SET events_lost = CASE
    WHEN typeof(events_lost) NOT IN ('integer', 'real') OR events_lost < 0 THEN 0
    WHEN events_lost >= 9007199254740992 THEN 9007199254740992
    ELSE CAST(events_lost AS BIGINT) END
    WHERE typeof(events_lost) <> 'integer' OR events_lost NOT BETWEEN 0 AND 9007199254740992;

UPDATE asset SET paths_lost = CASE
    WHEN typeof(paths_lost) NOT IN ('integer', 'real') OR paths_lost < 0 THEN 0
    WHEN paths_lost >= 9007199254740992 THEN 9007199254740992
    ELSE CAST(paths_lost AS BIGINT) END
    WHERE typeof(paths_lost) <> 'integer' OR paths_lost NOT BETWEEN 0 AND 9007199254740992;

UPDATE firewall_event SET packets = CASE
    WHEN typeof(packets) NOT IN ('integer', 'real') OR packets < 0 THEN 0
    WHEN packets >= 9007199254740992 THEN 9007199254740992
    ELSE CAST(packets AS BIGINT) END
    WHERE typeof(packets) <> 'integer' OR packets NOT BETWEEN 0 AND 9007199254740992;

UPDATE firewall_event SET bytes = CASE
    WHEN typeof(bytes) NOT IN ('integer', 'real') OR bytes < 0 THEN 0
    WHEN bytes >= 9007199254740992 THEN 9007199254740992
    ELSE CAST(bytes AS BIGINT) END
    WHERE typeof(bytes) <> 'integer' OR bytes NOT BETWEEN 0 AND 9007199254740992;

UPDATE firewall_event SET batches = CASE
    WHEN typeof(batches) NOT IN ('integer', 'real') OR batches < 0 THEN 0
    WHEN batches >= 9007199254740992 THEN 9007199254740992
    ELSE CAST(batches AS BIGINT) END
    WHERE typeof(batches) <> 'integer' OR batches NOT BETWEEN 0 AND 9007199254740992;

UPDATE rule_hits SET packets = CASE
    WHEN typeof(packets) NOT IN ('integer', 'real') OR packets < 0 THEN 0
    WHEN packets >= 9007199254740992 THEN 9007199254740992
    ELSE CAST(packets AS BIGINT) END
    WHERE typeof(packets) <> 'integer' OR packets NOT BETWEEN 0 AND 9007199254740992;

UPDATE rule_hits SET bytes = CASE
    WHEN typeof(bytes) NOT IN ('integer', 'real') OR bytes < 0 THEN 0
    WHEN bytes >= 9007199254740992 THEN 9007199254740992
    ELSE CAST(bytes AS BIGINT) END
    WHERE typeof(bytes) <> 'integer' OR bytes NOT BETWEEN 0 AND 9007199254740992;

UPDATE active_path SET connections = CASE
    WHEN typeof(connections) NOT IN ('integer', 'real') OR connections < 0 THEN 0
    WHEN connections >= 9007199254740992 THEN 9007199254740992
    ELSE CAST(connections AS BIGINT) END
    WHERE typeof(connections) <> 'integer' OR connections NOT BETWEEN 0 AND 9007199254740992;

UPDATE active_path SET bytes_forth = CASE
    WHEN typeof(bytes_forth) NOT IN ('integer', 'real') OR bytes_forth < 0 THEN 0
    WHEN bytes_forth >= 9007199254740992 THEN 9007199254740992
    ELSE CAST(bytes_forth AS BIGINT) END
    WHERE typeof(bytes_forth) <> 'integer' OR bytes_forth NOT BETWEEN 0 AND 9007199254740992;

UPDATE active_path SET bytes_back = CASE
    WHEN typeof(bytes_back) NOT IN ('integer', 'real') OR bytes_back < 0 THEN 0
    WHEN bytes_back >= 9007199254740992 THEN 9007199254740992
    ELSE CAST(bytes_back AS BIGINT) END
    WHERE typeof(bytes_back) <> 'integer' OR bytes_back NOT BETWEEN 0 AND 9007199254740992;

UPDATE threat_event SET packets = CASE
    WHEN typeof(packets) NOT IN ('integer', 'real') OR packets < 0 THEN 0
    WHEN packets >= 9007199254740992 THEN 9007199254740992
    ELSE CAST(packets AS BIGINT) END
    WHERE typeof(packets) <> 'integer' OR packets NOT BETWEEN 0 AND 9007199254740992;

UPDATE threat_event SET bytes = CASE
    WHEN typeof(bytes) NOT IN ('integer', 'real') OR bytes < 0 THEN 0
    WHEN bytes >= 9007199254740992 THEN 9007199254740992
    ELSE CAST(bytes AS BIGINT) END
    WHERE typeof(bytes) <> 'integer' OR bytes NOT BETWEEN 0 AND 9007199254740992;

UPDATE threat_event SET batches = CASE
    WHEN typeof(batches) NOT IN ('integer', 'real') OR batches < 0 THEN 0
    WHEN batches >= 9007199254740992 THEN 9007199254740992
    ELSE CAST(batches AS BIGINT) END
    WHERE typeof(batches) <> 'integer' OR batches NOT BETWEEN 0 AND 9007199254740992;

UPDATE threat_loss SET lost = CASE
    WHEN typeof(lost) NOT IN ('integer', 'real') OR lost < 0 THEN 0
    WHEN lost >= 9007199254740992 THEN 9007199254740992
    ELSE CAST(lost AS BIGINT) END
    WHERE typeof(lost) <> 'integer' OR lost NOT BETWEEN 0 AND 9007199254740992;

UPDATE threat_fresh SET packets = CASE
    WHEN typeof(packets) NOT IN ('integer', 'real') OR packets < 0 THEN 0
    WHEN packets >= 9007199254740992 THEN 9007199254740992
    ELSE CAST(packets AS BIGINT) END
    WHERE typeof(packets) <> 'integer' OR packets NOT BETWEEN 0 AND 9007199254740992;

UPDATE alert_memory SET withheld = CASE
    WHEN typeof(withheld) NOT IN ('integer', 'real') OR withheld < 0 THEN 0
    WHEN withheld >= 9007199254740992 THEN 9007199254740992
    ELSE CAST(withheld AS BIGINT) END
    WHERE typeof(withheld) <> 'integer' OR withheld NOT BETWEEN 0 AND 9007199254740992;

-- One row, written when somebody asks whether the platform can write.
CREATE TABLE probe (
    id BIGINT PRIMARY KEY CHECK (id = 1),
    at BIGINT NOT NULL
);
INSERT INTO probe (id, at) VALUES (1, 0);

-- How many rows of a batch are stored, while not all are; NULL: it is stored.
ALTER TABLE batch ADD COLUMN stored BIGINT;

-- Whose match it is: so many of one asset wait for the alert rules at most.
ALTER TABLE threat_fresh ADD COLUMN asset_id TEXT NOT NULL DEFAULT '';
UPDATE threat_fresh SET asset_id =
    COALESCE((SELECT e.asset_id FROM threat_event e WHERE e.id = threat_fresh.event_id), '');
CREATE INDEX threat_fresh_asset ON threat_fresh (asset_id);
