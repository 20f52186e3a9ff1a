"""Files of the shared directory, copied to where no other process can change them."""

import errno
import hashlib
import os
import stat
from dataclasses import dataclass
from pathlib import Path

from .failure import Failure, bad_request, too_large, unavailable

MOST_DUMP = 17 << 20
MOST_ELF = 256 << 20
LONGEST_NAME = 255
PIECE = 1 << 20
# Enough of a file to recognise it.
HEAD = 64


@dataclass(frozen=True)
class Copied:
    """A copied file."""

    head: bytes
    sha256: str


def check_name(name: str) -> str:
    """A plain name of a file; nothing that leads elsewhere."""
    usable = 0 < len(name.encode()) <= LONGEST_NAME and not name.startswith(".")
    if not usable or not name.isprintable() or "/" in name:
        raise bad_request("core and elf must be plain file names")
    return name


def copy(directory: Path, name: str, target: Path, most: int) -> Copied:
    """Copies a regular file of at most `most` bytes."""
    with open(_open(directory, name), "rb") as source, open(target, "xb") as copy_:
        digest, head, copied = hashlib.sha256(), b"", 0
        while piece := source.read(PIECE):
            copied += len(piece)
            if copied > most:
                raise too_large(f"a file has more than {most} bytes")
            head = head or piece[:HEAD]
            digest.update(piece)
            copy_.write(piece)
    return Copied(head, digest.hexdigest())


def _open(directory: Path, name: str) -> int:
    # Does not follow links, and does not wait for the writer of a pipe.
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        descriptor = os.open(directory / name, flags)
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise _irregular() from error
        # Not the fault of the dump: the caller writes to another directory.
        raise unavailable("core or elf cannot be read in the shared directory") from error
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise _irregular()
    return descriptor


def _irregular() -> Failure:
    return bad_request("core and elf must be regular files")
