//! A fleet that reboots in a loop (contract §6.5): the order of work is fair.

use std::sync::Arc;

use async_trait::async_trait;
use coredock::adapters::{Adapters, Engine};
use coredock_domain::Symbolizer;
use coredock_domain::digest::Sha256Digest;
use coredock_domain::symbolication::symbolizer::{
    CrashDump, CrashReport, SymbolicateCoredump, SymbolizerError,
};
use coredock_testkit::coredumps::CoreBuilder;
use coredock_testkit::faulty_store::{Fault, FaultRule, Operation};
use coredock_testkit::gate::Gate;
use coredock_testkit::sidecar::Reply;

use crate::support::parsing::{Parsing, build_of};
use crate::support::{TestServer, wait_until};

const ELF: &[u8] = b"\x7fELF storm";

/// A dump of a crash at this program counter; `seed` makes it differ from others.
fn crash(pc: u32, seed: u32) -> Vec<u8> {
    let mut task = vec![0; 204];
    task[72..76].copy_from_slice(&pc.to_le_bytes());
    let build = Sha256Digest::of(ELF).to_string();
    let core = CoreBuilder::new().build_id(&build[..9]).note("CORE", 1, &task);
    core.segment(0, &seed.to_le_bytes()).elf()
}

/// Devices that deliver dumps while the only worker is busy.
struct Fleet {
    bench: Parsing,
    devices: Vec<String>,
}

impl Fleet {
    /// The worker is busy until the sidecar is released.
    async fn new() -> Self {
        let bench = Parsing::with(&[("SYMBOLIZER_WORKERS", "1"), ("MAX_COREDUMPS", "100")]).await;
        bench.server.upload("demo", build_of("1.0.0", ELF)).await.expect(200);
        bench.sidecar.script([Reply::hang()]);
        bench.deliver("1.0.0", "not a dump of any cause").await;
        bench.sidecar.wait_for_calls(1).await;
        let mut devices = Vec::new();
        for _ in 0..6 {
            devices.push(bench.server.create_device(bench.demo.model_id, "{}").await.key);
        }
        Self { bench, devices }
    }

    async fn deliver(&self, device: usize, body: Vec<u8>) -> i64 {
        self.bench.server.deliver(&self.devices[device], "1.0.0", body).await
    }

    /// The dumps in the order they were parsed in.
    async fn parsed(self, count: usize) -> Vec<i64> {
        self.bench.sidecar.release();
        let calls = self.bench.sidecar.wait_for_calls(1 + count).await;
        let id =
            |name: &str| name["coredump_".len()..].strip_suffix(".dmp").unwrap().parse().unwrap();
        let order = calls[1..].iter().map(|call| id(&call.core)).collect();
        let rows = self.bench.server.rows();
        let pending = "parse_status = 'PENDING'";
        wait_until("all are parsed", || rows.count("coredumps", pending) == 0).await;
        self.bench.finish().await;
        order
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_dump_of_a_new_cause_and_dumps_of_calm_devices_do_not_wait() {
    let fleet = Fleet::new().await;
    let mut storm = Vec::new();
    for seed in 0..30 {
        storm.push(fleet.deliver(seed as usize % 3, crash(0x4200_0000, seed)).await);
    }
    let calm = fleet.deliver(3, b"a body without a cause".to_vec()).await;
    let new = fleet.deliver(0, crash(0x4200_1000, 0)).await;
    let again = fleet.deliver(4, crash(0x4200_1000, 1)).await;
    let order = fleet.parsed(33).await;
    let place = |id: i64| order.iter().position(|other| *other == id).unwrap();
    assert!(place(storm[0]) < 2 && place(new) < 2, "the firsts of both causes: {order:?}");
    // The storm gets one parse per second, and the deliveries took a few seconds.
    assert!(place(calm) < 15 && place(again) < 15, "{order:?}");
    let of_storm = storm.iter().map(|id| place(*id));
    assert!(of_storm.is_sorted(), "in the order of delivery: {order:?}");
}

/// An engine that takes several jobs at once. A job whose body begins with `stuck` waits for the
/// gate.
struct Stuck(Gate);

#[async_trait]
impl Symbolizer for Stuck {
    fn engine(&self) -> &'static str {
        "native"
    }

    async fn preview(&self, _: &CrashDump) -> Result<Option<String>, SymbolizerError> {
        Ok(None)
    }

    async fn symbolicate(&self, job: SymbolicateCoredump) -> Result<CrashReport, SymbolizerError> {
        if job.dump.body.bytes.starts_with(b"stuck") {
            self.0.pass().await;
        }
        Ok(CrashReport { text: "a report".into(), ..CrashReport::default() })
    }

    async fn is_ready(&self) -> bool {
        true
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_job_waits_for_a_stuck_job_of_the_same_claim() {
    let (stuck, busy) = (Gate::new(), Gate::new());
    let settings = [("SYMBOLIZER_WORKERS", "2"), ("MAX_COREDUMPS", "100")];
    let engine = Arc::new(Stuck(stuck.clone()));
    let wrap = |adapters| Adapters { engine: Engine::External(engine), ..adapters };
    let server = TestServer::wrapped_with(&settings, wrap).await;
    let demo = server.demo().await;
    server.upload_demo("1.2.3").await.expect(200);
    let hold = FaultRule::new(Fault::Hold(busy.clone())).on(Operation::Open).key("coredumps/");
    server.store.inject(hold);
    let deliver = async |body: String| server.deliver(&demo.device.key, "1.2.3", body).await;
    for body in ["one", "two"] {
        deliver(body.into()).await;
    }
    let leased = "lease_owner IS NOT NULL";
    wait_until("both workers are busy", || server.rows().count("coredumps", leased) == 2).await;
    deliver("stuck".into()).await;
    for number in 0..8 {
        deliver(format!("quick {number}")).await;
    }
    busy.open();
    stuck.arrived().await;
    let parsed = || server.rows().count("coredumps", "parse_status = 'PARSED'");
    wait_until("all others are parsed", || parsed() == 10).await;
    stuck.open();
    wait_until("the last dump is parsed", || parsed() == 11).await;
    assert_eq!(server.metric_where("coredock_symbolication_total", "put_back").await, 0);
    server.finish().await;
}
