"""Dumps and ELFs: real ones and minimal ones."""

import hashlib
import struct
from pathlib import Path

from coredock_sidecar.images import read_dump

FIXTURES = Path(__file__).resolve().parents[3] / "crates/testkit/fixtures/riscv/Og"

RISCV = 0xF3
XTENSA = 0x5E


def fixture(name: str) -> bytes:
    """A real ELF, or a dump of it."""
    return (FIXTURES / name).read_bytes()


def firmware(machine: int = RISCV, kind: int = 2) -> bytes:
    """The header of an ELF."""
    identity = b"\x7fELF\x01\x01\x01".ljust(16, b"\0")
    return struct.pack(
        "<16sHHIIIIIHHHHHH", identity, kind, machine, 1, 0, 0, 0, 0, 52, 32, 0, 0, 0, 0
    )


def core(build: bytes, chip_id: int = 13, machine: int = RISCV) -> bytes:
    """An ELF core with nothing but the note that names the build."""
    name = b"ESP_CORE_DUMP_INFO\0\0"
    description = struct.pack("<HH", 0x0104, chip_id) + build.ljust(68, b"\0")
    note = struct.pack("<3I", len(name) - 1, len(description), 8266) + name + description
    header = bytearray(firmware(machine, kind=4))
    struct.pack_into("<I", header, 28, len(header))
    struct.pack_into("<H", header, 44, 1)
    segment = struct.pack("<8I", 4, len(header) + 32, 0, 0, len(note), len(note), 0, 0)
    return bytes(header) + segment + note


def raw(content: bytes, version: int = 0x0104, chip_id: int = 13) -> bytes:
    """A raw image around `content`."""
    header = {0x0100: 20, 0x0102: 24, 0x0104: 12}.get(version, 20)
    words = struct.pack("<III", header + len(content) + 32, chip_id << 16 | version, 2)
    image = words.ljust(header, b"\0") + content
    return image + hashlib.sha256(image).digest()


def build(elf: bytes) -> str:
    """The build id of an ELF."""
    return hashlib.sha256(elf).hexdigest()


def with_section(elf: bytes, name: str, content: bytes) -> bytes:
    """The ELF with one more section; tables that grow move to its end."""
    table, size, count, names = (
        struct.unpack_from("<I", elf, 32)[0],
        *struct.unpack_from("<HHH", elf, 46),
    )
    sections = [bytearray(elf[table + size * n : table + size * (n + 1)]) for n in range(count)]
    offset, length = struct.unpack_from("<II", sections[names], 16)
    texts = elf[offset : offset + length] + name.encode() + b"\0"
    end = len(elf)
    struct.pack_into("<II", sections[names], 16, end, len(texts))
    added = struct.pack("<10I", length, 1, 0, 0, end + len(texts), len(content), 0, 0, 1, 0)
    grown = bytearray(elf + texts + content)
    struct.pack_into("<I", grown, 32, len(grown))
    struct.pack_into("<H", grown, 48, count + 1)
    return bytes(grown) + b"".join(map(bytes, sections)) + added


def without_build(dump: bytes) -> bytes:
    """The dump with a note that names no build."""
    named = read_dump(dump).build
    assert named is not None
    return dump.replace(named.encode(), bytes(len(named)))
