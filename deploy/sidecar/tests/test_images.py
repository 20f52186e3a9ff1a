"""The checks before the engine starts."""

import unittest

from coredock_sidecar.failure import Failure
from coredock_sidecar.images import (
    CHIPS,
    CHIPS_BY_NAME,
    Dump,
    Family,
    check_build,
    choose_chip,
    read_dump,
    read_firmware,
)
from tests.dumps import RISCV, XTENSA, build, core, firmware, raw


class Dumps(unittest.TestCase):
    def test_an_elf_core_names_chip_machine_and_build(self) -> None:
        expected = Dump("elf", 13, RISCV, "c51d9a1c3")
        self.assertEqual(read_dump(core(b"c51d9a1c3")), expected)
        self.assertEqual(read_dump(core(b"C51D9A1C3")), expected)

    def test_a_raw_image_names_the_same(self) -> None:
        for version in (0x0100, 0x0102, 0x0104):
            image = raw(core(b"c51d9a1c3"), version, chip_id=5)
            self.assertEqual(read_dump(image), Dump("raw", 5, RISCV, "c51d9a1c3"))

    def test_a_task_list_names_only_the_chip(self) -> None:
        self.assertEqual(read_dump(raw(b"tasks", 0x0002, 0)), Dump("raw", 0, None, None))

    def test_a_text_that_is_not_a_build_id_is_ignored(self) -> None:
        for text in (b"", b"c51d9a1", b"not hexadecimal", b"c51d9a1c3\0x"):
            self.assertIsNone(read_dump(core(text)).build, text)

    def test_anything_else_is_unreadable(self) -> None:
        whole = core(b"c51d9a1c3")
        for content in (b"", b"garbage", b"garbage" * 99, whole[:51], whole[:60], firmware()):
            with self.assertRaises(Failure) as raised:
                read_dump(content)
            self.assertEqual(raised.exception.status, 422, content)

    def test_a_changed_or_missing_byte_is_at_most_unreadable(self) -> None:
        whole = core(b"c51d9a1c3")
        for at in range(len(whole)):
            for content in (whole[:at], whole[:at] + b"\xff" + whole[at + 1 :]):
                try:
                    read_dump(content)
                except Failure as failure:
                    self.assertEqual(failure.status, 422)


class Builds(unittest.TestCase):
    def test_an_elf_belongs_to_the_dump_that_names_the_start_of_its_digest(self) -> None:
        digest = build(firmware())
        for length in (8, 9, 64):
            check_build(read_dump(core(digest[:length].encode())), digest)
        check_build(read_dump(core(b"")), digest)

    def test_an_elf_of_another_build_is_refused(self) -> None:
        with self.assertRaises(Failure) as raised:
            check_build(read_dump(core(b"c51d9a1c3")), "0" * 64)
        self.assertEqual(raised.exception.status, 409)
        reason = "the dump is of build c51d9a1c3, the ELF is build 000000000"
        self.assertEqual(raised.exception.reason, reason)


class Chips(unittest.TestCase):
    def test_the_architecture_is_that_of_the_elf(self) -> None:
        self.assertIs(read_firmware(firmware(RISCV)), Family.RISCV)
        self.assertIs(read_firmware(firmware(XTENSA)), Family.XTENSA)
        for elf in (b"", b"\x7fELF", firmware(62), firmware(kind=4), firmware()[:51]):
            with self.assertRaises(Failure) as raised:
                read_firmware(elf)
            self.assertEqual(raised.exception.status, 422)

    def test_the_chip_of_the_dump_wins(self) -> None:
        dump = read_dump(core(b""))
        for asked in ("esp32c6", "esp32s3", "", "esp32; shell"):
            self.assertEqual(choose_chip(dump, asked, Family.RISCV).name, "esp32c6")

    def test_without_a_chip_in_the_dump_the_parameter_counts(self) -> None:
        dump = Dump("elf", None, XTENSA, None)
        self.assertEqual(choose_chip(dump, "esp32s3", Family.XTENSA).name, "esp32s3")
        with self.assertRaises(Failure) as raised:
            choose_chip(dump, "esp32; shell", Family.XTENSA)
        self.assertEqual(raised.exception.status, 400)

    def test_chip_dump_and_elf_must_be_of_one_architecture(self) -> None:
        for dump, family in (
            (Dump("elf", 13, RISCV, None), Family.XTENSA),
            (Dump("elf", 9, RISCV, None), Family.RISCV),
            (Dump("raw", 9, None, None), Family.RISCV),
            (Dump("elf", 0xABCD, RISCV, None), Family.RISCV),
        ):
            with self.assertRaises(Failure) as raised:
                choose_chip(dump, "esp32c6", family)
            self.assertEqual(raised.exception.status, 422)

    def test_all_chips_of_the_engine_are_known(self) -> None:
        from esp_coredump.corefile import RISCV_TARGETS, XTENSA_TARGETS  # noqa: PLC0415
        from esp_coredump.corefile.loader import EspCoreDumpVersion  # noqa: PLC0415

        self.assertEqual(set(CHIPS), set(EspCoreDumpVersion.COREDUMP_SUPPORTED_TARGETS))
        for family, targets in ((Family.XTENSA, XTENSA_TARGETS), (Family.RISCV, RISCV_TARGETS)):
            known = {chip.name for chip in CHIPS_BY_NAME.values() if chip.family is family}
            self.assertEqual(known, set(targets))
