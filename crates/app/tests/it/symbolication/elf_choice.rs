//! The choice of the ELF for a dump, and dumps whose ELF is published late (contract §6.7, §6.12).

use std::collections::HashMap;

use coredock_domain::digest::Sha256Digest;
use coredock_domain::upkeep::sweep::SweepMode;
use coredock_testkit::coredumps::{CoreBuilder, gzip};

use crate::support::parsing::{Parsing, build_of, build_of_model};
use crate::support::wait_until;

#[tokio::test(flavor = "multi_thread")]
async fn dumps_of_a_version_that_is_published_late_are_parsed() {
    let bench = Parsing::start().await;
    let id = bench.deliver("1.2.3", "dump").await;
    let message = bench.wait_for_error(id, "ELF_NOT_FOUND").await;
    assert!(message.contains("demo") && message.contains("1.2.3"), "{message}");
    let other = bench.deliver("9.9.9", "other").await;
    bench.wait_for_error(other, "ELF_NOT_FOUND").await;
    bench.server.upload_demo("1.2.3").await.expect(200);
    bench.wait(id, "PARSED").await;
    assert_eq!(bench.report(id).await["attempts"], 1);
    assert_eq!(bench.server.dump(bench.demo.device.id, other).await["parse_status"], "ERROR");
    bench.finish().await;
}

/// A report with the ELF of another build would be wrong, and nothing would show it.
#[tokio::test(flavor = "multi_thread")]
async fn a_dump_is_parsed_with_the_very_build_it_came_from() {
    let bench = Parsing::start().await;
    let (old, new) = (&b"\x7fELF old"[..], &b"\x7fELF new"[..]);
    bench.server.upload("demo", build_of("1.0.0", old)).await.expect(200);
    bench.server.upload("demo", build_of("1.0.0", new)).await.expect(200);
    let core = |build: &str| CoreBuilder::new().build_id(&build[..9]).elf();
    let of_old = Sha256Digest::of(old).to_string();
    let id = bench.deliver("1.0.0", core(&of_old)).await;
    let dump = bench.wait(id, "PARSED").await;
    assert_eq!(dump["build_id"], of_old[..9]);
    assert_eq!(bench.sidecar.calls()[0].elf_bytes.as_deref(), Some(old));
    let late = &b"\x7fELF late"[..];
    let of_late = Sha256Digest::of(late).to_string();
    let id = bench.deliver("1.0.0", core(&of_late)).await;
    let message = bench.wait_for_error(id, "ELF_NOT_FOUND").await;
    assert!(message.contains(&of_late[..9]), "{message}");
    bench.server.upload("demo", build_of("7.0.0", late)).await.expect(200);
    bench.wait(id, "PARSED").await;
    assert_eq!(bench.sidecar.calls()[1].elf_bytes.as_deref(), Some(late));
    bench.finish().await;
}

/// Two texts whose digests begin with the same eight digits.
fn twins() -> [Vec<u8>; 2] {
    let mut seen: HashMap<String, Vec<u8>> = HashMap::new();
    for number in 0_u32.. {
        let elf = format!("\x7fELF twin {number}").into_bytes();
        let beginning = Sha256Digest::of(&elf).to_string()[..8].to_owned();
        if let Some(twin) = seen.insert(beginning, elf.clone()) {
            return [twin, elf];
        }
    }
    unreachable!("among some hundred thousand texts there are two")
}

#[tokio::test(flavor = "multi_thread")]
async fn between_two_builds_with_one_prefix_the_model_and_then_the_version_decides() {
    let bench = Parsing::start().await;
    let [one, two] = twins();
    let build = Sha256Digest::of(&one).to_string();
    bench.server.create_model("other").await;
    bench.server.upload("other", build_of_model("other", "1.0.0", &one)).await.expect(200);
    bench.server.upload("demo", build_of("1.0.0", &two)).await.expect(200);
    let core = |seed: u8| CoreBuilder::new().build_id(&build[..8]).segment(0, &[seed; 4]).elf();
    let elf_of = async |seed, version| {
        let id = bench.deliver(version, core(seed)).await;
        bench.wait(id, "PARSED").await;
        bench.sidecar.calls().last().unwrap().elf_bytes.clone().unwrap()
    };
    assert!(elf_of(1, "1.0.0").await == two, "of the model");
    bench.server.upload("demo", build_of("2.0.0", &one)).await.expect(200);
    assert!(elf_of(2, "1.0.0").await == two, "of the version");
    assert!(elf_of(3, "2.0.0").await == one, "of the version");
    assert!(elf_of(4, "unknown").await == one, "the newest");
    bench.finish().await;
}

