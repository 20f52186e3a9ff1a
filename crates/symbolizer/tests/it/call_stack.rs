//! Dumps of stacks that consist of functions of given names, and the ELF with these functions.

use bytes::Bytes;
use coredock_symbolizer::Report;
use coredock_testkit::snapshot::{ExtraNote, Registers, RiscvRegisters, Snapshot, TaskSnapshot};

use crate::elf_builder::{ElfBuilder, TEXT};
use crate::fixtures::{core, report};

/// Bytes of code of each function, and of its frame on the stack.
const FUNCTION: u32 = 16;
/// Offset from which a function calls, or at which it stops if it calls none.
const PLACE: u32 = 8;
const CONTROL_BLOCKS: u32 = 0x4080_0000;
const STACKS: u32 = 0x4081_0000;
/// Bytes between the control blocks, and between the stacks of two tasks.
const DISTANCE: u32 = 0x1000;
/// `mcause` of the instruction that `abort` ends with.
const ILLEGAL_INSTRUCTION: u32 = 2;

#[derive(Debug, Clone, Default)]
pub(crate) struct Crash<'a> {
    /// Name and functions of each task, innermost first, by their symbols. The first task crashed.
    /// Functions of the application have `app` in their name.
    pub(crate) tasks: Vec<(&'a str, Vec<&'a str>)>,
    /// Functions of the interrupt handler that interrupted the first task.
    pub(crate) handler: Vec<&'a str>,
    /// The text of the panic handler.
    pub(crate) text: Option<&'a str>,
    /// `None` for that of an abort.
    pub(crate) mcause: Option<u32>,
    /// The text that the innermost function was called with.
    pub(crate) argument: Option<&'a str>,
    /// The core that crashed.
    pub(crate) core: u32,
}

impl<'a> Crash<'a> {
    /// One task.
    pub(crate) fn of(functions: &[&'a str]) -> Self {
        Self { tasks: vec![("main", functions.to_vec())], ..Self::default() }
    }

    pub(crate) fn report(&self) -> Report {
        report(&self.dump(), &self.elf())
    }

    pub(crate) fn dump(&self) -> Bytes {
        let tasks = self.tasks.iter().zip(0..);
        let mut tasks: Vec<TaskSnapshot> =
            tasks.map(|((name, functions), number)| self.task(number, name, functions)).collect();
        let mut memory = Vec::new();
        if !self.handler.is_empty() {
            memory.push(self.interrupt(&mut tasks[0]));
        }
        if let Some(argument) = self.argument {
            let address = CONTROL_BLOCKS - DISTANCE;
            tasks[0].registers[10] = address;
            memory.push((address, [argument.as_bytes(), &[0; 4]].concat()));
        }
        let in_isr = Some(!self.handler.is_empty());
        let device = Snapshot {
            chip: 13,
            chip_revision: 2,
            build_id: None,
            extra: ExtraNote::Crashed { tcb: tasks[0].tcb.0, in_isr },
            tasks,
            memory,
            panic_details: self.text.map(str::to_owned),
        };
        core(&device)
    }

    fn task(&self, number: u32, name: &str, functions: &[&str]) -> TaskSnapshot {
        let mut block = vec![0; 92];
        block[52..52 + name.len()].copy_from_slice(name.as_bytes());
        let (stack, registers) = self.frames(STACKS + DISTANCE * number, functions);
        TaskSnapshot { tcb: (CONTROL_BLOCKS + DISTANCE * number, block), stack, registers }
    }

    /// Stack and registers.
    fn frames(&self, address: u32, functions: &[&str]) -> ((u32, Vec<u8>), Registers) {
        let places: Vec<u32> = functions.iter().map(|name| self.place(name)).collect();
        let callers = places.iter().skip(1).copied().chain([0]);
        let stack = callers.flat_map(|caller| [0, 0, 0, caller]).flat_map(u32::to_le_bytes);
        let mut general = [0; 32];
        general[0] = places[0];
        general[2] = address;
        let machine_state = [0x1880, 0, self.mcause.unwrap_or(ILLEGAL_INSTRUCTION), 0, self.core];
        let registers = Registers::Riscv(RiscvRegisters { general, machine_state });
        ((address, stack.collect()), registers)
    }

    /// The handler runs on a stack of its own. The registers of the task are saved on the stack of
    /// the task, at the address in its control block.
    fn interrupt(&self, task: &mut TaskSnapshot) -> (u32, Vec<u8>) {
        let (stack, registers) = self.frames(STACKS - DISTANCE, &self.handler);
        let saved = 160;
        let address = task.stack.0 - saved;
        let words = (0..32).map(|number| task.registers[number]).flat_map(u32::to_le_bytes);
        let mut bytes: Vec<u8> = words.collect();
        bytes.resize(saved as usize, 0);
        bytes.extend(&task.stack.1);
        task.tcb.1[..4].copy_from_slice(&address.to_le_bytes());
        (task.stack, task.registers) = (stack, registers);
        (address, bytes)
    }

    fn place(&self, name: &str) -> u32 {
        let number = self.functions().iter().position(|known| *known == name).unwrap();
        TEXT + FUNCTION * u32::try_from(number).unwrap() + PLACE
    }

    fn functions(&self) -> Vec<&'a str> {
        let on_stacks = self.tasks.iter().flat_map(|(_, functions)| functions);
        let mut functions: Vec<&str> = on_stacks.chain(&self.handler).copied().collect();
        functions.sort_unstable();
        functions.dedup();
        functions
    }

