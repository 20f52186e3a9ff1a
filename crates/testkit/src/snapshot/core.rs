//! Reads a device back from its core.

use coredock_domain::coredumps::body::{Note, Notes};

use super::{
    CHIP_REVISION, CORRUPT_TCB_ADDRESS, EM_XTENSA, EXTRA_INFO_NOTE_TYPE, ExtraNote, INFO,
    PANIC_DETAILS_NOTE_TYPE, Registers, Snapshot, TASK_REGISTERS_NOTE_TYPE, TaskSnapshot,
};

const PT_LOAD: u32 = 1;
const PT_NOTE: u32 = 4;
/// The place in `ESP_EXTRA_INFO` of the flag whether an interrupt was being served.
const RISCV_FLAG: usize = 4;
const XTENSA_FLAG: usize = 148;

#[derive(Clone, Copy)]
struct Segment<'a> {
    kind: u32,
    region: Region<'a>,
}

#[derive(Clone, Copy)]
struct Region<'a> {
    address: u32,
    bytes: &'a [u8],
}

impl Snapshot {
    /// The device of a core of [`Self::elf_core`], which can then be dumped in another form.
    pub fn of_core(core: &[u8]) -> Option<Self> {
        let xtensa = half_at(core, 18)? == EM_XTENSA;
        let segments = segments(core)?;
        let notes: Vec<_> = segments
            .iter()
            .filter(|segment| segment.kind == PT_NOTE)
            .flat_map(|segment| Notes::of(segment.region.bytes))
            .collect();
        let of_kind = |kind| notes.iter().find(move |note| note.kind == kind);
        let named = |name: &str| notes.iter().find(move |note| note.name == name.as_bytes());
        let info = named(INFO);
        let revision = named(CHIP_REVISION.0).and_then(|note| word_at(note.description, 0));
        let details = of_kind(PANIC_DETAILS_NOTE_TYPE).map(|note| note.description);
        let mut loads =
            segments.iter().filter(|segment| segment.kind == PT_LOAD).map(|segment| segment.region);
        let mut tasks = Vec::new();
        for _ in notes.iter().filter(|note| note.kind == TASK_REGISTERS_NOTE_TYPE) {
            tasks.push(task(loads.next()?, loads.next()?, xtensa)?);
        }
        Some(Self {
            chip: half_at(info?.description, 2)?,
            chip_revision: revision?,
            build_id: info.and_then(Note::build_id).map(|build_id| build_id.to_string()),
            tasks,
            memory: loads.map(Region::to_pair).collect(),
            panic_details: details.map(|text| String::from_utf8_lossy(text).into_owned()),
            extra: extra(
                of_kind(EXTRA_INFO_NOTE_TYPE),
                if xtensa { XTENSA_FLAG } else { RISCV_FLAG },
            )?,
        })
    }
}

/// `framed_stack` begins with the frame.
fn task(tcb: Region<'_>, framed_stack: Region<'_>, xtensa: bool) -> Option<TaskSnapshot> {
    let Region { address, bytes } = framed_stack;
    let words: Vec<u32> = bytes.as_chunks().0.iter().copied().map(u32::from_le_bytes).collect();
    let registers =
        if xtensa { Registers::of_xtensa_frame(&words) } else { Registers::of_riscv_frame(&words) };
    let registers = registers?;
    let start = registers.stack_after(address);
    let stack = bytes.get(usize::try_from(start.checked_sub(address)?).ok()?..)?;
    let stack = Region { address: start, bytes: stack };
    Some(TaskSnapshot { tcb: tcb.to_pair(), stack: stack.to_pair(), registers })
}

fn extra(note: Option<&Note<'_>>, flag: usize) -> Option<ExtraNote> {
    let Some(note) = note else { return Some(ExtraNote::None) };
    let in_isr = word_at(note.description, flag).map(|flag| flag != 0);
    Some(match word_at(note.description, 0)? {
        CORRUPT_TCB_ADDRESS => ExtraNote::Unusable,
        tcb => ExtraNote::Crashed { tcb, in_isr },
    })
}

fn segments(core: &[u8]) -> Option<Vec<Segment<'_>>> {
    let segment = |number: usize| {
        let field = |index: usize| word_at(core, 52 + 32 * number + 4 * index);
        let [offset, length] = [field(1)?, field(4)?].map(|field| usize::try_from(field).ok());
        let bytes = core.get(offset?..)?.get(..length?)?;
        Some(Segment { kind: field(0)?, region: Region { address: field(2)?, bytes } })
    };
    (0..usize::from(half_at(core, 44)?)).map(segment).collect()
}

impl Region<'_> {
    fn to_pair(self) -> (u32, Vec<u8>) {
        (self.address, self.bytes.to_vec())
    }
}

fn word_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}

fn half_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}
