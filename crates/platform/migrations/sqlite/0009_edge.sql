-- Mail and syslog channels that are there may go on to private addresses: they were set up before that
-- took an admin. The kind is the first field of what is stored.
UPDATE alert_channel
    SET settings = replace(settings, '{"kind":"mail",', '{"kind":"mail","allow_private":true,')
    WHERE settings LIKE '{"kind":"mail",%';
UPDATE alert_channel
    SET settings = replace(settings, '{"kind":"syslog",', '{"kind":"syslog","allow_private":true,')
    WHERE settings LIKE '{"kind":"syslog",%';
