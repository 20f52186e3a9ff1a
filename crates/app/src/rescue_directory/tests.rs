use bytes::Bytes;
use coredock_domain::audit::{Actor, ActorKind, Change, Origin};
use coredock_domain::coredumps::coredump::{Chip, ReportedVersion};
use coredock_domain::identity::device::DeviceClaim;
use coredock_domain::intake::receive::Delivery;
use coredock_domain::timestamp::Timestamp;

use super::*;

const BUDGET: u64 = 1 << 20;

fn dump(body: &'static str, received: i64, id: Option<i64>) -> RescuedDump {
    let actor = Actor { subject: "abcd2345".into(), name: None, kind: ActorKind::Device };
    let origin = Origin { actor, correlation_id: "c".into(), remote_address: Some("::1".into()) };
    let delivery = Delivery {
        device: DeviceClaim::of_client("iotdevice-demo-abcd2345").unwrap(),
        chip: Chip::parse("esp32").unwrap(),
        firmware_version: ReportedVersion::parse("é 1+").unwrap(),
        body: Bytes::from(body).into(),
        change: Change { at: Timestamp::from_micros(received), origin },
    };
    RescuedDump { delivery, id }
}

fn names(directory: &RescueDirectory) -> Vec<RescueName> {
    directory.list_blocking().unwrap()
}

fn files(directory: &RescueDirectory) -> Vec<PathBuf> {
    let entries = fs::read_dir(&*directory.path).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<_> = entries.filter(|path| !path.ends_with(LOCK_NAME)).collect();
    files.sort();
    files
}

fn bytes(body: &ArtifactBody) -> &[u8] {
    match body {
        ArtifactBody::Bytes(body) => body.bytes(),
        ArtifactBody::File(_) => panic!("a body in a file"),
    }
}

#[tokio::test]
async fn a_dump_is_read_as_it_was_saved_with_the_last_id_it_was_given() {
    let root = tempfile::tempdir().unwrap();
    let directory = RescueDirectory::new(&root.path().join("new/rescue"), BUDGET);
    assert_eq!(names(&directory), []);
    let saved = dump("bytes", 5, Some(7));
    directory.save(&saved).await.unwrap();
    let name = names(&directory).remove(0);
    for id in [None, Some(8), Some(9)] {
        let opened = directory.open(&name).await.unwrap().unwrap();
        if let Some(id) = id {
            opened.file.fix_id(id).await.unwrap();
        }
        drop(opened);
        let opened = directory.open_blocking(&name).unwrap().unwrap();
        assert_eq!(opened.dump.id, id.or(Some(7)));
        let (read, saved) = (&opened.dump.delivery, &saved.delivery);
        assert_eq!((&read.device, &read.change), (&saved.device, &saved.change));
        assert_eq!((&read.chip, &read.firmware_version), (&saved.chip, &saved.firmware_version));
        assert_eq!(bytes(&read.body), b"bytes");
    }
    directory.open(&name).await.unwrap().unwrap().file.remove().await.unwrap();
    assert!(directory.open(&name).await.unwrap().is_none());
    assert_eq!(files(&directory), Vec::<PathBuf>::new());
}

#[test]
fn the_oldest_dump_comes_first_and_a_locked_dump_is_skipped() {
    let root = tempfile::tempdir().unwrap();
    let (one, other) =
        (RescueDirectory::new(root.path(), BUDGET), RescueDirectory::new(root.path(), 0));
    drop(one.save_blocking(&dump("young", 20, None)).unwrap());
    let locked = one.save_blocking(&dump("old", 3, None)).unwrap();
    let waiting = names(&other);
    assert!(other.open_blocking(&waiting[0]).unwrap().is_none());
    drop(locked);
    let opened = other.open_blocking(&waiting[0]).unwrap().unwrap();
    assert_eq!(bytes(&opened.dump.delivery.body), b"old");
    assert!(one.open_blocking(&waiting[0]).unwrap().is_none());
    assert!(one.open_blocking(&waiting[1]).unwrap().is_some());
}

