//! The files of an attempt in the shared directory (contract §6.11).

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::time::Duration;

use bytes::Bytes;
use coredock_domain::Symbolizer;
use coredock_domain::artifacts::store::ArtifactStoreError;
use coredock_domain::symbolication::symbolizer::{
    CrashReport, SymbolicateCoredump, SymbolizerError,
};
use coredock_testkit::sidecar::Reply;
use futures::join;
use rustix::fs::Mode;
use tokio::time::timeout;

use crate::support::{
    AMPLE, SHORT, Setting, elf_of, job, names, stalling_elf, symbolizer, wait_for_names,
};

fn assert_unavailable(result: &Result<CrashReport, SymbolizerError>) {
    assert!(matches!(result, Err(SymbolizerError::Unavailable { .. })), "{result:?}");
}

#[tokio::test]
async fn v47_two_dumps_of_one_model_at_once_each_see_their_own_elf() {
    let setting = Setting::new().await;
    setting.sidecar.script([Reply::hang(), Reply::hang()]);
    let watch = async {
        let calls = setting.sidecar.wait_for_calls(2).await;
        let all = ["coredump_1.dmp", "coredump_2.dmp", "demo-1.elf", "demo-2.elf"];
        assert_eq!(names(setting.shared.path()), all);
        setting.sidecar.release();
        calls
    };
    let (first, second, mut calls) = join!(
        setting.symbolizer.symbolicate(job(1, b"version one")),
        setting.symbolizer.symbolicate(job(2, b"version two, longer")),
        watch,
    );
    assert_eq!((first.unwrap().text, second.unwrap().text), ("report".into(), "report".into()));
    calls.sort_by_key(|call| call.core.clone());
    let seen = calls.iter().map(|call| (call.elf.as_str(), call.elf_bytes.as_deref().unwrap()));
    let expected: [(_, &[u8]); 2] =
        [("demo-1.elf", b"version one"), ("demo-2.elf", b"version two, longer")];
    assert!(seen.eq(expected), "{calls:?}");
    assert_eq!(setting.sidecar.max_running(), 2);
    assert!(!setting.sidecar.same_core_at_once());
    assert_eq!(names(setting.shared.path()), [""; 0]);
}

#[tokio::test]
async fn all_users_may_read_the_files_whatever_the_umask_of_the_process() {
    rustix::process::umask(Mode::RWXG | Mode::RWXO);
    let setting = Setting::new().await;
    setting.sidecar.script([Reply::hang()]);
    let watch = async {
        setting.sidecar.wait_for_calls(1).await;
        for name in ["coredump_17.dmp", "demo-17.elf"] {
            let mode = fs::metadata(setting.shared.path().join(name)).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o644, "{name}");
        }
        setting.sidecar.release();
    };
    let (attempt, ()) = join!(setting.attempt(), watch);
    assert!(attempt.is_ok());
}

#[tokio::test]
async fn a_large_elf_arrives_whole() {
    let setting = Setting::new().await;
    let piece = Bytes::from((0..=255).cycle().take(64 * 1024 - 1).collect::<Vec<u8>>());
    let pieces: Vec<_> = (0..150).map(|_| Ok(piece.clone())).collect();
    let whole = piece.repeat(150);
    let job = SymbolicateCoredump { elf: elf_of(whole.len(), pieces), ..job(1, b"") };
    setting.symbolizer.symbolicate(job).await.unwrap();
    let call = setting.sidecar.calls().remove(0);
    assert!(call.elf_bytes.unwrap() == whole, "the sidecar saw another ELF");
}

#[tokio::test]
async fn a_file_has_its_name_only_once_it_is_whole_and_cancelling_removes_all() {
    let setting = Setting::new().await;
    let job = SymbolicateCoredump { elf: stalling_elf(), ..job(1, b"") };
    tokio::select! {
        result = setting.symbolizer.symbolicate(job) => panic!("{result:?}"),
        () = wait_for_names(setting.shared.path(), &[".demo-1.elf.part", "coredump_1.dmp"]) => {}
    }
    assert_eq!(names(setting.shared.path()), [""; 0]);
    assert!(setting.sidecar.calls().is_empty());
}

