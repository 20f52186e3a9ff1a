//! The keys of stored objects (contract §5.6).

use std::fmt;
use std::str::FromStr;

use crate::digest::Sha256Digest;
use crate::ids::{DeviceKey, ModelCode, ReplicaId, UploadId, VersionText};

/// One of the five artifacts of a version (contract §0.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ArtifactName {
    /// `firmware.bin`, the image devices install.
    Bin,
    /// `firmware.elf`, the symbols of the image.
    Elf,
    /// `firmware.map`, the linker map.
    Map,
    /// `sdkconfig`, the build configuration.
    Sdkconfig,
    /// `version.json`, the description of the build by the pipeline.
    VersionJson,
}

impl ArtifactName {
    /// In the order in which they are published: `firmware.bin` comes last (contract §5.7).
    pub const ALL: [Self; 5] =
        [Self::Elf, Self::Map, Self::Sdkconfig, Self::VersionJson, Self::Bin];

    /// The file name under which it is stored and downloaded.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Bin => "firmware.bin",
            Self::Elf => "firmware.elf",
            Self::Map => "firmware.map",
            Self::Sdkconfig => "sdkconfig",
            Self::VersionJson => "version.json",
        }
    }
}

impl fmt::Display for ArtifactName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

/// A text that is not a key or a name of an artifact.
#[derive(Debug, thiserror::Error)]
#[error("not the key of a stored artifact")]
pub struct UnknownKey;

impl FromStr for ArtifactName {
    type Err = UnknownKey;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL.into_iter().find(|name| name.as_str() == text).ok_or(UnknownKey)
    }
}

/// The name of an object. Only this type renders and parses the paths of objects.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ArtifactKey {
    /// An artifact of a version, under its final key.
    Firmware { model: ModelCode, version: VersionText, artifact: ArtifactName },
    /// The ELF of a build, under its own SHA-256.
    Symbols { elf_sha256: Sha256Digest },
    /// The index of that ELF, in this format of the indexer.
    SymbolIndex { elf_sha256: Sha256Digest, format: u32 },
    /// The ELF of the code in the ROM of a chip, under its own SHA-256.
    RomElf { sha256: Sha256Digest },
    /// The body of a dump as it was received.
    Coredump { device: DeviceKey, id: i64 },
    /// An artifact of an upload that is not settled.
    Staging { upload: UploadId, artifact: ArtifactName },
    /// The owner mark: which installation may sweep the store (I6).
    Owner,
    /// The object with which a replica checks that the store can be written and read.
    Health { replica: ReplicaId },
}

impl ArtifactKey {
    /// The scope whose lease a publication holds while it writes this object (contract §5.7).
    /// `None` for objects which no publication writes.
    pub fn scope(&self) -> Option<PublicationScope> {
        match self {
            Self::Firmware { model, version, .. } => {
                Some(PublicationScope::Version { model: model.clone(), version: version.clone() })
            }
            Self::Symbols { elf_sha256 } | Self::SymbolIndex { elf_sha256, .. } => {
                Some(PublicationScope::Symbols { elf_sha256: *elf_sha256 })
            }
            Self::RomElf { sha256 } => Some(PublicationScope::RomElf { sha256: *sha256 }),
            Self::Staging { upload, .. } => {
                Some(PublicationScope::Staging { upload: upload.clone() })
            }
            Self::Coredump { .. } | Self::Owner | Self::Health { .. } => None,
        }
    }
}

impl fmt::Display for ArtifactKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Firmware { model, version, artifact } => {
                write!(formatter, "firmware/{model}/{version}/{artifact}")
            }
            Self::Symbols { elf_sha256 } => write!(formatter, "symbols/{elf_sha256}/firmware.elf"),
            Self::SymbolIndex { elf_sha256, format } => {
                write!(formatter, "symbols/{elf_sha256}/index-{format}")
            }
            Self::RomElf { sha256 } => write!(formatter, "rom/{sha256}.elf"),
            Self::Coredump { device, id } => write!(formatter, "coredumps/{device}/{id}.dmp"),
            Self::Staging { upload, artifact } => {
                write!(formatter, "staging/{}/{artifact}", upload.as_str())
            }
            Self::Owner => formatter.write_str("coredock/owner"),
            Self::Health { replica } => write!(formatter, "health/{}.probe", replica.as_str()),
        }
    }
}

impl FromStr for ArtifactKey {
    type Err = UnknownKey;

    fn from_str(path: &str) -> Result<Self, Self::Err> {
        let parts: Vec<&str> = path.split('/').collect();
        parse_parts(&parts).ok_or(UnknownKey)
    }
}

