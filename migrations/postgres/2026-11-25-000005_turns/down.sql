DROP INDEX coredumps_due;
CREATE INDEX coredumps_due ON coredumps (next_attempt_at, id) WHERE next_attempt_at IS NOT NULL;
ALTER TABLE coredumps DROP COLUMN turn_at;
