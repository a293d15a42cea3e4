-- checkpoint_write.sql: from where a job's next run goes on.
-- in: ?1 seq, ?2 bytes    out: nothing
INSERT OR REPLACE INTO windlass_checkpoint (seq, value) VALUES (?1, ?2)
