//! Any bytes as a dump, for a firmware of RISC-V.

#![no_main]

use std::sync::LazyLock;

use coredock_fuzz::Device;
use libfuzzer_sys::fuzz_target;

const ELF: &[u8] = include_bytes!("../../crates/testkit/fixtures/riscv/O2/firmware.elf");
/// Of another build: as a ROM it names other functions.
const OTHER: &[u8] = include_bytes!("../../crates/testkit/fixtures/riscv/Os/firmware.elf");

static DEVICE: LazyLock<Device> = LazyLock::new(|| {
    Device::new(ELF, &[("esp32c6_rev0_rom.elf", ELF), ("esp32c6_rev100_rom.elf", OTHER)])
});

fuzz_target!(|bytes: &[u8]| DEVICE.decode(bytes));
