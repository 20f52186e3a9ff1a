//! From addresses to functions, files, lines and inlined calls.

mod paths;

use std::collections::{BTreeMap, HashMap};

use crate::parameters::{Kind, Parameter};
use crate::words::u16_at;

pub(crate) use paths::shorten;

/// In place of a number of a string, a file or a scope.
pub(crate) const NONE: u32 = u32::MAX;
/// Bytes of all texts; those beyond count as unknown. A large firmware has a few MiB.
const MOST_STRINGS: u32 = 32 << 20;
/// Calls inlined into each other at one address.
const MOST_INLINED: usize = 64;

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

/// What an index holds of functions and lines.
#[derive(Debug, Default)]
pub(crate) struct SourceTable {
    strings: Strings,
    pub(crate) scopes: Vec<Scope>,
    /// Address, innermost scope from there on.
    pub(crate) segments: Vec<(u32, u32)>,
    /// Strings of each file: its path on the build machine, and within the project.
    pub(crate) files: Vec<(u32, u32)>,
    file_numbers: HashMap<(u32, u32), u32>,
    /// Address, file and line from there on.
    pub(crate) lines: Vec<(u32, u32, u32)>,
    /// Parameters by scope, in the order of their declaration.
    pub(crate) parameters: BTreeMap<u32, Vec<Parameter>>,
    /// Types of parameters, each once.
    pub(crate) kinds: Vec<Kind>,
    kind_numbers: HashMap<Kind, u32>,
}

impl SourceTable {
    pub(crate) fn add_string(&mut self, text: &str) -> u32 {
        self.strings.add(text)
    }

    /// A file of what was compiled in `directory`.
    pub(crate) fn add_file(&mut self, path: &str, directory: &str) -> u32 {
        let strings = (self.strings.add(path), self.strings.add(&shorten(path, directory)));
        let next = u32::try_from(self.files.len()).unwrap_or(NONE);
        let number = *self.file_numbers.entry(strings).or_insert(next);
        if number == next {
            self.files.push(strings);
        }
        number
    }

    pub(crate) fn add_scope(&mut self, scope: Scope) -> u32 {
        let number = u32::try_from(self.scopes.len()).unwrap_or(NONE);
        self.scopes.push(scope);
        number
    }

    /// The number of a type.
    pub(crate) fn add_kind(&mut self, kind: Kind) -> u32 {
        let next = u32::try_from(self.kinds.len()).unwrap_or(NONE);
        if let Some(number) = self.kind_numbers.get(&kind) {
            return *number;
        }
        self.kind_numbers.insert(kind.clone(), next);
        self.kinds.push(kind);
        next
    }

    pub(crate) fn add_segment(&mut self, address: u32, scope: Option<u32>) {
        self.segments.push((address, scope.unwrap_or(NONE)));
    }

    /// Rows of a sequence, and where it ends. Assemblers put a row without code at the very end.
    pub(crate) fn add_lines(&mut self, rows: &[(u32, u32, u32)], end: u32) {
        self.lines.extend(rows.iter().filter(|(address, ..)| *address < end));
        self.lines.push((end, NONE, 0));
    }

    /// Puts everything in the order of addresses. Where one unit ends and another begins the
    /// beginning counts; of several rows for one address the last.
    pub(crate) fn sort(&mut self) {
        self.segments.sort_by_key(|(address, scope)| (*address, *scope != NONE));
        keep_last(&mut self.segments, |(address, _)| *address);
        self.segments.dedup_by_key(|(_, scope)| *scope);
        self.lines.sort_by_key(|(address, file, _)| (*address, *file != NONE));
        keep_last(&mut self.lines, |(address, ..)| *address);
        self.lines.dedup_by_key(|(_, file, line)| (*file, *line));
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
        let place = u32::try_from(self.bytes.len()).ok().filter(|place| *place < MOST_STRINGS);
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
    /// Number of a file, and line.
    fn line_at(&self, address: u32) -> Option<(u32, u32)>;
    /// Strings of path and file.
    fn file(&self, number: u32) -> Option<(u32, u32)>;
    fn string(&self, number: u32) -> Option<&str>;
    fn parameters(&self, scope: u32) -> Vec<Parameter>;
    fn kind(&self, number: u32) -> Kind;
}

impl Sources for SourceTable {
    fn scope_at(&self, address: u32) -> Option<u32> {
        let behind = self.segments.partition_point(|(start, _)| *start <= address);
        self.segments.get(behind.checked_sub(1)?).map(|(_, scope)| *scope)
    }

    fn scope(&self, number: u32) -> Option<Scope> {
        self.scopes.get(usize::try_from(number).ok()?).copied()
    }

    fn line_at(&self, address: u32) -> Option<(u32, u32)> {
        let behind = self.lines.partition_point(|(start, ..)| *start <= address);
        self.lines.get(behind.checked_sub(1)?).map(|(_, file, line)| (*file, *line))
    }

    fn file(&self, number: u32) -> Option<(u32, u32)> {
        self.files.get(usize::try_from(number).ok()?).copied()
    }

    fn string(&self, number: u32) -> Option<&str> {
        string_in(&self.strings.bytes, number)
    }

    fn parameters(&self, scope: u32) -> Vec<Parameter> {
        self.parameters.get(&scope).cloned().unwrap_or_default()
    }

    fn kind(&self, number: u32) -> Kind {
        let kind = usize::try_from(number).ok().and_then(|number| self.kinds.get(number));
        kind.cloned().unwrap_or(Kind::Other)
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
    let mut place = sources.line_at(address).unwrap_or((NONE, 0));
    let mut frames = Vec::new();
    let mut next = sources.scope_at(address);
    while let Some((number, scope)) = next.and_then(|n| Some((n, sources.scope(n)?))) {
        let inlined = scope.parent != NONE;
        let source = frame(sources, scope.name, (place, inlined));
        frames.push(Located { source, scope: Some(number) });
        place = (scope.call_file, scope.call_line);
        // A parent comes before its children: there are no circles.
        next = inlined.then_some(scope.parent).filter(|parent| Some(*parent) < next);
        if frames.len() >= MOST_INLINED {
            break;
        }
    }
    if frames.is_empty() && place.0 != NONE {
        frames.push(frame(sources, NONE, (place, false)).into());
    }
    if let Some(last) = frames.last_mut() {
        last.source.inlined = false;
    }
    frames
}

fn frame(sources: &dyn Sources, name: u32, ((file, line), inlined): ((u32, u32), bool)) -> Source {
    let text = |place: u32| sources.string(place).map(str::to_owned);
    let (path, file) =
        sources.file(file).map_or((None, None), |(path, file)| (text(path), text(file)));
    let line = (line > 0).then_some(line);
    Source { function: text(name), path, file, line, inlined, near: None }
}
