//! The tables, as the migrations create them.

diesel::table! {
    use diesel::sql_types::Text;
    use crate::timestamps::UtcTimestamp;

    settings (key) {
        key -> Text,
        value -> Text,
        updated_at -> UtcTimestamp,
    }
}

diesel::table! {
    use diesel::sql_types::{BigInt, Nullable, Text};
    use crate::timestamps::UtcTimestamp;

    device_models (id) {
        id -> BigInt,
        code -> Text,
        name -> Text,
        firmware_version -> Nullable<Text>,
        config_schema -> Nullable<Text>,
        created_at -> UtcTimestamp,
        updated_at -> UtcTimestamp,
    }
}

diesel::table! {
    use diesel::sql_types::{BigInt, Bool, Nullable, Text};
    use crate::timestamps::UtcTimestamp;

    devices (id) {
        id -> BigInt,
        key -> Text,
        device_model_id -> BigInt,
        config -> Text,
        device_name -> Nullable<Text>,
        device_entity_id -> Nullable<Text>,
        enable_ota -> Nullable<Bool>,
        active -> Bool,
        rotation_state -> Text,
        cached_secret -> Nullable<Text>,
        secret_created_at -> Nullable<UtcTimestamp>,
        last_rotation_attempt_at -> Nullable<UtcTimestamp>,
        last_rotation_completed_at -> Nullable<UtcTimestamp>,
        created_at -> UtcTimestamp,
        updated_at -> UtcTimestamp,
    }
}

diesel::table! {
    use diesel::sql_types::{BigInt, Nullable, Text};
    use crate::timestamps::UtcTimestamp;

    firmware_versions (id) {
        id -> BigInt,
        device_model_id -> BigInt,
        version -> Text,
        bin_size -> BigInt,
        bin_sha256 -> Text,
        elf_size -> BigInt,
        elf_sha256 -> Text,
        map_size -> BigInt,
        map_sha256 -> Text,
        sdkconfig_size -> BigInt,
        sdkconfig_sha256 -> Text,
        version_json_size -> BigInt,
        version_json_sha256 -> Text,
        chip -> Text,
        project_name -> Text,
        idf_version -> Text,
        secure_version -> BigInt,
        git_commit -> Nullable<Text>,
        staging_upload_id -> Nullable<Text>,
        uploaded_at -> UtcTimestamp,
        created_at -> UtcTimestamp,
    }
}

diesel::table! {
    use diesel::sql_types::{BigInt, Integer, Nullable, Text};
    use crate::timestamps::UtcTimestamp;

    coredumps (id) {
        id -> BigInt,
        device_id -> BigInt,
        chip -> Text,
        firmware_version -> Text,
        size -> Integer,
        sha256 -> Nullable<Text>,
        parse_status -> Text,
        parsed_output -> Nullable<Text>,
        report -> Nullable<Text>,
        error_code -> Nullable<Text>,
        error_message -> Nullable<Text>,
        build_id -> Nullable<Text>,
        signature -> Nullable<Text>,
        occurrences -> Integer,
        attempts -> Integer,
        lease_owner -> Nullable<Text>,
        lease_until -> Nullable<UtcTimestamp>,
        next_attempt_at -> Nullable<UtcTimestamp>,
        turn_at -> Nullable<UtcTimestamp>,
        uploaded_at -> UtcTimestamp,
        last_seen_at -> Nullable<UtcTimestamp>,
        parsed_at -> Nullable<UtcTimestamp>,
        created_at -> UtcTimestamp,
        updated_at -> UtcTimestamp,
    }
}

diesel::table! {
    use diesel::sql_types::{BigInt, Text};
    use crate::timestamps::UtcTimestamp;

    known_builds (id) {
        id -> BigInt,
        elf_sha256 -> Text,
        model_code -> Text,
        version -> Text,
        last_referenced_at -> UtcTimestamp,
    }
}

diesel::table! {
    use diesel::sql_types::{BigInt, Integer, Nullable, Text};
    use crate::timestamps::UtcTimestamp;

    symbol_indexes (elf_sha256) {
        elf_sha256 -> Text,
        format -> Integer,
        size -> Nullable<BigInt>,
        sha256 -> Nullable<Text>,
        error -> Nullable<Text>,
        attempts -> Integer,
        due_at -> UtcTimestamp,
        lease_owner -> Nullable<Text>,
        lease_until -> Nullable<UtcTimestamp>,
    }
}

diesel::table! {
    use diesel::sql_types::{BigInt, Text};
    use crate::timestamps::UtcTimestamp;

    rom_elfs (id) {
        id -> BigInt,
        chip -> Text,
        name -> Text,
        size -> BigInt,
        sha256 -> Text,
        uploaded_at -> UtcTimestamp,
    }
}

diesel::table! {
    use diesel::sql_types::{BigInt, Integer, Nullable, Text};
    use crate::timestamps::UtcTimestamp;

    outbox (id) {
        id -> BigInt,
        object_key -> Text,
        scope -> Nullable<Text>,
        queued_at -> UtcTimestamp,
        attempts -> Integer,
        next_attempt_at -> UtcTimestamp,
        lease_owner -> Nullable<Text>,
        lease_until -> Nullable<UtcTimestamp>,
    }
}

diesel::table! {
    use diesel::sql_types::Text;
    use crate::timestamps::UtcTimestamp;

    leases (name) {
        name -> Text,
        scope -> Text,
        owner -> Text,
        expires_at -> UtcTimestamp,
    }
}

diesel::table! {
    use diesel::sql_types::{BigInt, Nullable, Text};
    use crate::timestamps::UtcTimestamp;

    audit_records (id) {
        id -> BigInt,
        at -> UtcTimestamp,
        actor_subject -> Text,
        actor_name -> Nullable<Text>,
        actor_kind -> Text,
        action -> Text,
        target_type -> Text,
        target_id -> Text,
        correlation_id -> Text,
        remote_address -> Nullable<Text>,
        outcome -> Text,
    }
}

diesel::table! {
    use diesel::sql_types::Text;
    use crate::timestamps::UtcTimestamp;

    identity_keys (issuer) {
        issuer -> Text,
        keys -> Text,
        saved_at -> UtcTimestamp,
    }
}

diesel::table! {
    use diesel::sql_types::{Binary, Nullable, Text};
    use crate::timestamps::UtcTimestamp;

    session_refreshes (token_sha256) {
        token_sha256 -> Text,
        owner -> Text,
        sealed -> Nullable<Binary>,
        expires_at -> UtcTimestamp,
    }
}

diesel::joinable!(devices -> device_models (device_model_id));
diesel::joinable!(firmware_versions -> device_models (device_model_id));
diesel::joinable!(coredumps -> devices (device_id));
diesel::allow_tables_to_appear_in_same_query!(
    device_models,
    devices,
    firmware_versions,
    coredumps,
    known_builds,
    symbol_indexes,
    outbox,
    leases,
);
