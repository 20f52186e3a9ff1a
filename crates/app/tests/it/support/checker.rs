//! What must hold of any data a server leaves behind, read from rows and files alone.

use std::path::Path;

use coredock_domain::digest::Sha256Digest;

use super::rows::Rows;

/// Checks I1, I5, I8 and I9.
pub(crate) fn check(rows: &Rows, artifacts: &Path, kept_versions: usize) {
    check_objects(rows, artifacts);
    check_pointers(rows);
    check_retention(rows, kept_versions);
    assert_eq!(rows.count("firmware_versions", "staging_upload_id IS NOT NULL"), 0);
}

/// I1, and with an empty outbox I5: every visible row has its objects.
fn check_objects(rows: &Rows, artifacts: &Path) {
    for (column, name) in [
        ("bin_", "firmware.bin"),
        ("elf_", "firmware.elf"),
        ("map_", "firmware.map"),
        ("sdkconfig_", "sdkconfig"),
        ("version_json_", "version.json"),
    ] {
        let query = format!(
            "SELECT 'firmware/' || m.code || '/' || v.version || '/{name} ' || v.{column}size || ' ' \
             || v.{column}sha256 AS value FROM firmware_versions v \
             JOIN device_models m ON m.id = v.device_model_id"
        );
        rows.texts(&query).iter().for_each(|line| check_object(artifacts, line));
    }
    let symbols = "SELECT 'symbols/' || elf_sha256 || '/firmware.elf ' || elf_size || ' ' \
                   || elf_sha256 AS value FROM firmware_versions";
    rows.texts(symbols).iter().for_each(|line| check_object(artifacts, line));
    let indexes = "SELECT 'symbols/' || elf_sha256 || '/index-' || format || ' ' || size || ' ' \
                   || sha256 AS value FROM symbol_indexes WHERE sha256 IS NOT NULL";
    rows.texts(indexes).iter().for_each(|line| check_object(artifacts, line));
    let elfs_of_roms =
        "SELECT 'rom/' || sha256 || '.elf ' || size || ' ' || sha256 AS value FROM rom_elfs";
    rows.texts(elfs_of_roms).iter().for_each(|line| check_object(artifacts, line));
}

/// I1 and I9 of dumps: each row has its object, and rows beyond the limit are being parsed.
pub(crate) fn check_dumps(rows: &Rows, artifacts: &Path, kept_coredumps: usize) {
    let dumps = "SELECT 'coredumps/' || d.key || '/' || c.id || '.dmp ' || c.size || ' ' || c.sha256 \
                 AS value FROM coredumps c JOIN devices d ON d.id = c.device_id";
    rows.texts(dumps).iter().for_each(|line| check_object(artifacts, line));
    let surplus = format!(
        "SELECT CAST(id AS text) AS value FROM (SELECT c.*, row_number() OVER \
         (PARTITION BY device_id ORDER BY uploaded_at DESC, id DESC) AS rank FROM coredumps c) ranked \
         WHERE rank > {kept_coredumps} AND lease_until IS NULL"
    );
    assert_eq!(rows.texts(&surplus), Vec::<String>::new(), "I9");
}

/// `line` is `KEY SIZE SHA256`; the key may hold spaces.
fn check_object(artifacts: &Path, line: &str) {
    let mut words = line.rsplitn(3, ' ');
    let (sha256, size, key) = (words.next().unwrap(), words.next().unwrap(), words.next().unwrap());
    let bytes = std::fs::read(artifacts.join(key))
        .unwrap_or_else(|error| panic!("I1: {key} of a visible row: {error}"));
    assert_eq!(bytes.len().to_string(), size, "I1: size of {key}");
    assert_eq!(Sha256Digest::of(&bytes).to_string(), sha256, "I1: SHA-256 of {key}");
}

/// I8: a pointer names a visible version row of the same model.
fn check_pointers(rows: &Rows) {
    let dangling = "firmware_version IS NOT NULL AND NOT EXISTS (SELECT 1 FROM firmware_versions v \
                    WHERE v.device_model_id = device_models.id \
                    AND v.version = device_models.firmware_version)";
    assert_eq!(rows.count("device_models", dangling), 0, "I8");
}

/// I9: versions beyond the limit are current or needed by a pending dump of their model.
fn check_retention(rows: &Rows, kept_versions: usize) {
    let surplus = format!(
        "(SELECT v.*, row_number() OVER (PARTITION BY device_model_id \
         ORDER BY uploaded_at DESC, id DESC) AS rank FROM firmware_versions v) v \
         JOIN device_models m ON m.id = v.device_model_id \
         WHERE v.rank > {kept_versions} AND v.version != m.firmware_version \
         AND NOT EXISTS (SELECT 1 FROM coredumps c JOIN devices d ON d.id = c.device_id \
         WHERE d.device_model_id = m.id AND c.parse_status = 'PENDING' \
         AND c.firmware_version = v.version)"
    );
    let query = format!("SELECT v.version AS value FROM {surplus}");
    assert_eq!(rows.texts(&query), Vec::<String>::new(), "I9");
}

/// Paths of all files under the artifact prefixes, sorted.
pub(crate) fn stored_keys(artifacts: &Path) -> Vec<String> {
    let mut keys = Vec::new();
    for prefix in ["firmware", "symbols", "rom", "coredumps", "staging"] {
        collect(artifacts, &artifacts.join(prefix), &mut keys);
    }
    keys.sort();
    keys
}

fn collect(root: &Path, directory: &Path, keys: &mut Vec<String>) {
    let Ok(entries) = std::fs::read_dir(directory) else { return };
    for entry in entries {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(root, &path, keys);
        } else {
            keys.push(path.strip_prefix(root).unwrap().to_str().unwrap().to_owned());
        }
    }
}
