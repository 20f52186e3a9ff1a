//! Lists a local directory.
//!
//! `object_store` ends a listing at the first name it cannot take for a path; here such a file is
//! left out, because it is none of ours and must not keep the sweep from the others.

use std::fs::{self, DirEntry, Metadata};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::UNIX_EPOCH;

use coredock_domain::artifacts::store::ListedObject;
use coredock_domain::timestamp::Timestamp;
use futures::stream::{self, Stream, TryStreamExt};
use tokio::task::spawn_blocking;

use crate::store::Fault;

/// Every file below `root/prefix` that could be an object, directory by directory. Follows no
/// symbolic links.
pub(crate) fn objects_below(
    root: Arc<Path>,
    prefix: &str,
) -> impl Stream<Item = Result<ListedObject, Fault>> + use<> {
    let start = vec![root.join(prefix)];
    stream::try_unfold((root, start), |(root, mut directories)| async move {
        let Some(directory) = directories.pop() else { return Ok(None) };
        let reading = {
            let root = Arc::clone(&root);
            spawn_blocking(move || read(&root, &directory))
        };
        let (objects, below) = reading.await??;
        directories.extend(below);
        let objects = stream::iter(objects.into_iter().map(Ok::<_, Fault>));
        Ok::<_, Fault>(Some((objects, (root, directories))))
    })
    .try_flatten()
}

/// The objects and directories within a directory; none when it has vanished.
fn read(root: &Path, directory: &Path) -> io::Result<(Vec<ListedObject>, Vec<PathBuf>)> {
    let (mut objects, mut below) = (Vec::new(), Vec::new());
    let entries = match fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok((objects, below)),
        Err(error) => return Err(error),
    };
    for entry in entries {
        let entry = entry?;
        let kind = entry.file_type()?;
        if kind.is_dir() {
            below.push(entry.path());
        } else if kind.is_file() {
            objects.extend(listed(root, &entry)?);
        }
    }
    Ok((objects, below))
}

fn listed(root: &Path, entry: &DirEntry) -> io::Result<Option<ListedObject>> {
    let path = entry.path();
    let Some(relative) = path.strip_prefix(root).ok().and_then(Path::to_str) else {
        return Ok(None);
    };
    if is_being_written(relative) {
        return Ok(None);
    }
    match entry.metadata() {
        Ok(metadata) => Ok(Some(object(relative, &metadata)?)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn object(relative: &str, metadata: &Metadata) -> io::Result<ListedObject> {
    let since_epoch = metadata.modified()?.duration_since(UNIX_EPOCH).unwrap_or_default();
    Ok(ListedObject {
        path: relative.to_owned(),
        size: metadata.len(),
        modified: Timestamp::from_micros(0).after(since_epoch),
    })
}

/// `object_store` writes to `{name}#{number}` and renames when complete.
pub(crate) fn is_being_written(path: &str) -> bool {
    path.rsplit_once('#').is_some_and(|(_, number)| {
        !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit())
    })
}
