DROP INDEX coredumps_due;
CREATE INDEX coredumps_due ON coredumps (next_attempt_at, id) WHERE parse_status = 'PENDING';
ALTER TABLE coredumps DROP COLUMN turn_at;
