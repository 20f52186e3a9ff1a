//! Line tables.

use std::collections::HashMap;

use super::{Dwarf, Unit};
use crate::elf::{ElfError, Slice};
use crate::sources::{NONE, SourceTable};

/// Longest path, in bytes.
const LONGEST_PATH: usize = 4096;

/// Numbers of the files of a unit, as numbers of files of the table.
#[derive(Default)]
pub(super) struct Files(HashMap<u64, u32>);

impl Files {
    pub(super) fn of(&self, index: u64) -> u32 {
        self.0.get(&index).copied().unwrap_or(NONE)
    }
}

impl<'a> Dwarf<'a, '_> {
    /// Adds the rows of a unit, and returns its files.
    pub(super) fn read_lines(
        &mut self,
        unit: &Unit<'a>,
        table: &mut SourceTable,
    ) -> Result<Files, ElfError> {
        let mut files = Files::default();
        let Some(program) = unit.line_program.clone() else { return Ok(files) };
        let header = program.header();
        let directory = unit.comp_dir.map(|directory| text_of(&directory)).unwrap_or_default();
        for (entry, position) in header.file_names().iter().zip(0_u64..) {
            // Numbers begin at 1 before version 5.
            let index = if header.version() >= 5 { position } else { position + 1 };
            files.0.insert(
                index,
                table.add_file(&self.path(unit, (header, &directory), entry), &directory),
            );
        }
        let mut rows = program.rows();
        let mut sequence: Vec<(u32, u32, u32)> = Vec::new();
        while let Ok(Some((_, row))) = rows.next_row() {
            self.budget.row()?;
            let Ok(address) = u32::try_from(row.address()) else { continue };
            if row.end_sequence() {
                // What the linker removed has other addresses.
                let placed = sequence.first().is_some_and(|(start, ..)| {
                    self.in_code((*start).into(), Some(address.into())).is_some()
                });
                if placed {
                    table.add_lines(&sequence, address);
                }
                sequence.clear();
                continue;
            }
            let line = row.line().map_or(0, |line| u32::try_from(line.get()).unwrap_or_default());
            sequence.push((address, files.of(row.file_index()), line));
        }
        Ok(files)
    }

    /// The directory of a relative path is that of the compilation or below it.
    fn path(
        &self,
        unit: &Unit<'a>,
        (header, compiled_in): (&gimli::LineProgramHeader<Slice<'a>>, &str),
        file: &gimli::FileEntry<Slice<'a>>,
    ) -> String {
        let text = |value| self.sections.attr_string(unit, value).ok().map(|text| text_of(&text));
        let directory = file.directory(header).and_then(text).unwrap_or_default();
        let name = text(file.path_name()).unwrap_or_default();
        let path = join(&join(compiled_in, &directory), &name);
        path.chars().take(LONGEST_PATH).collect()
    }
}

fn text_of(slice: &Slice<'_>) -> String {
    String::from_utf8_lossy(slice.slice()).into_owned()
}

fn join(base: &str, part: &str) -> String {
    let drive = part.as_bytes().get(1) == Some(&b':');
    if base.is_empty() || part.starts_with('/') || drive {
        return part.to_owned();
    }
    if part.is_empty() {
        return base.to_owned();
    }
    format!("{}/{part}", base.trim_end_matches('/'))
}
