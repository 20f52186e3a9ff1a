//! A dump of RISC-V whose stack and registers are the input.

#![no_main]

use coredock_fuzz::unwind;
use libfuzzer_sys::fuzz_target;

const ELF: &[u8] = include_bytes!("../../crates/testkit/fixtures/riscv/Og/firmware.elf");
const DUMP: &[u8] = include_bytes!("../../crates/testkit/fixtures/riscv/Og/0.dmp");

fuzz_target!(|changes: &[u8]| unwind(ELF, DUMP, changes));
