-- key_holder.sql: the job that holds an exclusive key.
-- in: ?1 the key, as the column has it    out: id, or no row
SELECT id FROM windlass_job WHERE exclusive = ?1 AND exclusive IS NOT NULL AND state IN (0, 4)
