-- Groups are found in this index alone: what counts of a dump but never changes is in it.
DROP INDEX coredumps_by_signature;
CREATE INDEX coredumps_by_signature
    ON coredumps (signature, uploaded_at, id, device_id, firmware_version)
    WHERE signature IS NOT NULL;
