-- Counts compilations, whatever they are of, so that a host tells the newer of two rulesets.
CREATE TABLE compilation (
    only_row BIGINT PRIMARY KEY CHECK (only_row = 1),
    last     BIGINT NOT NULL
);
INSERT INTO compilation (only_row, last) VALUES (1, 0);

-- 0: compiled before compilations were counted; compiled again at the next start.
ALTER TABLE ruleset ADD COLUMN compilation BIGINT NOT NULL DEFAULT 0;
-- Rulesets are written and signed when their hosts ask.
ALTER TABLE ruleset DROP COLUMN envelope;