    pub(crate) fn elf(&self) -> Vec<u8> {
        let functions = self.functions();
        // nop, nop, jalr a5, nop, nop, nop
        let code = [1, 0, 1, 0, 0xE7, 0x80, 0x07, 0, 1, 0, 1, 0, 1, 0, 1, 0];
        ElfBuilder::of_code(code.repeat(functions.len()))
            .section(".debug_abbrev", ABBREVIATIONS.to_vec())
            .section(".debug_info", unit(&functions))
            .section(".debug_line", lines(&functions))
            .section(".debug_frame", frame_information(functions.len()))
            .build()
    }
}

fn address(number: usize) -> u32 {
    TEXT + FUNCTION * u32::try_from(number).unwrap()
}

/// Prefixes the content with its length.
fn with_length(content: &[u8]) -> Vec<u8> {
    [&u32::try_from(content.len()).unwrap().to_le_bytes(), content].concat()
}

/// 1 is the unit: lines, directory and range. 2 is a function: linkage name and range.
const ABBREVIATIONS: &[u8] = &[
    1, 0x11, 1, 0x10, 0x17, 0x1b, 0x08, 0x11, 0x01, 0x12, 0x06, 0, 0, //
    2, 0x2e, 0, 0x6e, 0x08, 0x11, 0x01, 0x12, 0x06, 0, 0, //
    0,
];

fn unit(functions: &[&str]) -> Vec<u8> {
    // Version, offset of the abbreviations, size of addresses.
    let mut unit = vec![4, 0, 0, 0, 0, 0, 4, 1];
    unit.extend(0_u32.to_le_bytes());
    unit.extend(b"/project\0");
    unit.extend(TEXT.to_le_bytes());
    unit.extend(FUNCTION.saturating_mul(u32::try_from(functions.len()).unwrap()).to_le_bytes());
    for (number, name) in functions.iter().enumerate() {
        unit.push(2);
        unit.extend(name.as_bytes());
        unit.push(0);
        unit.extend(address(number).to_le_bytes());
        unit.extend(FUNCTION.to_le_bytes());
    }
    unit.push(0);
    with_length(&unit)
}

/// Functions of the application are in `main/app.c`, each in the line of its number.
fn lines(functions: &[&str]) -> Vec<u8> {
    // Lengths of the arguments of the operations 1 to 12, then directories and files.
    let mut header = vec![1, 1, 1, 0, 1, 13, 0, 1, 1, 1, 1, 0, 0, 0, 1, 0, 0, 1];
    header.extend(b"main\0\0app.c\0\x01\0\0\0");
    let mut program = Vec::new();
    for (number, _) in functions.iter().enumerate().filter(|(_, name)| name.contains("app")) {
        // Set the address, go to the line, add a row, end the sequence after the function.
        program.extend([0, 5, 2]);
        program.extend(address(number).to_le_bytes());
        program.extend([3, u8::try_from(number).unwrap(), 1, 2, 16, 0, 1, 1]);
    }
    let mut table = vec![4, 0];
    table.extend(with_length(&header));
    table.extend(program);
    with_length(&table)
}

/// The canonical frame address is sp + 16, the return address below it.
fn frame_information(functions: usize) -> Vec<u8> {
    let common = [0xFF, 0xFF, 0xFF, 0xFF, 4, 0, 4, 0, 1, 0x7C, 1, 0x0C, 2, 16, 0x81, 1];
    let mut section = with_length(&common);
    for number in 0..functions {
        let words = [0, address(number), FUNCTION];
        section.extend(with_length(words.map(u32::to_le_bytes).as_flattened()));
    }
    section
}
