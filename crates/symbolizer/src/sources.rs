//! From addresses to functions, files, lines and inlined calls.

mod paths;

use std::collections::{BTreeMap, HashMap};

use crate::parameters::{Parameter, ValueType};
use crate::words::u16_at;

pub(crate) use paths::shorten;

/// In place of a number of a string, a file or a scope.
pub(crate) const NONE: u32 = u32::MAX;
/// Bytes of all texts; those beyond count as unknown. A large firmware has a few MiB.
const MAX_STRINGS: u32 = 32 << 20;
/// Calls inlined into each other at one address.
const MAX_INLINED: usize = 64;

/// A function, or a call inlined into one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Scope {
    /// String.
    pub(crate) name: u32,
    /// Scope it is inlined into.
    pub(crate) parent: u32,
    /// File and line of the call that is inlined.
    pub(crate) call_file: u32,
    pub(crate) call_line: u32,
}

/// A line of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SourceLine {
    pub(crate) file: u32,
    /// From 1 on; 0 when it is unknown.
    pub(crate) line: u32,
}

impl SourceLine {
    pub(crate) const UNKNOWN: Self = Self { file: NONE, line: 0 };
}

/// The paths of a file, as numbers of strings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct SourceFile {
    /// On the build machine.
    pub(crate) path: u32,
    /// Within the project or the framework.
    pub(crate) short: u32,
}

/// What an index holds of functions and lines.
#[derive(Debug, Default)]
pub(crate) struct SourceTable {
    strings: Strings,
    pub(crate) scopes: Vec<Scope>,
    /// Address, innermost scope from there on.
    pub(crate) scope_starts: Vec<(u32, u32)>,
    pub(crate) files: Vec<SourceFile>,
    file_numbers: HashMap<SourceFile, u32>,
    /// Address, line from there on.
    pub(crate) lines: Vec<(u32, SourceLine)>,
    /// Parameters by scope, in the order of their declaration.
    pub(crate) parameters: BTreeMap<u32, Vec<Parameter>>,
    /// Types of parameters, each once.
    pub(crate) types: Vec<ValueType>,
    type_numbers: HashMap<ValueType, u32>,
}

impl SourceTable {
    pub(crate) fn add_string(&mut self, text: &str) -> u32 {
        self.strings.add(text)
    }

    /// A file of what was compiled in `directory`.
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

    /// The number of a type.
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

    /// Rows of a sequence, and where it ends. Assemblers put a row without code at the very end.
    pub(crate) fn add_lines(&mut self, rows: &[(u32, SourceLine)], end: u32) {
        self.lines.extend(rows.iter().filter(|(address, _)| *address < end));
        self.lines.push((end, SourceLine::UNKNOWN));
    }

    /// Puts everything in the order of addresses. Where one unit ends and another begins the
    /// beginning counts; of several rows for one address the last.
    pub(crate) fn sort(&mut self) {
        self.scope_starts.sort_by_key(|(address, scope)| (*address, *scope != NONE));
        keep_last(&mut self.scope_starts, |(address, _)| *address);
        self.scope_starts.dedup_by_key(|(_, scope)| *scope);
        self.lines.sort_by_key(|(address, line)| (*address, line.file != NONE));
        keep_last(&mut self.lines, |(address, _)| *address);
        self.lines.dedup_by_key(|(_, line)| *line);
    }

    /// The strings, each behind its length; a number of a string is its place.
    pub(crate) fn string_bytes(&self) -> &[u8] {
        &self.strings.bytes
    }
}

/// Of several rows for one address that follow each other, leaves the last.
pub(crate) fn keep_last<T>(rows: &mut Vec<T>, address: impl Fn(&T) -> u32) {
    rows.dedup_by(|later, earlier| {
        let same = address(later) == address(earlier);
        if same {
            std::mem::swap(later, earlier);
        }
        same
    });
}

/// Each text once.
#[derive(Debug, Default)]
struct Strings {
    bytes: Vec<u8>,
    places: HashMap<String, u32>,
}

impl Strings {
    fn add(&mut self, text: &str) -> u32 {
        if let Some(place) = self.places.get(text) {
            return *place;
        }
        let place = u32::try_from(self.bytes.len()).ok().filter(|place| *place < MAX_STRINGS);
        let (Some(place), Ok(length)) = (place, u16::try_from(text.len())) else { return NONE };
        self.bytes.extend(length.to_le_bytes());
        self.bytes.extend(text.as_bytes());
        self.places.insert(text.to_owned(), place);
        place
    }
}

/// Which function an address or a frame is of.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Source {
    /// Its name; `None` when nothing names it.
    pub function: Option<String>,
    /// Path on the build machine.
    pub path: Option<String>,
    /// Path within project or framework, as far as that can be told.
    pub file: Option<String>,
    /// From 1 on.
    pub line: Option<u32>,
    /// Its code is part of the function of the next frame.
    pub inlined: bool,
    /// A function in ROM that begins shortly before; perhaps it is another one.
    pub near: Option<String>,
}

/// A table that can be looked into.
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
        let behind = self.scope_starts.partition_point(|(start, _)| *start <= address);
        self.scope_starts.get(behind.checked_sub(1)?).map(|(_, scope)| *scope)
    }

    fn scope(&self, number: u32) -> Option<Scope> {
        self.scopes.get(usize::try_from(number).ok()?).copied()
    }

    fn line_at(&self, address: u32) -> Option<SourceLine> {
        let behind = self.lines.partition_point(|(start, _)| *start <= address);
        self.lines.get(behind.checked_sub(1)?).map(|(_, line)| *line)
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

/// A string by its place.
pub(crate) fn string_in(bytes: &[u8], place: u32) -> Option<&str> {
    let at = bytes.get(usize::try_from(place).ok()?..)?;
    let length = usize::from(u16_at(at, 0)?);
    std::str::from_utf8(at.get(2..)?.get(..length)?).ok()
}

/// A function at an address.
#[derive(Debug, Default)]
pub(crate) struct Located {
    pub(crate) source: Source,
    /// What tells its parameters.
    pub(crate) scope: Option<u32>,
}

impl From<Source> for Located {
    fn from(source: Source) -> Self {
        Self { source, scope: None }
    }
}

/// The functions at an address, innermost first; empty when there is no information.
pub(crate) fn look_up(sources: &dyn Sources, address: u32) -> Vec<Located> {
    let mut line = sources.line_at(address).unwrap_or(SourceLine::UNKNOWN);
    let mut frames = Vec::new();
    let mut next = sources.scope_at(address);
    while let Some((number, scope)) = next.and_then(|n| Some((n, sources.scope(n)?))) {
        let inlined = scope.parent != NONE;
        let source = source_of(sources, scope.name, line, inlined);
        frames.push(Located { source, scope: Some(number) });
        line = SourceLine { file: scope.call_file, line: scope.call_line };
        // A parent comes before its children: there are no circles.
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
    let text = |place: u32| sources.string(place).map(str::to_owned);
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
