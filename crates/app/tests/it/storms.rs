//! A fleet that reboots in a loop (contract §6.5): the order of work is fair.

use coredock_domain::digest::Sha256Digest;
use coredock_testkit::coredumps::CoreBuilder;
use coredock_testkit::sidecar::Reply;

use crate::support::parsing::{Parsing, build_of};

const ELF: &[u8] = b"\x7fELF storm";

/// A dump of a crash at this program counter; `seed` makes it differ from others.
fn crash(pc: u32, seed: u32) -> Vec<u8> {
    let mut task = vec![0; 204];
    task[72..76].copy_from_slice(&pc.to_le_bytes());
    let build = Sha256Digest::of(ELF).to_string();
    let core = CoreBuilder::new().build_id(&build[..9]).note("CORE", 1, &task);
    core.segment(0, &seed.to_le_bytes()).elf()
}

/// Delivers as the `device`th of the fleet.
struct Fleet {
    bench: Parsing,
    devices: Vec<String>,
}

impl Fleet {
    /// With the only worker busy until the sidecar is released.
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
        crate::support::wait_until("all are parsed", || rows.count("coredumps", pending) == 0)
            .await;
        self.bench.finish().await;
        order
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_of_a_new_cause_and_those_of_calm_devices_are_not_kept_waiting() {
    let fleet = Fleet::new().await;
    let mut storm = Vec::new();
    for seed in 0..30 {
        storm.push(fleet.deliver(seed as usize % 3, crash(0x4200_0000, seed)).await);
    }
    let calm = fleet.deliver(3, b"told by its device alone".to_vec()).await;
    let new = fleet.deliver(0, crash(0x4200_1000, 0)).await;
    let again = fleet.deliver(4, crash(0x4200_1000, 1)).await;
    let order = fleet.parsed(33).await;
    let place = |id: i64| order.iter().position(|other| *other == id).unwrap();
    assert!(place(storm[0]) < 2 && place(new) < 2, "the firsts of both causes: {order:?}");
    // The storm has one turn a second, and delivering took a few.
    assert!(place(calm) < 15 && place(again) < 15, "{order:?}");
    let of_storm = storm.iter().map(|id| place(*id));
    assert!(of_storm.is_sorted(), "in the order it came: {order:?}");
}