fn parse_parts(parts: &[&str]) -> Option<ArtifactKey> {
    match *parts {
        ["firmware", model, version, artifact] => Some(ArtifactKey::Firmware {
            model: ModelCode::parse(model)?,
            version: VersionText::parse(version)?,
            artifact: artifact.parse().ok()?,
        }),
        ["symbols", elf_sha256, "firmware.elf"] => {
            Some(ArtifactKey::Symbols { elf_sha256: elf_sha256.parse().ok()? })
        }
        ["symbols", elf_sha256, file] => {
            let format = number(file.strip_prefix("index-")?)?;
            Some(ArtifactKey::SymbolIndex { elf_sha256: elf_sha256.parse().ok()?, format })
        }
        ["rom", file] => {
            Some(ArtifactKey::RomElf { sha256: file.strip_suffix(".elf")?.parse().ok()? })
        }
        ["coredumps", device, file] => {
            let id = number(file.strip_suffix(".dmp")?)?;
            Some(ArtifactKey::Coredump { device: DeviceKey::parse(device)?, id })
        }
        ["staging", upload, artifact] => Some(ArtifactKey::Staging {
            upload: UploadId::parse(upload)?,
            artifact: artifact.parse().ok()?,
        }),
        ["coredock", "owner"] => Some(ArtifactKey::Owner),
        ["health", file] => {
            let replica = ReplicaId::parse(file.strip_suffix(".probe")?)?;
            Some(ArtifactKey::Health { replica })
        }
        _ => None,
    }
}

/// Parses a number; without leading zeros and signs, so that each object has one key only.
fn number<T: FromStr + ToString>(digits: &str) -> Option<T> {
    digits.parse().ok().filter(|number: &T| number.to_string() == digits)
}

/// A group of objects that a publication writes under one lease.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PublicationScope {
    /// The final keys of one (model, version): one publication at a time.
    Version { model: ModelCode, version: VersionText },
    /// The ELF and the index of one build: any number of publications, which write the same bytes.
    Symbols { elf_sha256: Sha256Digest },
    /// One ROM ELF: one upload at a time.
    RomElf { sha256: Sha256Digest },
    /// The staged objects of one upload.
    Staging { upload: UploadId },
}

impl fmt::Display for PublicationScope {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Version { model, version } => write!(formatter, "firmware/{model}/{version}"),
            Self::Symbols { elf_sha256 } => write!(formatter, "symbols/{elf_sha256}"),
            Self::RomElf { sha256 } => write!(formatter, "rom/{sha256}"),
            Self::Staging { upload } => write!(formatter, "staging/{}", upload.as_str()),
        }
    }
}

/// The prefixes which the sweep lists (I6); nothing else in a store is ever listed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ArtifactPrefix {
    /// `firmware/`
    Firmware,
    /// `symbols/`
    Symbols,
    /// `rom/`
    Rom,
    /// `coredumps/`
    Coredumps,
    /// `staging/`
    Staging,
}

impl ArtifactPrefix {
    pub const ALL: [Self; 5] =
        [Self::Firmware, Self::Symbols, Self::Rom, Self::Coredumps, Self::Staging];

    /// The prefix without its slash.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Firmware => "firmware",
            Self::Symbols => "symbols",
            Self::Rom => "rom",
            Self::Coredumps => "coredumps",
            Self::Staging => "staging",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_render_as_in_the_contract_and_parse_back() {
        let model = ModelCode::parse("demo").unwrap();
        let version = VersionText::parse("1.0.0+5").unwrap();
        let elf_sha256 = Sha256Digest::of(b"");
        let device = DeviceKey::parse("abcd2345").unwrap();
        let upload = UploadId::parse("00ff").unwrap();
        let replica = ReplicaId::parse("00ff").unwrap();
        let keys = [
            (
                ArtifactKey::Firmware { model, version, artifact: ArtifactName::Map },
                "firmware/demo/1.0.0+5/firmware.map".to_owned(),
            ),
            (ArtifactKey::Symbols { elf_sha256 }, format!("symbols/{elf_sha256}/firmware.elf")),
            (
                ArtifactKey::SymbolIndex { elf_sha256, format: 3 },
                format!("symbols/{elf_sha256}/index-3"),
            ),
            (ArtifactKey::RomElf { sha256: elf_sha256 }, format!("rom/{elf_sha256}.elf")),
            (ArtifactKey::Coredump { device, id: 17 }, "coredumps/abcd2345/17.dmp".to_owned()),
            (
                ArtifactKey::Staging { upload, artifact: ArtifactName::VersionJson },
                "staging/00ff/version.json".to_owned(),
            ),
            (ArtifactKey::Owner, "coredock/owner".to_owned()),
            (ArtifactKey::Health { replica }, "health/00ff.probe".to_owned()),
        ];
        for (key, path) in keys {
            assert_eq!(key.to_string(), path);
            assert_eq!(path.parse::<ArtifactKey>().unwrap(), key);
        }
    }

    #[test]
    fn foreign_paths_are_not_keys() {
        let foreign = [
            "firmware/demo/1.0/other.txt",
            "firmware/demo/../firmware.bin",
            "coredumps/abcd2345/017.dmp",
            "coredumps/abcd2345/+1.dmp",
            "symbols/abc/firmware.elf",
            "symbols/e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855/index-03",
            "rom/unknown.elf",
            "rom/e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
            "",
            "coredock/owner/x",
        ];
        for path in foreign {
            assert!(path.parse::<ArtifactKey>().is_err(), "{path}");
        }
    }
}
