//! Firmware bundles: what a pipeline uploads (contract §5.1–§5.3).

use std::io::{self, Read};

use crate::artifacts::key::ArtifactName;
use crate::artifacts::spooled_file::{SpoolDirectory, SpoolReader, SpooledFile};
use crate::artifacts::store::ArtifactFacts;
use crate::digest::Sha256Digest;
use crate::firmware::FirmwareFacts;
use crate::firmware::archive::{Archive, ArchiveError, Entry, OutputCaps};
use crate::firmware::image::{ImageError, ImageHead, MIN_IMAGE_BYTES, check_integrity};
use crate::firmware::version_json::{MAX_VERSION_JSON_BYTES, VersionJson, VersionJsonError};
use crate::ids::ModelCode;
use crate::ids::VersionText;

/// The compression ratio of an entry is not checked up to this size (contract §5.2).
const RATIO_FROM_BYTES: u64 = 8 * 1024 * 1024;
const MAX_RATIO: u64 = 200;
/// The number of entries which an error text names.
const MAX_SHOWN_NAMES: usize = 20;

/// How thoroughly images are checked (`FIRMWARE_IMAGE_GATE`, contract §5.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ImageGate {
    /// Magic, descriptor, version and build id.
    Standard,
    /// Also segments, checksum and appended hash.
    Full,
    /// Only descriptor and version, for images of doubtful origin.
    AppInfo,
}

/// The limits of an upload, and the checks of its image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BundleRules {
    /// Maximum size of a decompressed entry in bytes.
    pub entry_bytes: u64,
    /// Maximum size of all decompressed entries in bytes.
    pub total_bytes: u64,
    pub gate: ImageGate,
}

