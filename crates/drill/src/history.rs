//! The requests of clients and their answers, since the first life of the server.

use anyhow::Result;
use coredock_domain::artifacts::key::{ArtifactKey, ArtifactName};
use coredock_testkit::invariants::{Fact, Findings, Objects, Rows, Rule, check_pointers};

use super::dumps::Dumps;
use super::events::Events;
use super::fleet::Fleet;
use super::material::{MODELS, Material};
use super::versions::Versions;

pub(super) struct History {
    pub(super) fleet: Fleet,
    pub(super) material: Material,
    pub(super) dumps: Dumps,
    pub(super) versions: Versions,
}

impl History {
    /// A history without requests, for clients that can send `material`.
    pub(super) fn new(material: Material) -> Self {
        Self {
            fleet: Fleet::default(),
            material,
            dumps: Dumps::default(),
            versions: Versions::default(),
        }
    }

    /// Compares the rows with the answers of a life, and remembers both.
    pub(super) fn compare(
        &mut self,
        events: &Events,
        rows: &Rows,
        findings: &mut Findings,
    ) -> Result<()> {
        findings.check(Rule::Database, rows.faults.is_empty(), || rows.faults.join(", "));
        check_pointers(rows, findings);
        self.dumps.compare(events, rows, &self.fleet, findings)?;
        self.versions.compare(events, rows, &self.fleet, findings)
    }

    /// I14: every object under a final name is a complete artifact that was sent.
    pub(super) fn check_whole(&self, objects: &Objects, findings: &mut Findings) {
        for (key, fact) in objects.iter() {
            findings.check(Rule::WholeFiles, self.allows(key, fact), || {
                format!(
                    "{key} with {} bytes is not an artifact that was sent for this key",
                    fact.size
                )
            });
        }
    }

    /// I4: objects of deleted rows are deleted once the outbox is empty.
    pub(super) fn check_deleted(&self, objects: &Objects, findings: &mut Findings) {
        let devices = &self.fleet.devices;
        let dumps = self.dumps.deleted.iter();
        let dumps =
            dumps.map(|(id, device)| format!("coredumps/{}/{id}.dmp", devices[*device].key));
        let versions = self.versions.without_objects();
        let versions = versions
            .map(|key| format!("firmware/{}/{}/firmware.bin", MODELS[key.model], key.version));
        for key in dumps.chain(versions) {
            findings.check(Rule::Outbox, !objects.contains(&key), || {
                format!("{key} still exists, although its row was deleted and the outbox is empty")
            });
        }
    }

    /// Whether any device ever sent this dump.
    pub(super) fn has_dump(&self, fact: Fact) -> bool {
        (0..self.fleet.devices.len()).any(|device| self.dumps.was_sent(device, fact))
    }

    /// Whether this ELF was ever part of a bundle.
    pub(super) fn has_elf(&self, fact: Fact) -> bool {
        self.material.contains(ArtifactName::Elf, fact)
    }

    fn allows(&self, path: &str, fact: Fact) -> bool {
        match path.parse() {
            Ok(ArtifactKey::Firmware { model, version, artifact }) => {
                let model = MODELS.iter().position(|code| *code == model.as_str());
                model
                    .is_some_and(|model| self.material.has(model, version.as_str(), artifact, fact))
            }
            Ok(ArtifactKey::Symbols { elf_sha256 }) => {
                elf_sha256 == fact.sha256 && self.has_elf(fact)
            }
            Ok(ArtifactKey::Coredump { device, .. }) => {
                let device = self.fleet.device_of_key(device.as_str());
                device.is_some_and(|device| self.dumps.was_sent(device, fact))
            }
            Ok(ArtifactKey::Staging { artifact, .. }) => self.material.contains(artifact, fact),
            Ok(ArtifactKey::Owner | ArtifactKey::Health { .. }) => true,
            // The drill uploads no ROM ELF, and its sidecar needs no index.
            Ok(ArtifactKey::RomElf { .. } | ArtifactKey::SymbolIndex { .. }) | Err(_) => false,
        }
    }
}

#[cfg(test)]
mod tests;