/// Publications that commit while dumps of their build are being parsed miss none of them.
#[tokio::test(flavor = "multi_thread")]
async fn symbols_published_during_a_storm_reach_every_dump() {
    let bench = Parsing::with(&[("MAX_COREDUMPS", "500"), ("SYMBOLIZER_WORKERS", "8")]).await;
    let elf = &b"\x7fELF storm"[..];
    let build = Sha256Digest::of(elf).to_string();
    let core = |n: u8| CoreBuilder::new().build_id(&build[..9]).segment(0, &[n; 64]).elf();
    let storm = async {
        let posts = (0..120).map(|n| bench.deliver("1.0.0", core(n)));
        futures::future::join_all(posts).await
    };
    let publication = async {
        let rows = bench.server.rows();
        wait_until("dumps fail", || rows.count("coredumps", "parse_status = 'ERROR'") > 10).await;
        bench.server.upload("demo", build_of("1.0.0", elf)).await.expect(200);
    };
    let (ids, ()) = tokio::join!(storm, publication);
    for id in ids {
        bench.wait(id, "PARSED").await;
    }
    bench.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn lost_symbols_are_reported_and_replaced_by_those_of_the_version() {
    let bench = Parsing::start().await;
    let elf = &b"\x7fELF lost"[..];
    bench.server.upload("demo", build_of("1.0.0", elf)).await.expect(200);
    let build = Sha256Digest::of(elf).to_string();
    let symbols = bench.server.artifact_dir().join(format!("symbols/{build}/firmware.elf"));
    std::fs::remove_file(&symbols).unwrap();
    let id = bench.deliver("x", CoreBuilder::new().build_id(&build[..9]).elf()).await;
    bench.wait(id, "PARSED").await;
    assert_eq!(bench.sidecar.calls()[0].elf_bytes.as_deref(), Some(elf));
    let violations = "coredock_invariant_violations_total";
    assert_eq!(bench.server.metric_where(violations, "object_missing").await, 1);
    bench.server.finish_broken().await;
}

/// Symbols are kept while a dump that was not unwrapped yet may need them.
#[tokio::test(flavor = "multi_thread")]
async fn symbols_are_kept_for_dumps_that_were_not_unwrapped() {
    let settings = [("MAX_FIRMWARES", "1"), ("SYMBOLS_KEEP_DAYS", "0"), ("SYMBOLIZER", "off")];
    let bench = Parsing::with(&settings).await;
    let (old, new) = (&b"\x7fELF old"[..], &b"\x7fELF new"[..]);
    bench.server.upload("demo", build_of("1.0.0", old)).await.expect(200);
    let build = Sha256Digest::of(old).to_string();
    let core = CoreBuilder::new().build_id(&build[..9]).elf();
    let id = bench.deliver("unknown", gzip(&core)).await;
    bench.server.upload("demo", build_of("2.0.0", new)).await.expect(200);
    let symbols = format!("symbols/{build}/firmware.elf");
    let sweep = || async {
        let upkeep = bench.server.running().features().upkeep.clone();
        upkeep.sweep(SweepMode::Confirmed).await.unwrap();
        bench.server.wait_for_empty_outbox().await;
        bench.server.stored_keys().contains(&symbols)
    };
    assert!(sweep().await, "a dump of the model waits");
    bench.server.delete(&bench.path(id)).await.expect(204);
    assert!(!sweep().await, "nothing needs them");
    bench.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrapped_body_is_unwrapped_for_the_sidecar() {
    let bench = Parsing::start().await;
    let elf = &b"\x7fELF wrapped"[..];
    bench.server.upload("demo", build_of("1.0.0", elf)).await.expect(200);
    let build = Sha256Digest::of(elf).to_string();
    let core = CoreBuilder::new().build_id(&build[..9]).elf();
    let id = bench.deliver("old version", gzip(&core)).await;
    let dump = bench.wait(id, "PARSED").await;
    assert_eq!(dump["build_id"], build[..9], "read when it was unwrapped");
    let calls = bench.sidecar.calls();
    assert_eq!(calls[0].core_bytes.as_deref(), Some(&core[..]));
    let stored = bench.server.object(&format!("coredumps/{}/{id}.dmp", bench.demo.device.key));
    assert_eq!(stored, gzip(&core), "the stored object is never changed");
    bench.finish().await;
}
