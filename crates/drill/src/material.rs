//! The dumps and the bundles that clients send, of which every byte is known.

use std::collections::HashSet;

use coredock_domain::artifacts::key::ArtifactName;
use coredock_testkit::firmware::{BundleBuilder, ImageBuilder, ZipEntry};
use coredock_testkit::invariants::{Fact, SetFacts};

use super::dice::Dice;

pub(super) const MODELS: [&str; 2] = ["drill_a", "drill_b"];
pub(super) const VERSIONS: [&str; 6] =
    ["1.0.0", "1.0.1", "1.1.0+5", "1.2.0-rc.1", "2.0.0", "2.0.1"];
/// Different sets per version.
const SETS: usize = 3;
pub(super) const MAX_DUMP_BYTES: usize = 200 << 10;

/// A bundle and the facts of its five artifacts.
pub(super) struct Set {
    pub(super) model: usize,
    pub(super) version: &'static str,
    pub(super) facts: SetFacts,
    pub(super) zip: Vec<u8>,
}

/// All bundles that can be published.
pub(super) struct Material {
    pub(super) sets: Vec<Set>,
    known: HashSet<(ArtifactName, Fact)>,
}

impl Material {
    /// All sets; they differ from seed to seed.
    pub(super) fn new(dice: &mut Dice) -> Self {
        let mut sets = Vec::new();
        for model in 0..MODELS.len() {
            // The last sets of all versions share one build, so that many versions use its symbols.
            let shared = noise(dice, b"\x7fELF", 9000);
            for version in VERSIONS {
                let elf_bytes = dice.spread(11..16, usize::MAX);
                let image_bytes = dice.spread(9..16, 1 << 16);
                let elf = noise(dice, b"\x7fELF", elf_bytes);
                for number in 0..SETS {
                    let elf = if number + 1 == SETS { &shared } else { &elf };
                    sets.push(Set::build(model, version, number, elf, image_bytes));
                }
            }
        }
        let artifacts = |set: &Set| ArtifactName::ALL.into_iter().zip(set.facts);
        let known = sets.iter().flat_map(artifacts).collect();
        Self { sets, known }
    }

    /// Whether any set has this artifact.
    pub(super) fn contains(&self, artifact: ArtifactName, fact: Fact) -> bool {
        self.known.contains(&(artifact, fact))
    }

    /// Whether a set of this version has this artifact.
    pub(super) fn has(
        &self,
        model: usize,
        version: &str,
        artifact: ArtifactName,
        fact: Fact,
    ) -> bool {
        let of_version = |set: &&Set| set.model == model && set.version == version;
        let place = ArtifactName::ALL.iter().position(|name| *name == artifact);
        let has = |set: &Set| place.is_some_and(|place| set.facts[place] == fact);
        self.sets.iter().filter(of_version).any(has)
    }
}

impl Set {
    fn build(
        model: usize,
        version: &'static str,
        number: usize,
        elf: &[u8],
        image_bytes: usize,
    ) -> Self {
        let code = MODELS[model];
        let image = ImageBuilder::new(version, image_bytes).of_elf(elf).build();
        let map = format!("map {number} of {code} {version}\n");
        let sdkconfig = "CONFIG_IDF_TARGET=\"esp32s3\"\n";
        let version_json = serde_json::json!({
            "git_commit": "0123456789abcdef0123456789abcdef01234567",
            "idf_version": "v5.3.1",
            "firmware_version": version,
        })
        .to_string();
        let parts = [elf, map.as_bytes(), sdkconfig.as_bytes(), version_json.as_bytes(), &image];
        let facts = parts.map(Fact::of);
        let bundle = BundleBuilder::new(code, version).bin(image.clone()).elf(elf);
        let bundle =
            bundle.map(map.clone()).sdkconfig(sdkconfig).version_json(version_json.clone());
        let zip = bundle.change_all(ZipEntry::stored).build();
        Self { model, version, facts, zip }
    }
}

/// The bytes of a dump, which is not in a known container; the same for the same `seed` and length.
pub(super) fn dump(seed: u64, length: usize) -> Vec<u8> {
    noise(&mut Dice::new(seed), b"drill", length)
}

fn noise(dice: &mut Dice, start: &[u8], length: usize) -> Vec<u8> {
    let mut bytes = start.to_vec();
    while bytes.len() < length {
        bytes.extend(dice.number().to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_sets_differ_and_their_artifacts_are_known() {
        let material = Material::new(&mut Dice::new(1));
        assert_eq!(material.sets.len(), MODELS.len() * VERSIONS.len() * SETS);
        let facts: HashSet<_> = material.sets.iter().map(|set| (set.model, set.facts)).collect();
        assert_eq!(facts.len(), material.sets.len());
        for set in &material.sets {
            for (artifact, fact) in ArtifactName::ALL.into_iter().zip(set.facts) {
                assert!(material.contains(artifact, fact));
                assert!(material.has(set.model, set.version, artifact, fact));
            }
        }
        assert!(!material.contains(ArtifactName::Bin, Fact::of(b"")));
    }

    #[test]
    fn dumps_are_made_again_from_their_seed() {
        assert_eq!(dump(3, 1000), dump(3, 1000));
        assert_ne!(dump(3, 1000), dump(4, 1000));
        assert_eq!(dump(3, 1), b"d");
    }
}
