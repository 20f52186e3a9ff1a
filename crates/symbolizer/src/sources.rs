//! Functions, files, lines and inlined calls by address.

mod paths;

use std::collections::{BTreeMap, HashMap};

use crate::parameters::{Parameter, ValueType};
use crate::words::u16_at;

pub(crate) use paths::shorten;

/// Marks a missing string, file or scope.
pub(crate) const NONE: u32 = u32::MAX;
/// In bytes; strings beyond are dropped. A large firmware has a few MiB.
const MAX_STRINGS: u32 = 32 << 20;
/// Calls inlined into each other at one address.
const MAX_INLINED: usize = 64;

/// A function, or a call inlined into one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Scope {
    /// Number of a string.
    pub(crate) name: u32,
    /// The scope it is inlined into.
    pub(crate) parent: u32,
    /// File and line of the inlined call.
    pub(crate) call_file: u32,
    pub(crate) call_line: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SourceLine {
    pub(crate) file: u32,
    /// From 1 on; 0 if unknown.
    pub(crate) line: u32,
}

impl SourceLine {
    pub(crate) const UNKNOWN: Self = Self { file: NONE, line: 0 };
}

/// The line of the code from an address on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct LineRow {
    pub(crate) address: u32,
    pub(crate) line: SourceLine,
}

/// The paths of a file, as numbers of strings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct SourceFile {
    /// On the build machine.
    pub(crate) path: u32,
    /// Within the project or the framework.
    pub(crate) short: u32,
}

/// Functions and lines of an ELF, in the form that an index stores.
#[derive(Debug, Default)]
pub(crate) struct SourceTable {
    strings: Strings,
    pub(crate) scopes: Vec<Scope>,
    /// Address, innermost scope from there on.
    pub(crate) scope_starts: Vec<(u32, u32)>,
    pub(crate) files: Vec<SourceFile>,
    file_numbers: HashMap<SourceFile, u32>,
    pub(crate) lines: Vec<LineRow>,
    /// By scope, in the order of declaration.
    pub(crate) parameters: BTreeMap<u32, Vec<Parameter>>,
    /// Each once.
    pub(crate) types: Vec<ValueType>,
    type_numbers: HashMap<ValueType, u32>,
}

impl SourceTable {
    pub(crate) fn add_string(&mut self, text: &str) -> u32 {
        self.strings.add(text)
    }

    /// A file that was compiled in `directory`.
    pub(crate) fn add_file(&mut self, path: &str, directory: &str) -> u32 {
        let short = shorten(path, directory);
        let file = SourceFile { path: self.strings.add(path), short: self.strings.add(&short) };
        let next = u32::try_from(self.files.len()).unwrap_or(NONE);
        let number = *self.file_numbers.entry(file).or_insert(next);
        if number == next {
            self.files.push(file);
        }
        number
    }

    pub(crate) fn add_scope(&mut self, scope: Scope) -> u32 {
        let number = u32::try_from(self.scopes.len()).unwrap_or(NONE);
        self.scopes.push(scope);
        number
    }

    pub(crate) fn add_type(&mut self, value_type: ValueType) -> u32 {
        let next = u32::try_from(self.types.len()).unwrap_or(NONE);
        if let Some(number) = self.type_numbers.get(&value_type) {
            return *number;
        }
        self.type_numbers.insert(value_type.clone(), next);
        self.types.push(value_type);
        next
    }

    pub(crate) fn add_scope_start(&mut self, address: u32, scope: Option<u32>) {
        self.scope_starts.push((address, scope.unwrap_or(NONE)));
    }

    /// Rows of a sequence, and its end. Assemblers put a row without code at the end.
    pub(crate) fn add_lines(&mut self, rows: &[LineRow], end: u32) {
        self.lines.extend(rows.iter().filter(|row| row.address < end));
        self.lines.push(LineRow { address: end, line: SourceLine::UNKNOWN });
    }

    /// Sorts everything by address. Where one unit ends and another begins, the row of the
    /// beginning counts; of several rows for one address the last.
    pub(crate) fn sort(&mut self) {
        self.scope_starts.sort_by_key(|(address, scope)| (*address, *scope != NONE));
        keep_last(&mut self.scope_starts, |(address, _)| *address);
        self.scope_starts.dedup_by_key(|(_, scope)| *scope);
        self.lines.sort_by_key(|row| (row.address, row.line.file != NONE));
        keep_last(&mut self.lines, |row| row.address);
        self.lines.dedup_by_key(|row| row.line);
    }

    /// Each string preceded by its length; the number of a string is its offset.
    pub(crate) fn string_bytes(&self) -> &[u8] {
        &self.strings.bytes
    }
}

/// Of consecutive rows for one address, keeps the last.
pub(crate) fn keep_last<T>(rows: &mut Vec<T>, address: impl Fn(&T) -> u32) {
    rows.dedup_by(|later, earlier| {
        let same = address(later) == address(earlier);
        if same {
            std::mem::swap(later, earlier);
        }
        same
    });
}

