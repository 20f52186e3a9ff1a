-- Jobs are claimed in the order of turn_at, which is fair between devices and causes.
ALTER TABLE coredumps ADD COLUMN turn_at text;
UPDATE coredumps SET turn_at = next_attempt_at WHERE next_attempt_at IS NOT NULL;
DROP INDEX coredumps_due;
-- The due time is in the index too, so that jobs which are not due are skipped in it.
CREATE INDEX coredumps_due ON coredumps (turn_at, id, next_attempt_at)
    WHERE parse_status = 'PENDING';
