"""Copies files of the shared directory to a place where no other process can change them."""

import errno
import hashlib
import os
import stat
from dataclasses import dataclass
from pathlib import Path

from .failure import Failure, bad_request, too_large, unavailable

MAX_DUMP_BYTES = 17 << 20
MAX_ELF_BYTES = 256 << 20
MAX_NAME_BYTES = 255
PIECE = 1 << 20
# Enough of a file to recognise it.
HEAD = 64


@dataclass(frozen=True)
class Copied:
    head: bytes
    sha256: str


def check_name(name: str) -> str:
    """Accepts plain file names only, which cannot lead to another directory."""
    usable = 0 < len(name.encode()) <= MAX_NAME_BYTES and not name.startswith(".")
    if not usable or not name.isprintable() or "/" in name:
        raise bad_request("core and elf must be plain file names")
    return name


def copy(directory: Path, name: str, target: Path, limit: int) -> Copied:
    """Copies a regular file of at most `limit` bytes."""
    with open(_open(directory, name), "rb") as source, open(target, "xb") as copy_:
        digest, head, copied = hashlib.sha256(), b"", 0
        while piece := source.read(PIECE):
            copied += len(piece)
            if copied > limit:
                raise too_large(f"a file has more than {limit} bytes")
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
        # The dump is not at fault: the caller writes to another directory.
        raise unavailable("core or elf cannot be read in the shared directory") from error
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise _irregular()
    return descriptor


def _irregular() -> Failure:
    return bad_request("core and elf must be regular files")
