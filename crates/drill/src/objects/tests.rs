use tempfile::TempDir;

use super::super::dice::Dice;
use super::super::events::{Events, Post, Span};
use super::super::fleet::Device;
use super::super::rows::DumpRow;
use super::*;

const DUMP: &[u8] = b"a dump";

/// A store of files, beside rows that speak of them.
struct Bench {
    directory: TempDir,
    fleet: Fleet,
    material: Material,
    dumps: Dumps,
    rows: Rows,
}

impl Bench {
    /// One dump, and one version at the keys of its own.
    fn new() -> Self {
        let device = Device { id: 1, key: "abcd2345".into(), model: 0 };
        let fleet = Fleet { models: vec![1, 2], devices: vec![device] };
        let material = Material::new(&mut Dice::new(1));
        let set = &material.sets[0];
        let version = VersionRow {
            id: 1,
            model_id: 1,
            version: set.version.into(),
            facts: set.facts,
            staging: None,
            uploaded_at: "1".into(),
        };
        let row = DumpRow::of(1, Fact::of(DUMP), 1);
        let rows = Rows { dumps: vec![row], versions: vec![version], ..Rows::default() };
        let mut bench = Self {
            directory: TempDir::new().unwrap(),
            fleet,
            material,
            dumps: Dumps::default(),
            rows,
        };
        bench.send();
        bench
    }

    /// The dump was sent by the device.
    fn send(&mut self) {
        let fact = Fact::of(DUMP);
        let span = Span { sent: std::time::Duration::ZERO, answered: None };
        let (chip, version) = ("esp32s3".into(), "1.0.0".into());
        let (sha256, size) = (fact.sha256, fact.size);
        let post =
            Post { device: 0, sha256, size, chip, version, span, id: None, is_rescued: false };
        let events = Events { posts: vec![post], ..Events::default() };
        let judged = (&self.fleet, &mut Findings::default());
        self.dumps.judge(&events, &Rows::default(), judged).unwrap();
    }

    fn place(&self, key: &str, bytes: &[u8]) {
        let path = self.directory.path().join(key);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
    }

    fn objects(&self) -> Objects {
        Objects::read(self.directory.path()).unwrap()
    }

    /// What is wrong with files nobody sent.
    fn strange(&self) -> usize {
        let (fleet, material, dumps) = (&self.fleet, &self.material, &self.dumps);
        let mut findings = Findings::default();
        self.objects().check_whole(&Known { fleet, material, dumps }, &mut findings);
        findings.violations_of(Rule::WholeFiles)
    }

    /// What is wrong with objects of rows.
    fn broken(&self) -> usize {
        let mut findings = Findings::default();
        self.objects().check_rows(&self.rows, &self.fleet, (Rule::Objects, &mut findings)).unwrap();
        findings.violations_of(Rule::Objects)
    }
}

#[test]
fn files_being_written_are_told_from_whole_ones() {
    let bench = Bench::new();
    bench.place("coredumps/abcd2345/1.dmp", DUMP);
    bench.place("coredumps/abcd2345/2.dmp#1", &DUMP[..3]);
    bench.place(LOCK, b"");
    let objects = bench.objects();
    assert_eq!(objects.keys().into_iter().collect::<Vec<_>>(), ["coredumps/abcd2345/1.dmp"]);
    let temporary = bench.directory.path().join("coredumps/abcd2345/2.dmp#1");
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
    let keys = referenced(&bench.rows, &bench.fleet).unwrap();
    let staged = keys.iter().filter(|(key, _)| key.starts_with("staging/00ff/")).count();
    assert_eq!((keys.len(), staged), (6, 5));
}

#[test]
fn a_part_of_a_file_and_a_body_nobody_sent_are_found() {
    let bench = Bench::new();
    bench.place("coredumps/abcd2345/1.dmp", DUMP);
    bench.place("coredock/owner", b"anything");
    assert_eq!(bench.strange(), 0);
    bench.place("coredumps/abcd2345/1.dmp", &DUMP[..4]);
    assert_eq!(bench.strange(), 1);
    bench.place("coredumps/22222222/2.dmp", DUMP);
    bench.place("coredumps/notes", b"");
    let version = bench.material.sets[0].version;
    bench.place(&format!("firmware/{}/{version}/firmware.bin", MODELS[0]), b"half");
    assert_eq!(bench.strange(), 4);
}

#[test]
fn only_what_rows_mean_outlives_a_sweep() {
    let mut bench = Bench::new();
    bench.rows.versions.clear();
    bench.place("coredumps/abcd2345/1.dmp", DUMP);
    bench.place(OWNER, b"anything");
    let swept = |bench: &Bench| {
        let mut findings = Findings::default();
        let checked = (&bench.fleet, &mut findings);
        check_swept(&bench.objects(), &bench.rows, checked).unwrap();
        findings.violations_of(Rule::Garbage)
    };
    assert_eq!(swept(&bench), 0);
    bench.place("coredumps/abcd2345/2.dmp", DUMP);
    assert_eq!(swept(&bench), 1);
    bench.rows.builds.push("0".repeat(64));
    assert_eq!(swept(&bench), 2);
}
