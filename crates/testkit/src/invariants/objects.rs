//! The files of an artifact store, checked against the rows which refer to them.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use anyhow::Result;
use coredock_domain::artifacts::key::ArtifactKey;

use super::{Fact, Findings, Rows, Rule, VersionRow};
use crate::files::{files_below, unless_absent};

/// The lock file of a data directory.
const LOCK: &str = "coredock.lock";

/// The files of a store.
#[derive(Debug, Default)]
pub struct Objects {
    /// Files with a final name.
    whole: BTreeMap<String, Fact>,
    /// Files with the name of an unfinished write.
    pub temporary: Vec<PathBuf>,
}

impl Objects {
    pub fn read(artifacts: &Path) -> Result<Self> {
        let mut objects = Self::default();
        for path in files_below(artifacts)? {
            let key = path.strip_prefix(artifacts)?.to_string_lossy().into_owned();
            if key == LOCK {
                continue;
            }
            if is_temporary(&key) {
                objects.temporary.push(path);
            } else if let Some(bytes) = unless_absent(std::fs::read(&path))? {
                objects.whole.insert(key, Fact::of(&bytes));
            }
        }
        Ok(objects)
    }

    pub fn contains(&self, key: &str) -> bool {
        self.whole.contains_key(key)
    }

    /// Key and content of each whole file.
    pub fn iter(&self) -> impl Iterator<Item = (&str, Fact)> {
        self.whole.iter().map(|(key, fact)| (&**key, *fact))
    }

    /// Checks under `rule` that every object to which a row refers exists with the size and digest
    /// of the row.
    pub fn check_rows(&self, rows: &Rows, rule: Rule, findings: &mut Findings) -> Result<()> {
        for (key, fact) in rows.objects()? {
            let key = key.to_string();
            let found = self.whole.get(&key);
            findings.check(rule, found == Some(&fact), || match found {
                None => format!("{key} of a visible row is missing"),
                Some(found) => format!("{key} is {found:?}, its row says {fact:?}"),
            });
        }
        Ok(())
    }
}

/// Objects to which no row refers.
pub fn surplus(objects: &Objects, rows: &Rows) -> Result<Vec<String>> {
    // Until a replacement is settled, both sets exist.
    let settled = rows.versions.iter().map(|row| VersionRow { staging: None, ..row.clone() });
    let settled =
        Rows { versions: settled.collect(), models: rows.models.clone(), ..Rows::default() };
    let referenced = [rows.objects()?, settled.objects()?].concat();
    let referenced: BTreeSet<String> = referenced
        .into_iter()
        .map(|(key, _)| key)
        .chain(other_references(rows))
        .map(|key| key.to_string())
        .collect();
    let surplus = objects.whole.keys().filter(|key| !referenced.contains(*key));
    Ok(surplus.cloned().collect())
}

/// I6: after a sweep the objects to which rows refer are left, all of them, and no others.
pub fn check_swept(objects: &Objects, rows: &Rows, findings: &mut Findings) -> Result<()> {
    let surplus = surplus(objects, rows)?;
    findings.passed(Rule::Garbage, objects.whole.len() as u64);
    findings.check(Rule::Garbage, surplus.is_empty(), || {
        format!("garbage that still exists after the sweep: {surplus:?}")
    });
    for key in other_references(rows) {
        let key = key.to_string();
        findings.check(Rule::Garbage, objects.contains(&key), || format!("{key} is missing"));
    }
    objects.check_rows(rows, Rule::Garbage, findings)
}

/// The objects which a sweep must not delete, without those of versions and dumps.
fn other_references(rows: &Rows) -> impl Iterator<Item = ArtifactKey> {
    let symbols = rows.builds.iter().map(|build| ArtifactKey::Symbols { elf_sha256: *build });
    symbols.chain([ArtifactKey::Owner])
}

/// Writes go to `{name}.{random}.part` first.
fn is_temporary(key: &str) -> bool {
    Path::new(key).extension().is_some_and(|extension| extension == "part")
}

#[cfg(test)]
mod tests;