/// Each string once.
#[derive(Debug, Default)]
struct Strings {
    bytes: Vec<u8>,
    offsets: HashMap<String, u32>,
}

impl Strings {
    fn add(&mut self, text: &str) -> u32 {
        if let Some(offset) = self.offsets.get(text) {
            return *offset;
        }
        let offset = u32::try_from(self.bytes.len()).ok().filter(|offset| *offset < MAX_STRINGS);
        let (Some(offset), Ok(length)) = (offset, u16::try_from(text.len())) else { return NONE };
        self.bytes.extend(length.to_le_bytes());
        self.bytes.extend(text.as_bytes());
        self.offsets.insert(text.to_owned(), offset);
        offset
    }
}

/// The source of an address or a frame.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Source {
    /// `None` if nothing names it.
    pub function: Option<String>,
    /// Path on the build machine.
    pub path: Option<String>,
    /// Path within project or framework, where that can be determined.
    pub file: Option<String>,
    /// From 1 on.
    pub line: Option<u32>,
    /// Its code is part of the function of the next frame.
    pub inlined: bool,
    /// A ROM function that begins shortly before the address, which may belong to another one.
    pub near: Option<String>,
}

/// A [`SourceTable`], in memory or in an index.
pub(crate) trait Sources {
    fn scope_at(&self, address: u32) -> Option<u32>;
    fn scope(&self, number: u32) -> Option<Scope>;
    fn line_at(&self, address: u32) -> Option<SourceLine>;
    fn file(&self, number: u32) -> Option<SourceFile>;
    fn string(&self, number: u32) -> Option<&str>;
    fn parameters(&self, scope: u32) -> Vec<Parameter>;
    fn value_type(&self, number: u32) -> ValueType;
}

impl Sources for SourceTable {
    fn scope_at(&self, address: u32) -> Option<u32> {
        let after = self.scope_starts.partition_point(|(start, _)| *start <= address);
        self.scope_starts.get(after.checked_sub(1)?).map(|(_, scope)| *scope)
    }

    fn scope(&self, number: u32) -> Option<Scope> {
        self.scopes.get(usize::try_from(number).ok()?).copied()
    }

    fn line_at(&self, address: u32) -> Option<SourceLine> {
        let after = self.lines.partition_point(|row| row.address <= address);
        self.lines.get(after.checked_sub(1)?).map(|row| row.line)
    }

    fn file(&self, number: u32) -> Option<SourceFile> {
        self.files.get(usize::try_from(number).ok()?).copied()
    }

    fn string(&self, number: u32) -> Option<&str> {
        string_in(&self.strings.bytes, number)
    }

    fn parameters(&self, scope: u32) -> Vec<Parameter> {
        self.parameters.get(&scope).cloned().unwrap_or_default()
    }

    fn value_type(&self, number: u32) -> ValueType {
        let value_type = usize::try_from(number).ok().and_then(|number| self.types.get(number));
        value_type.cloned().unwrap_or(ValueType::Other)
    }
}

/// The string at an offset.
pub(crate) fn string_in(bytes: &[u8], offset: u32) -> Option<&str> {
    let at = bytes.get(usize::try_from(offset).ok()?..)?;
    let length = usize::from(u16_at(at, 0)?);
    std::str::from_utf8(at.get(2..)?.get(..length)?).ok()
}

#[derive(Debug, Default)]
pub(crate) struct Located {
    pub(crate) source: Source,
    /// The scope with its parameters.
    pub(crate) scope: Option<u32>,
}

impl From<Source> for Located {
    fn from(source: Source) -> Self {
        Self { source, scope: None }
    }
}

/// The functions at an address, innermost first; empty if there is no information.
pub(crate) fn look_up(sources: &dyn Sources, address: u32) -> Vec<Located> {
    let mut line = sources.line_at(address).unwrap_or(SourceLine::UNKNOWN);
    let mut frames = Vec::new();
    let mut next = sources.scope_at(address);
    while let Some((number, scope)) = next.and_then(|n| Some((n, sources.scope(n)?))) {
        let inlined = scope.parent != NONE;
        let source = source_of(sources, scope.name, line, inlined);
        frames.push(Located { source, scope: Some(number) });
        line = SourceLine { file: scope.call_file, line: scope.call_line };
        // Parents come before their children, so this ends.
        next = inlined.then_some(scope.parent).filter(|parent| Some(*parent) < next);
        if frames.len() >= MAX_INLINED {
            break;
        }
    }
    if frames.is_empty() && line.file != NONE {
        frames.push(source_of(sources, NONE, line, false).into());
    }
    if let Some(last) = frames.last_mut() {
        last.source.inlined = false;
    }
    frames
}

fn source_of(sources: &dyn Sources, name: u32, line: SourceLine, inlined: bool) -> Source {
    let text = |offset: u32| sources.string(offset).map(str::to_owned);
    let file = sources.file(line.file);
    Source {
        function: text(name),
        path: file.and_then(|file| text(file.path)),
        file: file.and_then(|file| text(file.short)),
        line: (line.line > 0).then_some(line.line),
        inlined,
        near: None,
    }
}
