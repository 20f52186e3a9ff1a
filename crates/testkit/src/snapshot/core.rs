//! Reading a device back from the core that was made of it.

use coredock_domain::coredumps::body::{Note, Notes};

use super::{
    CHIP_REVISION, EM_XTENSA, EXTRA, ExtraNote, INFO, PANIC_DETAILS, Registers, Snapshot,
    TASK_REGISTERS, TaskSnapshot, UNUSABLE,
};

const PT_LOAD: u32 = 1;
const PT_NOTE: u32 = 4;
/// Where `ESP_EXTRA_INFO` tells whether an interrupt was being served.
const RISCV_FLAG: usize = 4;
const XTENSA_FLAG: usize = 148;

type Region<'a> = (u32, &'a [u8]);

impl Snapshot {
    /// The device that [`Self::elf_core`] made `core` of: for packing it in another form.
    pub fn of_core(core: &[u8]) -> Option<Self> {
        let xtensa = half_at(core, 18)? == EM_XTENSA;
        let segments = segments(core)?;
        let notes: Vec<_> = segments
            .iter()
            .filter(|(kind, _)| *kind == PT_NOTE)
            .flat_map(|(_, (_, bytes))| Notes::of(bytes))
            .collect();
        let of_kind = |kind| notes.iter().find(move |note| note.kind == kind);
        let named = |name: &str| notes.iter().find(move |note| note.name == name.as_bytes());
        let info = named(INFO);
        let revision = named(CHIP_REVISION.0).and_then(|note| word_at(note.description, 0));
        let details = of_kind(PANIC_DETAILS).map(|note| note.description);
        let mut loads =
            segments.iter().filter(|(kind, _)| *kind == PT_LOAD).map(|(_, region)| *region);
        let mut tasks = Vec::new();
        for _ in notes.iter().filter(|note| note.kind == TASK_REGISTERS) {
            tasks.push(task(loads.next()?, loads.next()?, xtensa)?);
        }
        Some(Self {
            chip: half_at(info?.description, 2)?,
            chip_revision: revision?,
            build_id: info.and_then(Note::build_id).map(|build_id| build_id.to_string()),
            tasks,
            memory: loads.map(owned).collect(),
            panic_details: details.map(|text| String::from_utf8_lossy(text).into_owned()),
            extra: extra(of_kind(EXTRA), if xtensa { XTENSA_FLAG } else { RISCV_FLAG })?,
        })
    }
}

/// The stack begins with the frame.
fn task(tcb: Region<'_>, (address, bytes): Region<'_>, xtensa: bool) -> Option<TaskSnapshot> {
    let words: Vec<u32> = bytes.as_chunks().0.iter().copied().map(u32::from_le_bytes).collect();
    let registers =
        if xtensa { Registers::of_xtensa_frame(&words) } else { Registers::of_riscv_frame(&words) };
    let registers = registers?;
    let start = registers.stack_behind(address);
    let stack = bytes.get(usize::try_from(start.checked_sub(address)?).ok()?..)?;
    Some(TaskSnapshot { tcb: owned(tcb), stack: owned((start, stack)), registers })
}

fn extra(note: Option<&Note<'_>>, flag: usize) -> Option<ExtraNote> {
    let Some(note) = note else { return Some(ExtraNote::None) };
    let in_isr = word_at(note.description, flag).map(|flag| flag != 0);
    Some(match word_at(note.description, 0)? {
        UNUSABLE => ExtraNote::Unusable,
        tcb => ExtraNote::Crashed { tcb, in_isr },
    })
}

/// Type, address and content.
fn segments(core: &[u8]) -> Option<Vec<(u32, Region<'_>)>> {
    let segment = |number: usize| {
        let field = |index: usize| word_at(core, 52 + 32 * number + 4 * index);
        let [offset, length] = [field(1)?, field(4)?].map(|field| usize::try_from(field).ok());
        let bytes = core.get(offset?..)?.get(..length?)?;
        Some((field(0)?, (field(2)?, bytes)))
    };
    (0..usize::from(half_at(core, 44)?)).map(segment).collect()
}

fn owned((address, bytes): Region<'_>) -> (u32, Vec<u8>) {
    (address, bytes.to_vec())
}

fn word_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}

fn half_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}
