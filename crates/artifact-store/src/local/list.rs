//! Listing objects.

use std::fs::{self, DirEntry, Metadata};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::UNIX_EPOCH;

use coredock_domain::artifacts::store::ListedObject;
use coredock_domain::timestamp::Timestamp;
use futures::stream::{self, Stream, TryStreamExt};

use super::directory::{Directory, unless_absent};
use super::leftovers::is_temporary;
use super::threads::Threads;

struct Found {
    objects: Vec<ListedObject>,
    directories: Vec<PathBuf>,
}

/// Every file below `prefix` which is not temporary, one directory after the other. Does not follow
/// symbolic links.
pub(super) fn objects_below(
    directory: Arc<Directory>,
    prefix: &str,
    threads: Threads,
) -> impl Stream<Item = io::Result<ListedObject>> + use<> {
    let start = vec![directory.root().join(prefix)];
    stream::try_unfold(start, move |mut pending| {
        let root = Arc::clone(&directory);
        async move {
            let Some(next) = pending.pop() else { return Ok(None) };
            let found = threads.run(move || read(&root, &next)).await?;
            pending.extend(found.directories);
            let objects = stream::iter(found.objects.into_iter().map(Ok::<_, io::Error>));
            Ok::<_, io::Error>(Some((objects, pending)))
        }
    })
    .try_flatten()
}

/// Finds nothing in a directory that has vanished.
fn read(root: &Directory, directory: &Path) -> io::Result<Found> {
    let mut found = Found { objects: Vec::new(), directories: Vec::new() };
    let Some(entries) = unless_absent(fs::read_dir(directory))? else {
        root.check_present()?;
        return Ok(found);
    };
    for entry in entries {
        let entry = entry?;
        let kind = entry.file_type()?;
        if kind.is_dir() {
            found.directories.push(entry.path());
        } else if kind.is_file() {
            found.objects.extend(object(root.root(), &entry)?);
        }
    }
    Ok(found)
}

/// `None` for temporary and vanished files, and for names which are not UTF-8, which no key has.
fn object(root: &Path, entry: &DirEntry) -> io::Result<Option<ListedObject>> {
    let path = entry.path();
    let relative = path.strip_prefix(root).ok().and_then(Path::to_str);
    let Some(relative) = relative.filter(|relative| !is_temporary(relative)) else {
        return Ok(None);
    };
    let Some(metadata) = unless_absent(entry.metadata())? else { return Ok(None) };
    Ok(Some(ListedObject {
        path: relative.to_owned(),
        size: metadata.len(),
        modified: modified(&metadata)?,
    }))
}

pub(super) fn modified(metadata: &Metadata) -> io::Result<Timestamp> {
    let since_epoch = metadata.modified()?.duration_since(UNIX_EPOCH).unwrap_or_default();
    Ok(Timestamp::from_micros(0).after(since_epoch))
}
