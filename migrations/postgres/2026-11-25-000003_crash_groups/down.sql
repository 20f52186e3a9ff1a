DROP INDEX coredumps_by_signature;
CREATE INDEX coredumps_by_signature ON coredumps (signature, uploaded_at, id)
    WHERE signature IS NOT NULL;
