//! Any bytes as a dump, for a firmware of RISC-V.

#![no_main]

use std::sync::LazyLock;

use coredock_fuzz::{Device, RomFile};
use libfuzzer_sys::fuzz_target;

const ELF: &[u8] = include_bytes!("../../crates/testkit/fixtures/riscv/O2/firmware.elf");
/// The ELF of another build: as a ROM it has other functions.
const OTHER: &[u8] = include_bytes!("../../crates/testkit/fixtures/riscv/Os/firmware.elf");

static DEVICE: LazyLock<Device> = LazyLock::new(|| {
    let first = RomFile { name: "esp32c6_rev0_rom.elf", elf: ELF };
    Device::new(ELF, &[first, RomFile { name: "esp32c6_rev100_rom.elf", elf: OTHER }])
});

fuzz_target!(|bytes: &[u8]| DEVICE.decode(bytes));
