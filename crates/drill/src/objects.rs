//! The files of the artifact directory, and what rows say of them.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use coredock_domain::artifacts::key::{ArtifactKey, ArtifactName};

use super::findings::{Findings, Rule};
use super::fleet::Fleet;
use super::ledger::Dumps;
use super::material::{Fact, MODELS, Material};
use super::rows::{Rows, VersionRow};

/// The lock file of a data directory.
const LOCK: &str = "coredock.lock";
/// The mark of the owner.
const OWNER: &str = "coredock/owner";

/// What lies in the store.
#[derive(Debug, Default)]
pub(super) struct Objects {
    /// Under a final name.
    whole: BTreeMap<String, Fact>,
    /// Under the name of a write that has not ended.
    pub(super) temporary: Vec<PathBuf>,
}

/// Who may know what.
pub(super) struct Known<'a> {
    pub(super) fleet: &'a Fleet,
    pub(super) material: &'a Material,
    pub(super) dumps: &'a Dumps,
}

impl Objects {
    /// Reads every file.
    pub(super) fn read(artifacts: &Path) -> Result<Self> {
        let mut objects = Self::default();
        for path in files_below(artifacts)? {
            let key = path.strip_prefix(artifacts)?.to_str().context("a name in no UTF-8")?;
            if key == LOCK {
                continue;
            }
            if is_temporary(key) {
                objects.temporary.push(path);
            } else if let Some(bytes) = unless_absent(std::fs::read(&path))? {
                objects.whole.insert(key.to_owned(), Fact::of(&bytes));
            }
        }
        Ok(objects)
    }

    /// Whether there is a file of this name.
    pub(super) fn holds(&self, key: &str) -> bool {
        self.whole.contains_key(key)
    }

    /// Names of all whole files.
    pub(super) fn keys(&self) -> BTreeSet<&str> {
        self.whole.keys().map(String::as_str).collect()
    }

    /// `rule`: every object a row refers to is there, as the row says.
    pub(super) fn check_rows(
        &self,
        rows: &Rows,
        fleet: &Fleet,
        (rule, findings): (Rule, &mut Findings),
    ) -> Result<()> {
        for (key, fact) in referenced(rows, fleet)? {
            let found = self.whole.get(&key);
            findings.check(rule, found == Some(&fact), || match found {
                None => format!("{key} of a visible row is missing"),
                Some(found) => format!("{key} is {found:?}, its row says {fact:?}"),
            });
        }
        Ok(())
    }

    /// I14: whatever has a final name is something that was sent, whole.
    pub(super) fn check_whole(&self, known: &Known<'_>, findings: &mut Findings) {
        for (key, fact) in &self.whole {
            findings.check(Rule::WholeFiles, known.allows(key, *fact), || {
                format!("{key} with {} bytes is nothing that was ever sent for it", fact.size)
            });
        }
    }
}

impl Known<'_> {
    /// Whether any device ever sent this dump.
    pub(super) fn is_dump(&self, fact: Fact) -> bool {
        (0..self.fleet.devices.len()).any(|device| self.dumps.was_sent(device, fact))
    }

    /// Whether this ELF was ever part of a bundle.
    pub(super) fn is_elf(&self, fact: Fact) -> bool {
        self.material.knows(ArtifactName::Elf, fact)
    }

    fn allows(&self, path: &str, fact: Fact) -> bool {
        match path.parse() {
            Ok(ArtifactKey::Firmware { model, version, artifact }) => {
                let model = MODELS.iter().position(|code| *code == model.as_str());
                model.is_some_and(|model| {
                    self.material.has((model, version.as_str()), artifact, fact)
                })
            }
            Ok(ArtifactKey::Symbols { elf_sha256 }) => {
                elf_sha256 == fact.sha256 && self.material.knows(ArtifactName::Elf, fact)
            }
            Ok(ArtifactKey::Coredump { device, .. }) => {
                let device = self.fleet.device_of_key(device.as_str());
                device.is_some_and(|device| self.dumps.was_sent(device, fact))
            }
            Ok(ArtifactKey::Staging { artifact, .. }) => self.material.knows(artifact, fact),
            Ok(ArtifactKey::Owner | ArtifactKey::Health { .. }) => true,
            // The drill uploads none, and its sidecar needs no index.
            Ok(ArtifactKey::RomElf { .. } | ArtifactKey::SymbolIndex { .. }) | Err(_) => false,
        }
    }
}

