DROP INDEX coredumps_by_build;
CREATE INDEX coredumps_by_build ON coredumps (build_id);
DROP INDEX coredumps_by_digest;
CREATE INDEX coredumps_by_digest ON coredumps (device_id, sha256);
DROP INDEX coredumps_by_signature;
CREATE INDEX coredumps_by_signature ON coredumps (signature);
DROP INDEX coredumps_errors;
DROP INDEX coredumps_by_time;
