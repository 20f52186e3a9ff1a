//! The crash site in the hint of a body.

use std::io::Cursor;

use coredock_domain::coredumps::body::cause_hint;
use coredock_testkit::coredumps::{CoreBuilder, gzip, raw, strip};

/// A task status whose registers begin with this program counter.
fn task(pc: u32) -> Vec<u8> {
    let mut status = vec![0; 204];
    status[72..76].copy_from_slice(&pc.to_le_bytes());
    status
}

fn core(pc: u32, details: &str) -> CoreBuilder {
    CoreBuilder::new().note("CORE", 1, &task(pc)).note("CORE", 1, &task(7)).note(
        "ESP_PANIC_DETAILS",
        679,
        details.as_bytes(),
    )
}

fn site(body: &[u8]) -> Option<u64> {
    cause_hint(&mut Cursor::new(body)).crash_site
}

#[test]
fn crashes_at_one_place_have_one_crash_site_in_every_framing_and_with_any_memory() {
    let one = core(0x4200_0000, "abort()").segment(0x4080_0000, &[1; 64]).elf();
    let other = core(0x4200_0000, "abort()").segment(0x4080_0000, &[2; 128]).elf();
    let expected = site(&one).unwrap();
    for body in [other.clone(), raw(0x0104, 0x000D, &other), strip(&other, 12, &[])] {
        assert_eq!(site(&body), Some(expected));
    }
}

#[test]
fn the_crash_site_depends_on_the_first_task_and_the_panic_details() {
    let all = [
        core(0x4200_0000, "abort()").elf(),
        core(0x4200_0004, "abort()").elf(),
        core(0x4200_0000, "assert failed").elf(),
        CoreBuilder::new().note("CORE", 1, &task(0x4200_0000)).elf(),
    ];
    let mut sites: Vec<_> = all.iter().map(|body| site(body).unwrap()).collect();
    sites.sort_unstable();
    sites.dedup();
    assert_eq!(sites.len(), all.len());
}

#[test]
fn a_body_that_is_wrapped_or_has_no_task_has_no_crash_site() {
    let whole = core(0x4200_0000, "abort()").elf();
    let short = CoreBuilder::new().note("CORE", 1, &[0; 75]).elf();
    let other_name = CoreBuilder::new().note("OTHER", 1, &task(1)).elf();
    let bodies = [gzip(&whole), short, other_name, CoreBuilder::new().elf(), b"text".to_vec()];
    for body in bodies {
        assert_eq!(site(&body), None);
    }
}
