//! Line tables.

use std::collections::HashMap;

use super::{Dwarf, Unit};
use crate::elf::{ElfError, Slice};
use crate::sources::{LineRow, NONE, SourceLine, SourceTable};

/// In bytes.
const MAX_PATH: usize = 4096;

/// The files of a unit, as numbers of files of the table. A unit lists every header it includes and
/// uses few of them, so a file is added when a line refers to it.
pub(super) struct Files {
    directory: String,
    numbers: HashMap<u64, u32>,
}

impl Files {
    pub(super) fn of(unit: &Unit<'_>) -> Self {
        let directory = unit.comp_dir.map(|directory| text_of(&directory)).unwrap_or_default();
        Self { directory, numbers: HashMap::new() }
    }

    pub(super) fn number(
        &mut self,
        index: u64,
        sections: &gimli::Dwarf<Slice<'_>>,
        unit: &Unit<'_>,
        table: &mut SourceTable,
    ) -> u32 {
        let Self { directory, numbers } = self;
        *numbers.entry(index).or_insert_with(|| {
            let path = path(index, sections, unit, directory);
            path.map_or(NONE, |path| table.add_file(&path, directory))
        })
    }
}

/// Relative paths start at the directory of the compilation.
fn path(
    index: u64,
    sections: &gimli::Dwarf<Slice<'_>>,
    unit: &Unit<'_>,
    compiled_in: &str,
) -> Option<String> {
    let header = unit.line_program.as_ref()?.header();
    let file = header.file(index)?;
    let text = |value| sections.attr_string(unit, value).ok().map(|text| text_of(&text));
    let directory = file.directory(header).and_then(text).unwrap_or_default();
    let name = text(file.path_name()).unwrap_or_default();
    let path = join(&join(compiled_in, &directory), &name);
    Some(path.chars().take(MAX_PATH).collect())
}

impl<'a> Dwarf<'a, '_> {
    pub(super) fn read_lines(
        &mut self,
        unit: &Unit<'a>,
        files: &mut Files,
        table: &mut SourceTable,
    ) -> Result<(), ElfError> {
        let Some(program) = unit.line_program.clone() else { return Ok(()) };
        let mut rows = program.rows();
        let mut sequence: Vec<LineRow> = Vec::new();
        while let Ok(Some((_, row))) = rows.next_row() {
            self.budget.row()?;
            let Ok(address) = u32::try_from(row.address()) else { continue };
            if row.end_sequence() {
                // Functions that the linker removed have other addresses.
                let placed = sequence.first().is_some_and(|first| {
                    self.in_code(first.address.into(), Some(address.into())).is_some()
                });
                if placed {
                    table.add_lines(&sequence, address);
                }
                sequence.clear();
                continue;
            }
            let line = row.line().map_or(0, |line| u32::try_from(line.get()).unwrap_or_default());
            let file = files.number(row.file_index(), &self.sections, unit, table);
            sequence.push(LineRow { address, line: SourceLine { file, line } });
        }
        Ok(())
    }
}

fn text_of(slice: &Slice<'_>) -> String {
    let bytes = slice.slice();
    String::from_utf8_lossy(bytes.get(..MAX_PATH).unwrap_or(bytes)).into_owned()
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
