-- Which change of the platform's keys the host follows; null before the first one.
ALTER TABLE asset ADD COLUMN trust_sequence BIGINT;