/// The objects of all visible rows.
pub(super) fn referenced(rows: &Rows, fleet: &Fleet) -> Result<Vec<(String, Fact)>> {
    let mut referenced = Vec::new();
    for dump in &rows.dumps {
        let device = fleet.device(dump.device_id).context("a dump of an unknown device")?;
        let key = format!("coredumps/{}/{}.dmp", fleet.devices[device].key, dump.id);
        referenced.push((key, dump.fact()?));
    }
    for version in &rows.versions {
        let model = fleet.model(version.model_id).context("a version of an unknown model")?;
        let directory = match &version.staging {
            Some(upload) => format!("staging/{upload}"),
            None => format!("firmware/{}/{}", MODELS[model], version.version),
        };
        for (artifact, fact) in ArtifactName::ALL.into_iter().zip(version.facts) {
            referenced.push((format!("{directory}/{artifact}"), fact));
        }
        let build = version.build();
        referenced.push((symbols(&build.sha256.to_string()), build));
    }
    Ok(referenced)
}

/// Objects no row gives a meaning to.
pub(super) fn surplus(objects: &Objects, rows: &Rows, fleet: &Fleet) -> Result<Vec<String>> {
    let mut meant: BTreeSet<String> =
        referenced(rows, fleet)?.into_iter().map(|(key, _)| key).collect();
    // Until a replacement is settled, both sets are there.
    let settled = rows.versions.iter().map(|row| VersionRow { staging: None, ..row.clone() });
    let settled = Rows { versions: settled.collect(), ..Rows::default() };
    meant.extend(referenced(&settled, fleet)?.into_iter().map(|(key, _)| key));
    meant.extend(rows.builds.iter().map(|build| symbols(build)));
    meant.insert(OWNER.to_owned());
    let surplus = objects.keys().into_iter().filter(|key| !meant.contains(*key));
    Ok(surplus.map(str::to_owned).collect())
}

/// I6: after a sweep only what rows refer to is left, and all of it.
pub(super) fn check_swept(
    objects: &Objects,
    rows: &Rows,
    (fleet, findings): (&Fleet, &mut Findings),
) -> Result<()> {
    let surplus = surplus(objects, rows, fleet)?;
    findings.held(Rule::Garbage, objects.whole.len() as u64);
    findings.check(Rule::Garbage, surplus.is_empty(), || {
        format!("garbage and still there after the sweep: {surplus:?}")
    });
    let kept = rows.builds.iter().map(|build| symbols(build)).chain([OWNER.to_owned()]);
    for key in kept {
        findings.check(Rule::Garbage, objects.holds(&key), || format!("{key} is gone"));
    }
    objects.check_rows(rows, fleet, (Rule::Garbage, findings))
}

fn symbols(build: &str) -> String {
    format!("symbols/{build}/firmware.elf")
}

/// Writes go to `{name}#{number}` first.
fn is_temporary(key: &str) -> bool {
    key.rsplit_once('#').is_some_and(|(_, number)| number.bytes().all(|byte| byte.is_ascii_digit()))
}

/// Every file below a directory; what vanishes meanwhile is left out.
pub(super) fn files_below(directory: &Path) -> Result<Vec<PathBuf>> {
    let (mut files, mut directories) = (Vec::new(), vec![directory.to_owned()]);
    while let Some(directory) = directories.pop() {
        let Some(entries) = unless_absent(std::fs::read_dir(&directory))? else { continue };
        for entry in entries {
            let entry = entry?;
            match unless_absent(entry.file_type())? {
                Some(kind) if kind.is_dir() => directories.push(entry.path()),
                Some(_) => files.push(entry.path()),
                None => {}
            }
        }
    }
    Ok(files)
}

fn unless_absent<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests;
