"""Reads the parts of dumps and ELFs that decide whether the engine is started.

The engine compares builds only for raw images, and with a wrong ELF or the wrong GDB it makes a
report that looks right. Both are checked here, before it starts.
"""

import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from typing import Literal

from .failure import bad_request, other_build, unreadable


class Family(Enum):
    """The architecture of a chip; the value is the machine number of its ELFs."""

    XTENSA = 0x5E
    RISCV = 0xF3


@dataclass(frozen=True)
class Chip:
    """A chip as esp-coredump names it."""

    name: str
    family: Family


CHIPS = {
    0: Chip("esp32", Family.XTENSA),
    2: Chip("esp32s2", Family.XTENSA),
    5: Chip("esp32c3", Family.RISCV),
    9: Chip("esp32s3", Family.XTENSA),
    12: Chip("esp32c2", Family.RISCV),
    13: Chip("esp32c6", Family.RISCV),
    16: Chip("esp32h2", Family.RISCV),
    18: Chip("esp32p4", Family.RISCV),
    20: Chip("esp32c61", Family.RISCV),
    23: Chip("esp32c5", Family.RISCV),
    25: Chip("esp32h21", Family.RISCV),
    28: Chip("esp32h4", Family.RISCV),
    32: Chip("esp32s31", Family.RISCV),
}
CHIPS_BY_NAME = {chip.name: chip for chip in CHIPS.values()}

# Bytes of the header, by the version in the low half of a raw image's second word.
RAW_TASK_LISTS = {0x0001: 16, 0x0002: 20, 0x0003: 24}
RAW_ELFS = {0x0100: 20, 0x0101: 20, 0x0102: 24, 0x0103: 24, 0x0104: 12}

ELF_MAGIC = b"\x7fELF"
ELF_HEADER = struct.Struct("<16sHHIIIIIHHHHHH")
PROGRAM_HEADER = struct.Struct("<8I")
NOTE_HEADER = struct.Struct("<3I")
ET_EXEC, ET_CORE = 2, 4
PT_NOTE = 4
NOTE_ESP_INFO = 8266
# A shorter prefix of a build is not unique enough (contract, section 6.7).
BUILD = re.compile(rb"([0-9a-fA-F]{8,64})\0*")

DumpFormat = Literal["elf", "raw"]


@dataclass(frozen=True)
class Dump:
    format: DumpFormat
    chip_id: int | None
    machine: int | None
    build: str | None


def read_dump(content: bytes) -> Dump:
    """Recognises an ELF core or a raw image; anything else is unreadable."""
    if content.startswith(ELF_MAGIC):
        return _read_core(content, "elf", None)
    if len(content) < 8:
        raise unreadable("the dump is neither an ELF core nor a raw image")
    _, word = struct.unpack_from("<II", content)
    version, chip_id = word & 0xFFFF, word >> 16
    if version in RAW_TASK_LISTS and len(content) > RAW_TASK_LISTS[version]:
        return Dump("raw", chip_id, None, None)
    if version in RAW_ELFS and len(content) > RAW_ELFS[version]:
        return _read_core(content[RAW_ELFS[version] :], "raw", chip_id)
    raise unreadable("the dump is neither an ELF core nor a raw image")


def _read_core(content: bytes, form: DumpFormat, chip_id: int | None) -> Dump:
    kind, machine, notes = _read_elf(content, "the dump")
    if kind != ET_CORE:
        raise unreadable("the dump is an ELF, but not a core file")
    build = None
    for name, number, description in notes:
        if number == NOTE_ESP_INFO and name.startswith(b"ESP_CORE_DUMP_INFO"):
            found = BUILD.fullmatch(description[4:])
            build = found[1].decode().lower() if found else None
            if len(description) >= 4 and chip_id is None:
                chip_id = int.from_bytes(description[2:4], "little")
    return Dump(form, chip_id, machine, build)


Note = tuple[bytes, int, bytes]


def _read_elf(content: bytes, what: str) -> tuple[int, int, list[Note]]:
    """Type, machine and notes."""
    if len(content) < ELF_HEADER.size or content[:7] != ELF_MAGIC + b"\x01\x01\x01":
        raise unreadable(f"{what} is not a 32-bit little-endian ELF")
    fields = ELF_HEADER.unpack_from(content)
    kind, machine, at, count = fields[1], fields[2], fields[5], fields[10]
    notes: list[Note] = []
    for number in range(count):
        header = at + number * PROGRAM_HEADER.size
        if header + PROGRAM_HEADER.size > len(content):
            raise unreadable(f"{what} ends before its program headers do")
        segment, offset, _, _, size = PROGRAM_HEADER.unpack_from(content, header)[:5]
        if segment == PT_NOTE:
            notes.extend(_read_notes(content[offset : offset + size]))
    return kind, machine, notes


def _read_notes(segment: bytes) -> Iterator[Note]:
    """Notes up to the first truncated one."""
    at = 0
    while at + NOTE_HEADER.size <= len(segment):
        name_size, size, number = NOTE_HEADER.unpack_from(segment, at)
        name = at + NOTE_HEADER.size
        description = name + _padded(name_size)
        if description + size > len(segment):
            return
        yield segment[name : name + name_size], number, segment[description : description + size]
        at = description + _padded(size)


def _padded(size: int) -> int:
    return (size + 3) & ~3


def read_firmware(head: bytes) -> Family:
    """The architecture of an ELF, of which the first bytes are enough."""
    if len(head) < ELF_HEADER.size or head[:7] != ELF_MAGIC + b"\x01\x01\x01":
        raise unreadable("the ELF is not a 32-bit little-endian ELF")
    kind, machine = struct.unpack_from("<HH", head, 16)
    if kind != ET_EXEC:
        raise unreadable("the ELF is not an executable")
    try:
        return Family(machine)
    except ValueError:
        raise unreadable(f"the ELF is for machine {machine:#x}, not for Xtensa or RISC-V") from None


def check_build(dump: Dump, elf_sha256: str) -> None:
    """Refuses an ELF of another build: the report would look right and be wrong."""
    if dump.build is not None and not elf_sha256.startswith(dump.build):
        given = elf_sha256[: len(dump.build)]
        raise other_build(f"the dump is of build {dump.build}, the ELF is build {given}")


def choose_chip(dump: Dump, asked: str, family: Family) -> Chip:
    """The chip in the dump wins over the parameter; the ELF must be for the same architecture."""
    chip = CHIPS_BY_NAME.get(asked) if dump.chip_id is None else CHIPS.get(dump.chip_id)
    if chip is None and dump.chip_id is None:
        raise bad_request("the chip is unknown")
    if chip is None:
        raise unreadable(f"the dump is of an unknown chip with id {dump.chip_id:#06x}")
    machines = {chip.family.value, family.value, dump.machine or family.value}
    if len(machines) > 1:
        raise unreadable("dump, ELF and chip are not of one architecture")
    return chip
