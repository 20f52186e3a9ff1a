-- Times are texts such as 2026-11-20T15:35:09.457233Z: comparing texts compares times.
-- AUTOINCREMENT: the id of a deleted row is never reused, because object keys contain ids.

CREATE TABLE settings (
    key varchar(255) PRIMARY KEY NOT NULL,
    value text NOT NULL,
    updated_at text NOT NULL
);

CREATE TABLE device_models (
    id integer PRIMARY KEY AUTOINCREMENT NOT NULL,
    code varchar(50) NOT NULL UNIQUE,
    name varchar(255) NOT NULL,
    firmware_version varchar(50),
    config_schema text,
    created_at text NOT NULL,
    updated_at text NOT NULL
);

CREATE TABLE devices (
    id integer PRIMARY KEY AUTOINCREMENT NOT NULL,
    key varchar(8) NOT NULL UNIQUE,
    device_model_id integer NOT NULL REFERENCES device_models (id) ON DELETE RESTRICT,
    config text NOT NULL,
    device_name varchar(255),
    device_entity_id varchar(255),
    enable_ota boolean CHECK (enable_ota IN (0, 1)),
    active boolean NOT NULL CHECK (active IN (0, 1)),
    rotation_state varchar(20) NOT NULL DEFAULT 'OK'
        CHECK (rotation_state IN ('OK', 'QUEUED', 'PENDING', 'TIMEOUT')),
    cached_secret varchar(500),
    secret_created_at text,
    last_rotation_attempt_at text,
    last_rotation_completed_at text,
    created_at text NOT NULL,
    updated_at text NOT NULL
);

CREATE INDEX devices_by_model ON devices (device_model_id);

CREATE TABLE firmware_versions (
    id integer PRIMARY KEY AUTOINCREMENT NOT NULL,
    device_model_id integer NOT NULL REFERENCES device_models (id) ON DELETE RESTRICT,
    version varchar(50) NOT NULL,
    bin_size bigint NOT NULL,
    bin_sha256 varchar(64) NOT NULL,
    elf_size bigint NOT NULL,
    elf_sha256 varchar(64) NOT NULL,
    map_size bigint NOT NULL,
    map_sha256 varchar(64) NOT NULL,
    sdkconfig_size bigint NOT NULL,
    sdkconfig_sha256 varchar(64) NOT NULL,
    version_json_size bigint NOT NULL,
    version_json_sha256 varchar(64) NOT NULL,
    chip varchar(50) NOT NULL,
    project_name varchar(32) NOT NULL,
    idf_version varchar(32) NOT NULL,
    secure_version bigint NOT NULL,
    git_commit varchar(64),
    -- The upload whose staged objects are the set; null: the objects are at their final keys.
    staging_upload_id varchar(64),
    uploaded_at text NOT NULL,
    created_at text NOT NULL,
    UNIQUE (device_model_id, version)
);

CREATE INDEX firmware_versions_by_build ON firmware_versions (elf_sha256);
CREATE INDEX firmware_versions_by_staging ON firmware_versions (staging_upload_id)
    WHERE staging_upload_id IS NOT NULL;

CREATE TABLE coredumps (
    id integer PRIMARY KEY AUTOINCREMENT NOT NULL,
    device_id integer NOT NULL REFERENCES devices (id) ON DELETE CASCADE,
    chip varchar(50) NOT NULL,
    firmware_version varchar(50) NOT NULL,
    size integer NOT NULL,
    -- Null only in adopted rows, until their objects have been read.
    sha256 varchar(64),
    parse_status varchar(20) NOT NULL DEFAULT 'PENDING'
        CHECK (parse_status IN ('PENDING', 'PARSED', 'ERROR')),
    parsed_output text,
    report text,
    error_code varchar(50),
    error_message text,
    -- The SHA-256 of the ELF, or the prefix of it which the dump contains.
    build_id varchar(64),
    signature varchar(64),
    occurrences integer NOT NULL DEFAULT 1,
    attempts integer NOT NULL DEFAULT 0,
    lease_owner varchar(64),
    lease_until text,
    next_attempt_at text,
    uploaded_at text NOT NULL,
    last_seen_at text,
    parsed_at text,
    created_at text NOT NULL,
    updated_at text NOT NULL
);

CREATE INDEX coredumps_by_device ON coredumps (device_id, uploaded_at);
CREATE INDEX coredumps_by_digest ON coredumps (device_id, sha256);
CREATE INDEX coredumps_by_version ON coredumps (firmware_version, parse_status);
CREATE INDEX coredumps_by_build ON coredumps (build_id);
CREATE INDEX coredumps_by_signature ON coredumps (signature);
CREATE INDEX coredumps_due ON coredumps (next_attempt_at, id) WHERE parse_status = 'PENDING';

-- Builds whose symbol files are stored. The model is a text: it may be deleted before its symbol
-- files are.
CREATE TABLE known_builds (
    id integer PRIMARY KEY AUTOINCREMENT NOT NULL,
    elf_sha256 varchar(64) NOT NULL,
    model_code varchar(50) NOT NULL,
    version varchar(50) NOT NULL,
    last_referenced_at text NOT NULL,
    UNIQUE (elf_sha256, model_code, version)
);

CREATE TABLE outbox (
    id integer PRIMARY KEY AUTOINCREMENT NOT NULL,
    object_key varchar(255) NOT NULL UNIQUE,
    scope varchar(255),
    queued_at text NOT NULL,
    attempts integer NOT NULL DEFAULT 0,
    next_attempt_at text NOT NULL,
    lease_owner varchar(64),
    lease_until text
);

CREATE INDEX outbox_due ON outbox (next_attempt_at);
CREATE INDEX outbox_by_age ON outbox (queued_at);

CREATE TABLE leases (
    name varchar(255) PRIMARY KEY NOT NULL,
    scope varchar(255) NOT NULL,
    owner varchar(64) NOT NULL,
    expires_at text NOT NULL
);

CREATE INDEX leases_by_scope ON leases (scope);
CREATE INDEX leases_by_owner ON leases (owner);

CREATE TABLE audit_records (
    id integer PRIMARY KEY AUTOINCREMENT NOT NULL,
    at text NOT NULL,
    actor_subject text NOT NULL,
    actor_name text,
    actor_kind varchar(20) NOT NULL CHECK (actor_kind IN ('user', 'device', 'system')),
    action varchar(50) NOT NULL,
    target_type varchar(50) NOT NULL,
    target_id varchar(255) NOT NULL,
    correlation_id text NOT NULL,
    remote_address text,
    outcome varchar(20) NOT NULL
);

CREATE INDEX audit_records_by_time ON audit_records (at);
CREATE INDEX audit_records_by_target ON audit_records (target_type, target_id);
