DROP INDEX coredumps_without_elf;
DROP INDEX coredumps_by_signature;
CREATE INDEX coredumps_by_signature ON coredumps (signature);
DROP INDEX coredumps_errors;
DROP INDEX coredumps_by_time;
