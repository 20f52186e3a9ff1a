//! Removal of files that aborted attempts left.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::time::{Duration, SystemTime};

use crate::support::{AMPLE, Setting, names, symbolizer};

const HOUR: Duration = Duration::from_hours(1);

fn write(directory: &Path, name: impl AsRef<Path>, modified: SystemTime) {
    let file = File::create(directory.join(name)).unwrap();
    file.set_modified(modified).unwrap();
}

#[tokio::test]
async fn old_files_of_attempts_are_removed_and_young_ones_stay() {
    let setting = Setting::new().await;
    let directory = setting.shared.path();
    let limit = SystemTime::now() - HOUR;
    let old = ["coredump_1.dmp", "demo-1.elf", ".coredump_2.dmp.part", ".esp32_c3-2.elf.part"];
    let young = [".coredump_4.dmp.part", "coredump_3.dmp", "demo-3.elf"];
    for name in old {
        write(directory, name, limit - Duration::from_millis(1));
    }
    for name in young {
        write(directory, name, limit);
    }
    assert_eq!(setting.symbolizer.clean_leftovers(limit).await.unwrap(), old.len());
    assert_eq!(names(directory), young);
    assert_eq!(setting.symbolizer.clean_leftovers(limit).await.unwrap(), 0);
}

#[tokio::test]
async fn other_files_stay_however_old() {
    let setting = Setting::new().await;
    let directory = setting.shared.path();
    let old = SystemTime::UNIX_EPOCH + HOUR;
    for name in ["notes.txt", "demo.elf", "coredump_x.dmp", "coredump_01.dmp", "A-1.elf", ".x.part"]
    {
        write(directory, name, old);
    }
    write(directory, OsStr::from_bytes(b"demo\xff-1.elf"), old);
    fs::create_dir(directory.join("coredump_5.dmp")).unwrap();
    write(&directory.join("coredump_5.dmp"), "coredump_6.dmp", old);
    let before = names(directory);
    let now = SystemTime::now() + HOUR;
    assert_eq!(setting.symbolizer.clean_leftovers(now).await.unwrap(), 0);
    assert_eq!(names(directory), before);
    assert!(directory.join("coredump_5.dmp/coredump_6.dmp").exists());
}

#[tokio::test]
async fn of_a_link_only_the_link_is_removed() {
    let setting = Setting::new().await;
    let elsewhere = tempfile::tempdir().unwrap();
    write(elsewhere.path(), "precious", SystemTime::UNIX_EPOCH);
    symlink(elsewhere.path().join("precious"), setting.shared.path().join("demo-1.elf")).unwrap();
    symlink(elsewhere.path(), setting.shared.path().join("demo-2.elf")).unwrap();
    symlink("nowhere", setting.shared.path().join("demo-3.elf")).unwrap();
    let now = SystemTime::now() + HOUR;
    assert_eq!(setting.symbolizer.clean_leftovers(now).await.unwrap(), 3);
    assert_eq!(names(setting.shared.path()), [""; 0]);
    assert_eq!(names(elsewhere.path()), ["precious"]);
}

#[tokio::test]
async fn a_directory_that_is_not_there_is_an_error() {
    let setting = Setting::new().await;
    let absent = setting.shared.path().join("absent");
    let symbolizer = symbolizer(setting.sidecar.url(), &absent, AMPLE);
    let error = symbolizer.clean_leftovers(SystemTime::now()).await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::NotFound);
}
