use coredock_domain::chip::Architecture;
use coredock_domain::digest::Sha256Digest;

use super::ABSOLUTE;
use super::format::{self, Part, Parts};
use super::parameters::{pack_parameters, pack_types};
use super::rows::pack;
use super::rules::Rules;
use crate::code::{Code, ElfCode};
use crate::demangle::demangle;
use crate::dwarf::{Dwarf, TaskBlock};
use crate::elf::{Elf, ElfError, Section};
use crate::sources::{NONE, SourceTable, keep_last};

/// Builds the index of an ELF with this SHA-256. That takes a few times the memory of the debugging
/// information of one source file, and up to about 200 MiB for ELFs that no compiler writes.
pub fn build(elf: &[u8], elf_sha256: Sha256Digest) -> Result<Vec<u8>, ElfError> {
    let elf = Elf::read(elf)?;
    let code = ElfCode::of(&elf);
    let mut dwarf = Dwarf::of(&elf);
    let task_block = dwarf.task_block(code.functions())?;
    let mut table = dwarf.all_sources()?;
    let mut parts = Parts::default();
    // These two add strings to the table, so they come before its strings are stored.
    parts.set(Part::Functions, functions(&code, &mut table));
    parts.set(Part::Regions, regions(&elf, &mut table));
    parts.set(Part::TaskBlock, to_bytes(task_block.map_or([NONE; 7], words_of)));
    pack_sources(&table, &mut parts);
    pack_parameters(&table.parameters, &mut parts);
    let (types, enumerators) = pack_types(&table.types);
    parts.set(Part::Types, types);
    parts.set(Part::Enumerators, enumerators);
    pack_unwind_rules(&code, &mut parts);
    pack_branches(&code, &mut parts);
    parts.set(Part::Code, to_bytes(elf.code().flat_map(|section| [section.address, section.size])));
    let flags = if elf.debug_line { format::HAS_LINES } else { 0 }
        | if elf.compressed { format::COMPRESSED } else { 0 };
    Ok(parts.write(elf.architecture, flags, elf_sha256))
}

fn to_bytes(words: impl IntoIterator<Item = u32>) -> Vec<u8> {
    words.into_iter().flat_map(u32::to_le_bytes).collect()
}

fn functions(code: &ElfCode<'_, '_>, table: &mut SourceTable) -> Vec<u8> {
    pack(code.functions().iter().map(|function| {
        let mark = if function.absolute { ABSOLUTE } else { 0 };
        let name = table.add_string(&demangle(function.name));
        (function.start, [function.size, name | mark])
    }))
}

fn pack_sources(table: &SourceTable, parts: &mut Parts) {
    let scopes = (0..).zip(&table.scopes).map(|(number, scope)| {
        (number, [scope.name, scope.parent, scope.call_file, scope.call_line])
    });
    let scope_starts = table.scope_starts.iter().map(|(address, scope)| (*address, [*scope]));
    let lines = table.lines.iter().map(|row| (row.address, [row.line.file, row.line.line]));
    parts.set(Part::Strings, table.string_bytes().to_vec());
    parts.set(Part::Scopes, pack(scopes));
    parts.set(Part::ScopeStarts, pack(scope_starts));
    parts.set(Part::Files, to_bytes(table.files.iter().flat_map(|file| [file.path, file.short])));
    parts.set(Part::Lines, pack(lines));
}

fn regions(elf: &Elf<'_>, table: &mut SourceTable) -> Vec<u8> {
    let row = |section: &Section<'_>| {
        let flags = u32::from(section.executable) | u32::from(section.writable) << 1;
        [table.add_string(section.name), section.address, section.size, flags]
    };
    to_bytes(elf.sections.iter().flat_map(row))
}

fn words_of(block: TaskBlock) -> [u32; 7] {
    let word = |offset: Option<u32>| offset.unwrap_or(NONE);
    let [base, end, core] = [block.base_priority, block.end_of_stack, block.core].map(word);
    [block.top_of_stack, block.priority, block.stack, block.name, base, end, core]
}

fn pack_unwind_rules(code: &ElfCode<'_, '_>, parts: &mut Parts) {
    let (rules, unwind) = match code.architecture() {
        Architecture::RiscV => unwind(code),
        Architecture::Xtensa => unwind_of_entries(code),
    };
    parts.set(Part::Rules, rules.bytes);
    parts.set(Part::Unwind, unwind);
}

/// Rules by address; [`NONE`] between functions.
fn unwind(code: &ElfCode<'_, '_>) -> (Rules, Vec<u8>) {
    let (mut rules, mut rows) = (Rules::default(), Vec::new());
    let fdes = code.cfi().fdes();
    for (fde, next) in fdes.iter().zip(fdes.iter().skip(1).map(Some).chain([None])) {
        let end = fde.start.saturating_add(fde.length);
        let end = next.map_or(end, |next| end.min(next.start));
        code.cfi().rules(*fde, |address, rule| {
            let within = address < end;
            if within {
                rows.push((address, [rules.add(rule)]));
            }
            within
        });
        rows.push((end, [NONE]));
    }
    // Where one function ends and the next begins, the row of the beginning counts; otherwise the
    // last one.
    rows.sort_by_key(|(address, [place])| (*address, *place != NONE));
    keep_last(&mut rows, |(address, _)| *address);
    rows.dedup_by_key(|(_, place)| *place);
    (rules, pack(rows))
}

/// On Xtensa only the first instruction of a function has a rule.
fn unwind_of_entries(code: &ElfCode<'_, '_>) -> (Rules, Vec<u8>) {
    let (mut rules, mut rows) = (Rules::default(), Vec::new());
    for function in code.function_ranges() {
        if let Some(rule) = code.rule_of_entry(function.start) {
            rows.push((function.start, [rules.add(Some(rule))]));
            rows.push((function.start.saturating_add(1), [NONE]));
        }
    }
    (rules, pack(rows))
}

fn pack_branches(code: &ElfCode<'_, '_>, parts: &mut Parts) {
    let (mut calls, mut jumps) = (Vec::new(), Vec::new());
    for function in code.function_ranges() {
        let branches = code.branches(&function);
        calls.extend(
            branches
                .calls
                .iter()
                .filter(|call| code.is_code(call.return_address - 1))
                .map(|call| (call.return_address, [call.target.unwrap_or(NONE)])),
        );
        jumps.extend(branches.jumps.iter().map(|jump| (jump.end, [jump.target])));
    }
    for rows in [&mut calls, &mut jumps] {
        rows.sort_unstable();
        rows.dedup_by_key(|(address, _)| *address);
    }
    parts.set(Part::Calls, pack(calls));
    parts.set(Part::Jumps, pack(jumps));
}
