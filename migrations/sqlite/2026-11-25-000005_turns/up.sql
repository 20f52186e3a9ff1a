-- Jobs are worked on in the order of turns, which are fair between devices and causes.
ALTER TABLE coredumps ADD COLUMN turn_at text;
UPDATE coredumps SET turn_at = next_attempt_at WHERE next_attempt_at IS NOT NULL;
DROP INDEX coredumps_due;
-- When a job is due stands in the index too: those that are not are passed over in it.
CREATE INDEX coredumps_due ON coredumps (turn_at, id, next_attempt_at)
    WHERE parse_status = 'PENDING';
