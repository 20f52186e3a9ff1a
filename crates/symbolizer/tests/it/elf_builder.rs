//! Small ELFs with debugging information of any shape.

const ELF_HEADER: usize = 52;
const SECTION_HEADER: usize = 40;
const EM_RISCV: u16 = 243;
const ET_EXEC: u16 = 2;
const SHT_PROGBITS: u32 = 1;
const SHT_STRTAB: u32 = 3;
/// `SHF_ALLOC`
const LOADED: u32 = 2;
/// `SHF_ALLOC | SHF_EXECINSTR`
const CODE: u32 = 6;

/// Address of the code.
pub(crate) const TEXT: u32 = 0x4200_0000;

pub(crate) struct ElfBuilder {
    machine: u16,
    kind: u16,
    sections: Vec<(String, u32, u32, Vec<u8>)>,
}

impl ElfBuilder {
    pub(crate) fn new(code_bytes: usize) -> Self {
        let text = (".text".to_owned(), CODE, TEXT, vec![0x01; code_bytes]);
        Self { machine: EM_RISCV, kind: ET_EXEC, sections: vec![text] }
    }

    pub(crate) fn of_code(code: Vec<u8>) -> Self {
        let mut builder = Self::new(0);
        builder.sections[0].3 = code;
        builder
    }

    pub(crate) fn machine(self, machine: u16) -> Self {
        Self { machine, ..self }
    }

    pub(crate) fn kind(self, kind: u16) -> Self {
        Self { kind, ..self }
    }

    pub(crate) fn section(mut self, name: &str, bytes: Vec<u8>) -> Self {
        self.sections.push((name.to_owned(), 0, 0, bytes));
        self
    }

    /// Loaded at address 0.
    pub(crate) fn loaded_section(mut self, name: &str, bytes: Vec<u8>) -> Self {
        self.sections.push((name.to_owned(), LOADED, 0, bytes));
        self
    }

    pub(crate) fn build(self) -> Vec<u8> {
        let mut names = vec![0];
        let mut body = Vec::new();
        let mut headers = vec![0; SECTION_HEADER];
        let strings = (".shstrtab".to_owned(), 0, 0, Vec::new());
        let count = self.sections.len() + 2;
        for (name, flags, address, bytes) in self.sections.into_iter().chain([strings]) {
            let name_at = u32::try_from(names.len()).unwrap();
            names.extend(name.as_bytes());
            names.push(0);
            let is_strings = name == ".shstrtab";
            let bytes = if is_strings { names.clone() } else { bytes };
            let kind = if is_strings { SHT_STRTAB } else { SHT_PROGBITS };
            let offset = u32::try_from(ELF_HEADER + body.len()).unwrap();
            let size = u32::try_from(bytes.len()).unwrap();
            let words = [name_at, kind, flags, address, offset, size, 0, 0, 1, 0];
            headers.extend(words.into_iter().flat_map(u32::to_le_bytes));
            body.extend(bytes);
        }
        let table = u32::try_from(ELF_HEADER + body.len()).unwrap();
        let mut elf = b"\x7fELF\x01\x01\x01\0\0\0\0\0\0\0\0\0".to_vec();
        elf.extend([self.kind, self.machine].into_iter().flat_map(u16::to_le_bytes));
        elf.extend([1, TEXT, 0, table, 0].into_iter().flat_map(u32::to_le_bytes));
        let count = u16::try_from(count).unwrap();
        let sizes = [52, 32, 0, 40, count, count - 1];
        elf.extend(sizes.into_iter().flat_map(u16::to_le_bytes));
        [elf, body, headers].concat()
    }
}

/// Abbreviations of [`unit`]: 1 the unit, 2 a function, 3 an inlined call with a range of its own,
/// 4 an inlined call with a list of ranges.
pub(crate) fn abbreviations() -> Vec<u8> {
    // Tag, children, then name and form of each attribute.
    let entries: [&[u8]; 4] = [
        &[1, 0x11, 1, 0x11, 0x01, 0x12, 0x06, 0, 0],
        &[2, 0x2e, 1, 0x03, 0x08, 0x11, 0x01, 0x12, 0x06, 0, 0],
        &[3, 0x1d, 1, 0x11, 0x01, 0x12, 0x06, 0, 0],
        &[4, 0x1d, 0, 0x55, 0x17, 0, 0],
    ];
    [&entries.concat()[..], &[0]].concat()
}

/// One unit of DWARF 4 with one function, whose children are `children`.
pub(crate) fn unit(code_bytes: u32, children: &[u8]) -> Vec<u8> {
    let mut entries = vec![1];
    entries.extend(TEXT.to_le_bytes());
    entries.extend(code_bytes.to_le_bytes());
    entries.push(2);
    entries.extend(b"outer\0");
    entries.extend(TEXT.to_le_bytes());
    entries.extend(code_bytes.to_le_bytes());
    entries.extend(children);
    entries.extend([0, 0]);
    let mut unit = u32::try_from(entries.len() + 7).unwrap().to_le_bytes().to_vec();
    unit.extend([4, 0, 0, 0, 0, 0, 4]);
    unit.extend(entries);
    unit
}

/// `depth` calls, each inlined into the one before.
pub(crate) fn nested(depth: usize, code_bytes: u32) -> Vec<u8> {
    let mut call = vec![3];
    call.extend(TEXT.to_le_bytes());
    call.extend(code_bytes.to_le_bytes());
    [call.repeat(depth), vec![0; depth]].concat()
}

/// Calls that share one list of ranges.
pub(crate) fn sharing(calls: usize) -> Vec<u8> {
    [4, 0, 0, 0, 0].repeat(calls)
}

/// Ranges of two bytes each.
pub(crate) fn range_list(ranges: u32) -> Vec<u8> {
    let range = |number: u32| [4 * number, 4 * number + 2];
    let pairs = (0..ranges).flat_map(range).chain([0, 0]);
    pairs.flat_map(u32::to_le_bytes).collect()
}
