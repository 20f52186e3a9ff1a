-- All dumps, newest first; and those without a report.
CREATE INDEX coredumps_by_time ON coredumps (uploaded_at, id);
CREATE INDEX coredumps_errors ON coredumps (uploaded_at, id) WHERE parse_status = 'ERROR';

-- Dumps of one cause, newest first. Most dumps have no signature when they are inserted.
DROP INDEX coredumps_by_signature;
CREATE INDEX coredumps_by_signature ON coredumps (signature, uploaded_at, id)
    WHERE signature IS NOT NULL;

-- The newest dump of a device with the same body, without reading its other dumps.
DROP INDEX coredumps_by_digest;
CREATE INDEX coredumps_by_digest ON coredumps (device_id, sha256, uploaded_at);

-- Most dumps have no build id until they are unwrapped, many never have one.
DROP INDEX coredumps_by_build;
CREATE INDEX coredumps_by_build ON coredumps (build_id) WHERE build_id IS NOT NULL;
