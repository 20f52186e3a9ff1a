use tempfile::TempDir;

use super::super::{DeviceRow, DumpRow, ModelRow};
use super::*;

const DUMP: &[u8] = b"a dump";

/// A store of files, and rows which refer to its objects.
struct Bench {
    directory: TempDir,
    rows: Rows,
}

impl Bench {
    /// One dump, and one version without staged objects.
    fn new() -> Self {
        let rows = Rows {
            models: vec![ModelRow { id: 1, code: "demo".into(), current: None }],
            devices: vec![DeviceRow { id: 1, model_id: 1, key: "abcd2345".into() }],
            dumps: vec![DumpRow {
                id: 1,
                device_id: 1,
                chip: "esp32s3".into(),
                firmware_version: "1.0.0".into(),
                fact: Fact::of(DUMP),
                parse_status: "PARSED".into(),
                error_code: None,
                attempts: 1,
                occurrences: 1,
                uploaded_at: "1".into(),
                is_leased: false,
            }],
            versions: vec![VersionRow {
                id: 1,
                model_id: 1,
                version: "1.0.0".into(),
                facts: [Fact::of(b"an artifact"); 5],
                staging: None,
                uploaded_at: "1".into(),
            }],
            ..Rows::default()
        };
        Self { directory: TempDir::new().unwrap(), rows }
    }

    fn place(&self, key: &str, bytes: &[u8]) {
        let path = self.directory.path().join(key);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
    }

    fn objects(&self) -> Objects {
        Objects::read(self.directory.path()).unwrap()
    }

    /// Number of objects of rows which are missing or differ.
    fn broken(&self) -> usize {
        let mut findings = Findings::default();
        self.objects().check_rows(&self.rows, Rule::Objects, &mut findings).unwrap();
        findings.violations_of(Rule::Objects)
    }
}

#[test]
fn unfinished_files_are_distinguished_from_whole_ones() {
    let bench = Bench::new();
    bench.place("coredumps/abcd2345/1.dmp", DUMP);
    bench.place("coredumps/abcd2345/2.dmp.a1B2c3D4e5.part", &DUMP[..3]);
    bench.place(LOCK, b"");
    let objects = bench.objects();
    let keys: Vec<_> = objects.iter().map(|(key, _)| key).collect();
    assert_eq!(keys, ["coredumps/abcd2345/1.dmp"]);
    let temporary = bench.directory.path().join("coredumps/abcd2345/2.dmp.a1B2c3D4e5.part");
    assert_eq!(objects.temporary, [temporary]);
}

#[test]
fn a_missing_or_changed_object_of_a_row_is_found() {
    let mut bench = Bench::new();
    bench.rows.versions.clear();
    assert_eq!(bench.broken(), 1);
    bench.place("coredumps/abcd2345/1.dmp", b"A dump");
    assert_eq!(bench.broken(), 1);
    bench.place("coredumps/abcd2345/1.dmp", DUMP);
    assert_eq!(bench.broken(), 0);
}

#[test]
fn a_version_needs_five_artifacts_and_its_symbols_where_its_row_says() {
    let mut bench = Bench::new();
    bench.rows.dumps.clear();
    assert_eq!(bench.broken(), 6);
    bench.rows.versions[0].staging = Some("00ff".into());
    let keys = bench.rows.objects().unwrap();
    let staged = keys.iter().filter(|(key, _)| key.to_string().starts_with("staging/00ff/"));
    assert_eq!((keys.len(), staged.count()), (6, 5));
}

#[test]
fn only_objects_of_rows_outlive_a_sweep() {
    let mut bench = Bench::new();
    bench.rows.versions.clear();
    bench.place("coredumps/abcd2345/1.dmp", DUMP);
    bench.place("coredock/owner", b"anything");
    let swept = |bench: &Bench| {
        let mut findings = Findings::default();
        check_swept(&bench.objects(), &bench.rows, &mut findings).unwrap();
        findings.violations_of(Rule::Garbage)
    };
    assert_eq!(swept(&bench), 0);
    bench.place("coredumps/abcd2345/2.dmp", DUMP);
    assert_eq!(swept(&bench), 1);
    bench.rows.builds.push(Fact::of(b"a build").sha256);
    assert_eq!(swept(&bench), 2);
}
