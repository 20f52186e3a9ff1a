-- Groups are read from this index alone: it contains the columns of a dump that groups need.
DROP INDEX coredumps_by_signature;
CREATE INDEX coredumps_by_signature ON coredumps (signature, uploaded_at, id)
    INCLUDE (device_id, firmware_version) WHERE signature IS NOT NULL;