/// Why a bundle is refused; the rows are those of contract §5.3.
#[derive(Debug, thiserror::Error)]
pub enum BundleError {
    /// Row 5.
    #[error("bundle is not a ZIP archive: it must start with 50 4B 03 04")]
    NotAZip,
    /// Rows 6 and 8.
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    /// Row 7, repeated names.
    #[error("bundle has duplicate entries: {}", shown(.0))]
    Duplicates(Vec<String>),
    /// Row 7, missing names.
    #[error("bundle lacks entries: {}; it has {}", shown(missing), shown(found))]
    Missing { missing: Vec<String>, found: Vec<String> },
    /// Row 7, names beyond the five.
    #[error("bundle has unexpected entries: {}", shown(.0))]
    Unexpected(Vec<String>),
    /// Row 8, sum of all entries.
    #[error("bundle has more than {limit} bytes when decompressed")]
    TotalTooLarge { limit: u64 },
    /// Row 9.
    #[error(transparent)]
    VersionJson(#[from] VersionJsonError),
    /// Row 9, beyond the limit.
    #[error("version.json has more than {MAX_VERSION_JSON_BYTES} bytes")]
    VersionJsonTooLong,
    /// Rows 10, 11, 12 and 15.
    #[error(transparent)]
    Image(#[from] ImageError),
    /// Row 13.
    #[error("version must match {}, but is {found:?}", VersionText::PATTERN)]
    Version { found: String },
    /// Row 14.
    #[error("image was built from ELF {image}, but the ELF of the bundle is {elf}")]
    BuildId { image: Sha256Digest, elf: Sha256Digest },
    /// A failure of the server, not a fault of the bundle.
    #[error("temporary file could not be read or written")]
    Spool(#[source] io::Error),
}

impl BundleError {
    /// Whether the bundle is refused because of its size (413) and not of its content (400).
    pub fn is_too_large(&self) -> bool {
        matches!(
            self,
            Self::TotalTooLarge { .. } | Self::Archive(ArchiveError::EntryTooLarge { .. })
        )
    }

    /// Whether the server failed and the bundle is not at fault.
    pub fn is_outage(&self) -> bool {
        matches!(
            self,
            Self::Spool(_) | Self::Archive(ArchiveError::Io(_)) | Self::Image(ImageError::Io(_))
        )
    }
}

fn shown(names: &[String]) -> String {
    let short = |name: &String| name.chars().take(100).collect::<String>();
    let list = names.iter().take(MAX_SHOWN_NAMES).map(short).collect::<Vec<_>>().join(", ");
    match names.len().saturating_sub(MAX_SHOWN_NAMES) {
        0 => list,
        more => format!("{list} and {more} more"),
    }
}

/// A bundle that passed every check; its artifacts are spooled files.
#[derive(Debug, Clone)]
pub struct FirmwareBundle {
    version: VersionText,
    facts: FirmwareFacts,
    artifacts: Artifacts,
}

#[derive(Debug, Clone)]
struct Artifacts {
    bin: SpooledFile,
    elf: SpooledFile,
    map: SpooledFile,
    sdkconfig: SpooledFile,
    version_json: SpooledFile,
}

impl FirmwareBundle {
    /// Checks the bundle for `model` in `body` (contract §5.3#5–15) and unpacks it. Blocks; reads
    /// and writes files.
    pub fn open(
        body: &SpooledFile,
        model: &ModelCode,
        rules: BundleRules,
        spool: &SpoolDirectory,
    ) -> Result<Self, BundleError> {
        check_signature(body)?;
        let mut archive = Archive::open(body.reader())?;
        archive.check_readable()?;
        let entries = NamedEntries::of(archive.entries(), model)?;
        let artifacts = unpack(&mut archive, &entries, rules, spool)?;
        let pipeline = read_version_json(&artifacts.version_json)?;
        let (version, head) = check_image(&artifacts, rules.gate)?;
        if pipeline.firmware_version.as_str() != Some(version.as_str()) {
            let other: String = pipeline.firmware_version.to_string().chars().take(64).collect();
            tracing::info!(image = %version, version_json = other,
                "the version of a bundle for model {model} is {version}, as its image says: its version.json says {other}");
        }
        let facts = FirmwareFacts {
            bin: facts_of(&artifacts.bin),
            elf: facts_of(&artifacts.elf),
            map: facts_of(&artifacts.map),
            sdkconfig: facts_of(&artifacts.sdkconfig),
            version_json: facts_of(&artifacts.version_json),
            chip: head.chip,
            project_name: head.project_name,
            idf_version: head.idf_version,
            secure_version: head.secure_version,
            git_commit: pipeline.git_commit,
        };
        Ok(Self { version, facts, artifacts })
    }

    /// The version text of the image.
    pub const fn version(&self) -> &VersionText {
        &self.version
    }

    pub const fn facts(&self) -> &FirmwareFacts {
        &self.facts
    }

    /// The unpacked bytes of one artifact.
    pub const fn artifact(&self, name: ArtifactName) -> &SpooledFile {
        match name {
            ArtifactName::Bin => &self.artifacts.bin,
            ArtifactName::Elf => &self.artifacts.elf,
            ArtifactName::Map => &self.artifacts.map,
            ArtifactName::Sdkconfig => &self.artifacts.sdkconfig,
            ArtifactName::VersionJson => &self.artifacts.version_json,
        }
    }
}

fn facts_of(file: &SpooledFile) -> ArtifactFacts {
    ArtifactFacts { size: file.length(), sha256: file.sha256() }
}

fn check_signature(body: &SpooledFile) -> Result<(), BundleError> {
    let start = read_start(body, 4).map_err(BundleError::Spool)?;
    if start == *b"PK\x03\x04" { Ok(()) } else { Err(BundleError::NotAZip) }
}

fn read_start(file: &SpooledFile, length: u64) -> io::Result<Vec<u8>> {
    let mut start = Vec::new();
    file.reader().take(length).read_to_end(&mut start)?;
    Ok(start)
}

/// The five entries of a bundle.
struct NamedEntries {
    bin: Entry,
    elf: Entry,
    map: Entry,
    sdkconfig: Entry,
    version_json: Entry,
}

impl NamedEntries {
    fn of(entries: &[Entry], model: &ModelCode) -> Result<Self, BundleError> {
        let names = [
            format!("{model}.bin"),
            format!("{model}.elf"),
            format!("{model}.map"),
            "sdkconfig".to_owned(),
            "version.json".to_owned(),
        ];
        let found = |name: &String| entries.iter().find(|entry| entry.name == *name).cloned();
        let mut present: Vec<String> = entries.iter().map(|entry| entry.name.clone()).collect();
        present.sort();
        let mut duplicates: Vec<String> =
            present.windows(2).filter(|pair| pair[0] == pair[1]).map(|p| p[0].clone()).collect();
        duplicates.dedup();
        if !duplicates.is_empty() {
            return Err(BundleError::Duplicates(duplicates));
        }
        let [Some(bin), Some(elf), Some(map), Some(sdkconfig), Some(version_json)] =
            names.each_ref().map(found)
        else {
            let mut missing: Vec<String> =
                names.into_iter().filter(|name| found(name).is_none()).collect();
            missing.sort();
            return Err(BundleError::Missing { missing, found: present });
        };
        present.retain(|name| !names.contains(name));
        if present.is_empty() {
            Ok(Self { bin, elf, map, sdkconfig, version_json })
        } else {
            Err(BundleError::Unexpected(present))
        }
    }
}

fn unpack(
    archive: &mut Archive<SpoolReader>,
    entries: &NamedEntries,
    rules: BundleRules,
    spool: &SpoolDirectory,
) -> Result<Artifacts, BundleError> {
    let mut bytes_left = rules.total_bytes;
    let mut next = |entry: &Entry| {
        let caps = OutputCaps {
            bytes: rules.entry_bytes.min(bytes_left),
            ratio_from: RATIO_FROM_BYTES,
            ratio: MAX_RATIO,
        };
        let mut writer = spool.create().map_err(BundleError::Spool)?;
        match archive.extract(entry, caps, &mut writer) {
            Ok(produced) => bytes_left -= produced,
            Err(ArchiveError::EntryTooLarge { .. }) if bytes_left < rules.entry_bytes => {
                return Err(BundleError::TotalTooLarge { limit: rules.total_bytes });
            }
            Err(error) => return Err(error.into()),
        }
        Ok(writer.finish())
    };
    Ok(Artifacts {
        bin: next(&entries.bin)?,
        elf: next(&entries.elf)?,
        map: next(&entries.map)?,
        sdkconfig: next(&entries.sdkconfig)?,
        version_json: next(&entries.version_json)?,
    })
}

fn read_version_json(file: &SpooledFile) -> Result<VersionJson, BundleError> {
    if file.length() > MAX_VERSION_JSON_BYTES {
        return Err(BundleError::VersionJsonTooLong);
    }
    let bytes = read_start(file, MAX_VERSION_JSON_BYTES).map_err(BundleError::Spool)?;
    Ok(VersionJson::parse(&bytes)?)
}

fn check_image(
    artifacts: &Artifacts,
    gate: ImageGate,
) -> Result<(VersionText, ImageHead), BundleError> {
    let image = &artifacts.bin;
    let start = read_start(image, MIN_IMAGE_BYTES as u64).map_err(BundleError::Spool)?;
    let head = ImageHead::parse(&start, image.length(), gate != ImageGate::AppInfo)?;
    let version = std::str::from_utf8(&head.version).ok().and_then(VersionText::of_upload);
    let version = version.ok_or_else(|| BundleError::Version {
        found: String::from_utf8_lossy(&head.version).into_owned(),
    })?;
    let elf = artifacts.elf.sha256();
    if let Some(built_from) = head.elf_sha256
        && gate != ImageGate::AppInfo
        && built_from != elf
    {
        return Err(BundleError::BuildId { image: built_from, elf });
    }
    if gate == ImageGate::Full {
        check_integrity(io::BufReader::new(image.reader()))?;
    }
    Ok((version, head))
}