#[tokio::test]
async fn cancelling_during_the_call_removes_both_files() {
    let setting = Setting::new().await;
    setting.sidecar.script([Reply::hang()]);
    let watch = async {
        let calls = setting.sidecar.wait_for_calls(1).await;
        assert_eq!(names(setting.shared.path()), ["coredump_1.dmp", "demo-1.elf"]);
        assert_eq!(calls[0].elf_bytes.as_deref(), Some(&b"elf"[..]));
    };
    tokio::select! {
        result = setting.symbolizer.symbolicate(job(1, b"elf")) => panic!("{result:?}"),
        () = watch => {}
    }
    assert_eq!(names(setting.shared.path()), [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_attempt_cancelled_at_any_moment_leaves_nothing() {
    let setting = Setting::new().await;
    let mut finished = 0;
    for step in 0..400 {
        let attempt = setting.symbolizer.symbolicate(job(step, b"an elf in pieces"));
        let limit = Duration::from_micros(step.unsigned_abs() * 10);
        finished += usize::from(timeout(limit, attempt).await.is_ok());
        assert_eq!(names(setting.shared.path()), [""; 0]);
    }
    // File operations which are still queued on other threads create nothing.
    let last = setting.symbolizer.symbolicate(job(1000, b"elf")).await;
    assert!(last.is_ok());
    assert_eq!(names(setting.shared.path()), [""; 0]);
    assert!(finished < 400, "nothing was cancelled");
}

#[tokio::test]
async fn a_store_that_fails_does_not_count_as_an_attempt() {
    let setting = Setting::new().await;
    let outage = ArtifactStoreError::unavailable("read", "symbols/x", "connection reset");
    let pieces = vec![Ok(Bytes::from_static(b"piece")), Err(outage)];
    let job = SymbolicateCoredump { elf: elf_of(1000, pieces), ..job(1, b"") };
    assert_unavailable(&setting.symbolizer.symbolicate(job).await);
    assert_eq!(names(setting.shared.path()), [""; 0]);
    assert!(setting.sidecar.calls().is_empty());
}

#[tokio::test]
async fn an_elf_of_another_length_is_never_handed_over() {
    let setting = Setting::new().await;
    for size in [0, 4, 6, 1000] {
        let elf = elf_of(size, vec![Ok(Bytes::from_static(b"piece"))]);
        let job = SymbolicateCoredump { elf, ..job(1, b"") };
        assert_unavailable(&setting.symbolizer.symbolicate(job).await);
        assert_eq!(names(setting.shared.path()), [""; 0]);
    }
    assert!(setting.sidecar.calls().is_empty());
}

#[tokio::test]
async fn a_store_that_stalls_until_the_time_is_over_does_not_count_as_an_attempt() {
    let setting = Setting::with_timeout(SHORT).await;
    let job = SymbolicateCoredump { elf: stalling_elf(), ..job(1, b"") };
    assert_unavailable(&setting.symbolizer.symbolicate(job).await);
    assert_eq!(names(setting.shared.path()), [""; 0]);
    assert!(setting.sidecar.calls().is_empty());
}

#[tokio::test]
async fn a_directory_that_cannot_be_written_does_not_count_as_an_attempt() {
    let setting = Setting::new().await;
    let absent = setting.shared.path().join("absent");
    let file = setting.shared.path().join("file");
    fs::write(&file, "not a directory").unwrap();
    for directory in [&absent, &file] {
        let symbolizer = symbolizer(setting.sidecar.url(), directory, AMPLE);
        assert_unavailable(&symbolizer.symbolicate(job(1, b"elf")).await);
    }
    assert_eq!(names(setting.shared.path()), ["file"]);
    assert!(setting.sidecar.calls().is_empty());
}

#[tokio::test]
async fn a_name_that_is_taken_by_a_directory_does_not_count_as_an_attempt() {
    let setting = Setting::new().await;
    fs::create_dir(setting.shared.path().join("demo-1.elf")).unwrap();
    assert_unavailable(&setting.symbolizer.symbolicate(job(1, b"elf")).await);
    assert_eq!(names(setting.shared.path()), ["demo-1.elf"]);
    assert!(setting.sidecar.calls().is_empty());
}

#[tokio::test]
async fn files_of_an_attempt_that_died_are_replaced() {
    let setting = Setting::new().await;
    for name in [".coredump_17.dmp.part", "coredump_17.dmp", ".demo-17.elf.part", "demo-17.elf"] {
        fs::write(setting.shared.path().join(name), "left by an attempt that died").unwrap();
    }
    setting.attempt().await.unwrap();
    let call = setting.sidecar.calls().remove(0);
    assert_eq!(call.core_bytes.as_deref(), Some(&b"dump 17"[..]));
    assert_eq!(call.elf_bytes.as_deref(), Some(&b"the elf"[..]));
}

#[tokio::test]
async fn nothing_is_written_through_links() {
    let setting = Setting::new().await;
    let outside = tempfile::NamedTempFile::new().unwrap();
    fs::write(outside.path(), "precious").unwrap();
    for name in [".coredump_17.dmp.part", "coredump_17.dmp", "demo-17.elf"] {
        symlink(outside.path(), setting.shared.path().join(name)).unwrap();
    }
    setting.attempt().await.unwrap();
    assert_eq!(fs::read(outside.path()).unwrap(), b"precious");
    let call = setting.sidecar.calls().remove(0);
    assert_eq!(call.core_bytes.as_deref(), Some(&b"dump 17"[..]));
}
