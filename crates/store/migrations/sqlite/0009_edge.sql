-- Mail and syslog channels that are there may go on to private addresses: they were set up before that
-- took an admin. The kind is the first field of what is stored.
UPDATE alert_channel
    SET settings = replace(settings, '{"kind":"mail",', '{"kind":"mail","allow_private":true,')
    WHERE settings LIKE '{"kind":"mail",%';
UPDATE alert_channel
    SET settings = replace(settings, '{"kind":"syslog",', '{"kind":"syslog","allow_private":true,')
    WHERE settings LIKE '{"kind":"syslog",%';

-- From where people have signed in: guesses from elsewhere don't hold them up there.
CREATE TABLE sign_in_source (
    account TEXT NOT NULL REFERENCES account (name) ON DELETE CASCADE,
    -- An IPv4 address, or an IPv6 /64.
    source  TEXT NOT NULL,
    last_at BIGINT NOT NULL,
    PRIMARY KEY (account, source)
);

-- 'sign-in': made with a password; the oldest make room.
ALTER TABLE api_token ADD COLUMN kind TEXT NOT NULL DEFAULT 'api';