#[test]
fn every_file_in_the_directory_counts_for_the_budget() {
    let root = tempfile::tempdir().unwrap();
    let probe = RescueDirectory::new(root.path(), BUDGET);
    drop(probe.save_blocking(&dump("four", 1, Some(1))).unwrap());
    let one = files(&probe)[0].metadata().unwrap().len();
    fs::write(root.path().join("x.damaged"), [0; 10]).unwrap();
    let full = |budget| {
        let saved =
            RescueDirectory::new(root.path(), budget).save_blocking(&dump("four", 1, Some(2)));
        matches!(saved, Err(RescueError::Full { .. }))
    };
    assert!(full(2 * one + 9));
    assert_eq!(files(&probe).len(), 2);
    assert!(!full(2 * one + 10));
    assert!(full(0));
}

#[test]
fn files_of_dead_writers_are_removed_and_files_being_written_stay() {
    let root = tempfile::tempdir().unwrap();
    let directory = RescueDirectory::new(root.path(), BUDGET);
    let writing = directory.create(&root.path().join("2.part"), 10).unwrap().unwrap();
    fs::write(root.path().join("1.part"), "cut").unwrap();
    assert_eq!(names(&directory), []);
    assert_eq!(files(&directory), [root.path().join("2.part")]);
    drop(writing);
    assert_eq!(names(&directory), []);
    assert_eq!(files(&directory), Vec::<PathBuf>::new());
}

#[test]
fn a_damaged_file_is_set_aside() {
    let whole = {
        let dump = dump("the body", 1, None);
        let head = format::head(&dump).unwrap();
        [head.as_slice(), b"the body"].concat()
    };
    for end in 0..whole.len() {
        assert!(matches!(format::decode(whole[..end].to_vec()), Err(Unreadable::Damaged(_))));
    }
    for at in (0..whole.len()).filter(|at| !(8..12).contains(at)) {
        let mut flipped = whole.clone();
        flipped[at] ^= 1;
        assert!(matches!(format::decode(flipped), Err(Unreadable::Damaged(_))), "{at}");
    }
    let root = tempfile::tempdir().unwrap();
    let directory = RescueDirectory::new(root.path(), BUDGET);
    fs::write(root.path().join("1.dump"), &whole[..60]).unwrap();
    let name = names(&directory).remove(0);
    assert!(matches!(directory.open_blocking(&name), Err(RescueError::Damaged { .. })));
    assert_eq!(names(&directory), []);
    assert_eq!(files(&directory), [root.path().join("1.damaged")]);
}

#[test]
fn a_mark_that_was_cut_does_not_count_and_is_overwritten() {
    let root = tempfile::tempdir().unwrap();
    let directory = RescueDirectory::new(root.path(), BUDGET);
    drop(directory.save_blocking(&dump("body", 1, Some(5))).unwrap());
    let path = files(&directory).remove(0);
    File::options().append(true).open(&path).unwrap().write_all(&format::mark(6)[..15]).unwrap();
    let name = names(&directory).remove(0);
    let opened = directory.open_blocking(&name).unwrap().unwrap();
    assert_eq!(opened.dump.id, Some(5));
    drop(opened);
    let Decoded { end, .. } = format::decode(fs::read(&path).unwrap()).unwrap();
    let locked = LockedFile::new(open_locked(&path).unwrap().unwrap(), path, end);
    locked.fix_id_blocking(7).unwrap();
    drop(locked);
    assert_eq!(directory.open_blocking(&name).unwrap().unwrap().dump.id, Some(7));
}

#[test]
fn a_file_of_a_newer_version_waits() {
    let root = tempfile::tempdir().unwrap();
    let directory = RescueDirectory::new(root.path(), BUDGET);
    fs::write(root.path().join("1.dump"), b"CDRESCUE\x02\0\0\0").unwrap();
    let name = names(&directory).remove(0);
    assert!(matches!(directory.open_blocking(&name), Err(RescueError::Unavailable { .. })));
    assert_eq!(names(&directory), [name]);
}
