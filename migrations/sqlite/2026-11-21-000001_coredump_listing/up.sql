-- All dumps, newest first; and those without a report.
CREATE INDEX coredumps_by_time ON coredumps (uploaded_at, id);
CREATE INDEX coredumps_errors ON coredumps (uploaded_at, id) WHERE parse_status = 'ERROR';

-- Dumps of one cause, newest first. Most dumps have no signature when they are inserted.
DROP INDEX coredumps_by_signature;
CREATE INDEX coredumps_by_signature ON coredumps (signature, uploaded_at, id)
    WHERE signature IS NOT NULL;

-- Dumps that wait for the symbols of a build.
CREATE INDEX coredumps_without_elf ON coredumps (build_id) WHERE error_code = 'ELF_NOT_FOUND';
