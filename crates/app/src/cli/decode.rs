//! `coredock decode`: the native symbolizer without a server.

use std::fs::{File, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use clap::Args;
use coredock_domain::coredumps::body::{build_id, unwrap};
use coredock_domain::coredumps::coredump::BuildId;
use coredock_domain::digest::Sha256Digest;
use coredock_symbolizer::{
    DecodeError, ElfError, Firmware, Index, IndexError, MAX_ELF_BYTES, Report, Rom, build_index,
    decode,
};
use tempfile::NamedTempFile;

use super::{DONE, FAILED, MISUSED, fail, print_error};

/// Maximum length of the file of a dump: 16 MiB as Base64 text, with other output of the console.
const MAX_DUMP_BYTES: u64 = 64 << 20;
/// Maximum length of the file of an ELF or of an index.
const MAX_ELF_FILE_BYTES: u64 = MAX_ELF_BYTES as u64;
/// Extension of index files; the name is the digest of the ELF.
const INDEX: &str = "index";

#[derive(Args)]
pub(super) struct Decode {
    /// The dump: as the device sent it, an ELF core, Base64 text of a console, or one of these in
    /// gzip
    dump: PathBuf,
    /// ELF of the firmware that crashed
    #[arg(long, value_name = "FILE", required_unless_present = "index_dir")]
    elf: Option<PathBuf>,
    /// ROM ELF of the chip, or a directory of ROM ELFs, of which the dump selects one
    #[arg(long, value_name = "FILE")]
    rom: Vec<PathBuf>,
    /// Print the structured report (JSON)
    #[arg(long)]
    json: bool,
    /// Directory of ELF indexes; missing ones are built and stored there
    #[arg(long, value_name = "DIR")]
    index_dir: Option<PathBuf>,
}

#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error("{} cannot be read", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("expected at most {limit} bytes in {}, found more", path.display())]
    TooLong { path: PathBuf, limit: u64 },
    #[error("{} is not a usable firmware ELF", path.display())]
    Elf { path: PathBuf, source: ElfError },
    #[error("the index of {} is not usable", path.display())]
    Index { path: PathBuf, source: IndexError },
    #[error("the dump has no build id, or {} has no index of that build: name its ELF with --elf", path.display())]
    NoIndex { path: PathBuf },
    #[error("{} cannot be decoded", path.display())]
    Decode { path: PathBuf, source: DecodeError },
    #[error("the report cannot be written")]
    Print(#[source] io::Error),
}

/// Not a failure of the command: the report was made, but the next run must build the index again.
#[derive(Debug, thiserror::Error)]
#[error("the index cannot be stored in {}", directory.display())]
struct IndexNotStored {
    directory: PathBuf,
    source: io::Error,
}

impl Failure {
    /// A missing file is misuse; a file which is not a dump is a reported failure.
    const fn status(&self) -> u8 {
        match self {
            Self::Read { .. } | Self::NoIndex { .. } => MISUSED,
            Self::TooLong { .. }
            | Self::Elf { .. }
            | Self::Index { .. }
            | Self::Decode { .. }
            | Self::Print(_) => FAILED,
        }
    }
}

/// Prints the report on standard output.
pub(super) fn run(arguments: &Decode) -> u8 {
    match report(arguments).and_then(|report| print(&report, arguments.json)) {
        Ok(()) => DONE,
        Err(failure) => fail(&failure, failure.status()),
    }
}

fn report(arguments: &Decode) -> Result<Report, Failure> {
    let path = &arguments.dump;
    let dump = Bytes::from(read(path, MAX_DUMP_BYTES)?);
    let rom_files = read_roms(&arguments.rom)?;
    let roms = rom_files
        .iter()
        .map(|(path, bytes)| {
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            Rom::of_file(name, bytes).map_err(|source| unusable(path, source))
        })
        .collect::<Result<Vec<_>, _>>()?;
    let elf;
    let firmware = match (&arguments.index_dir, &arguments.elf) {
        (Some(directory), elf) => Firmware::of_index(index(directory, elf.as_deref(), &dump)?),
        (None, Some(path)) => {
            elf = read(path, MAX_ELF_FILE_BYTES)?;
            Firmware::of_elf(&elf).map_err(|source| unusable(path, source))?
        }
        (None, None) => return Err(Failure::NoIndex { path: PathBuf::new() }),
    };
    let firmware = firmware.with_roms(&roms);
    decode(&dump, Some(&firmware)).map_err(|source| Failure::Decode { path: path.clone(), source })
}

/// The named files, and the `.elf` files of the named directories in order of their names.
fn read_roms(named: &[PathBuf]) -> Result<Vec<(PathBuf, Vec<u8>)>, Failure> {
    let mut paths = Vec::new();
    for path in named {
        if !path.is_dir() {
            paths.push(path.clone());
            continue;
        }
        let failed = |source| Failure::Read { path: path.clone(), source };
        let entries = std::fs::read_dir(path).map_err(failed)?;
        let mut of_directory = Vec::new();
        for entry in entries {
            let file = entry.map_err(failed)?.path();
            of_directory.extend((file.extension() == Some("elf".as_ref())).then_some(file));
        }
        of_directory.sort_unstable();
        paths.extend(of_directory);
    }
    paths.into_iter().map(|path| Ok((path.clone(), read(&path, MAX_ELF_FILE_BYTES)?))).collect()
}

/// The stored index of the build that the dump names, else the index of the ELF, which is built if
/// it is missing.
fn index(directory: &Path, elf: Option<&Path>, dump: &Bytes) -> Result<Index, Failure> {
    let build = build_id(&mut io::Cursor::new(unwrap(dump).bytes));
    if let Some(index) = build.and_then(|build| stored_index(directory, &build)) {
        return Ok(index);
    }
    let Some(path) = elf else { return Err(Failure::NoIndex { path: directory.to_owned() }) };
    let bytes = read(path, MAX_ELF_FILE_BYTES)?;
    let sha256 = Sha256Digest::of(&bytes);
    let stored = open_index(&directory.join(format!("{sha256}.{INDEX}")));
    if let Some(index) = stored.filter(|index| index.elf_sha256() == sha256) {
        return Ok(index);
    }
    let index = build_index(&bytes, sha256).map_err(|source| unusable(path, source))?;
    if let Err(source) = store(directory, sha256, &index) {
        let error = IndexNotStored { directory: directory.to_owned(), source };
        print_error(&error);
    }
    let failed = |source| Failure::Index { path: path.to_owned(), source };
    Index::open(index.into()).map_err(failed)
}

/// The index whose ELF digest begins with the build id; `None` if several do.
fn stored_index(directory: &Path, build: &BuildId) -> Option<Index> {
    let names = std::fs::read_dir(directory).ok()?.flatten().map(|entry| entry.path());
    let mut found = names.filter(|path| {
        let name = path.file_name().and_then(|name| name.to_str());
        path.extension().is_some_and(|extension| extension == INDEX)
            && name.is_some_and(|name| name.starts_with(build.as_str()))
    });
    let path = found.next()?;
    if found.next().is_some() { None } else { open_index(&path) }
}

/// `None` when this version cannot read it: then it is built again.
fn open_index(path: &Path) -> Option<Index> {
    Index::open(read(path, MAX_ELF_FILE_BYTES).ok()?.into()).ok()
}

/// Stores the whole index or nothing, also when two processes do so at once.
fn store(directory: &Path, sha256: Sha256Digest, index: &[u8]) -> io::Result<()> {
    std::fs::create_dir_all(directory)?;
    let mut file = NamedTempFile::new_in(directory)?;
    file.write_all(index)?;
    // Readable for everybody: an index discloses no more than its ELF.
    file.as_file().set_permissions(Permissions::from_mode(0o644))?;
    file.persist(directory.join(format!("{sha256}.{INDEX}")))?;
    Ok(())
}

fn read(path: &Path, limit: u64) -> Result<Vec<u8>, Failure> {
    let failed = |source| Failure::Read { path: path.to_owned(), source };
    let file = File::open(path).map_err(failed)?;
    let length = file.metadata().map_err(failed)?.len().min(limit);
    let mut bytes = Vec::with_capacity(usize::try_from(length).unwrap_or_default() + 1);
    file.take(limit + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 > limit {
        return Err(Failure::TooLong { path: path.to_owned(), limit });
    }
    Ok(bytes)
}

fn unusable(path: &Path, source: ElfError) -> Failure {
    Failure::Elf { path: path.to_owned(), source }
}

fn print(report: &Report, json: bool) -> Result<(), Failure> {
    let text = if json { format!("{:#}\n", report.structured()) } else { report.text() };
    match io::stdout().lock().write_all(text.as_bytes()) {
        // The reader has closed the pipe, as `head` does.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        written => written.map_err(Failure::Print),
    }
}
