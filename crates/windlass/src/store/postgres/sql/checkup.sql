-- checkup.sql: what the server says of itself, before anything of ours is looked at.
-- in: nothing    out: one row
SELECT current_setting('server_version') AS version, current_setting('server_version_num')::integer AS number,
    pg_is_in_recovery() AS standby, current_setting('default_transaction_isolation') AS isolation,
    current_setting('server_encoding') AS encoding,
    current_setting('synchronous_commit') AS synchronous_commit, current_setting('fsync') AS fsync,
    current_setting('full_page_writes') AS full_page_writes
