"""The service over HTTP, with a GDB that never answers."""

import http.client
import json
import logging
import os
import socket
import subprocess
import tempfile
import threading
import time
import unittest
from collections.abc import Callable
from pathlib import Path
from typing import Any

from coredock_sidecar.engine import find_gdbs
from coredock_sidecar.files import MAX_DUMP_BYTES
from coredock_sidecar.images import Family
from coredock_sidecar.reports import Reports, Settings
from coredock_sidecar.service import Service
from tests.dumps import XTENSA, core, firmware, fixture, with_section, without_build

# Reports its architecture, and then only sleeps.
SLEEPING_GDB = """#!/usr/bin/env python3
import sys, time
command = sys.argv[-1]
if command.startswith("complete "):
    print(command.removeprefix("complete "))
else:
    open(sys.argv[0] + ".started", "a").close()
    time.sleep(600)
"""
CALL = "/parse-coredump?core=core.dmp&elf=app.elf&chip=esp32c6"
PATIENCE = 30.0


def processes(text: str) -> list[str]:
    """Command lines that contain `text`."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = path.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if text in line:
            found.append(line)
    return found


class Case(unittest.TestCase):
    """A service, its shared directory, and a directory for its temporary files."""

    workers, queue, seconds, patience = 2, 4, 30.0, 10.0
    # Instead of the GDB that sleeps.
    gdb_name: str | None = None

    def setUp(self) -> None:
        logging.getLogger("coredock_sidecar").setLevel(logging.CRITICAL)
        self.shared, self.temporary, tools = (self._directory() for _ in range(3))
        self.addCleanup(setattr, tempfile, "tempdir", tempfile.tempdir)
        tempfile.tempdir = str(self.temporary)
        self.gdb = tools / "gdb"
        self.gdb.write_text(SLEEPING_GDB)
        self.gdb.chmod(0o755)
        self.service = self._start()
        self._write("app.elf", fixture("firmware.elf"))
        self._write("core.dmp", fixture("0.dmp"))

    def _directory(self) -> Path:
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        return Path(directory.name)

    def _start(self) -> Service:
        riscv = self.gdb_name or str(self.gdb)
        gdbs = find_gdbs({Family.XTENSA: "/nonexistent", Family.RISCV: riscv})
        settings = Settings(
            self.shared, gdbs, self.workers, self.queue, self.seconds, self.patience, 1 << 31
        )
        service = Service(("127.0.0.1", 0), Reports(settings))
        thread = threading.Thread(target=service.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        self.addCleanup(self._stop, service, thread)
        return service

    def _stop(self, service: Service, thread: threading.Thread) -> None:
        service.shutdown()
        thread.join()
        service.stop()
        self.assertEqual(list(self.temporary.iterdir()), [])
        self.wait_for_the_end_of_all()

    def _write(self, name: str, content: bytes) -> None:
        (self.shared / name).write_bytes(content)

    def ask(self, target: str, method: str = "GET", body: bytes | None = None) -> tuple[int, Any]:
        port = self.service.server_address[1]
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
        connection.request(method, target, body)
        response = connection.getresponse()
        content = response.read()
        connection.close()
        return response.status, json.loads(content) if content else None

    def refusal(self, target: str = CALL) -> tuple[int, str]:
        status, body = self.ask(target)
        self.assertEqual(list(body), ["error"])
        return status, body["error"]

    def wait_for(self, condition: Callable[[], bool]) -> None:
        deadline = time.monotonic() + PATIENCE
        while not condition():
            self.assertLess(time.monotonic(), deadline, "it took too long")
            time.sleep(0.01)

    def wait_for_the_end_of_all(self) -> None:
        """A killed process takes a moment to disappear."""
        self.wait_for(lambda: processes(str(self.temporary)) == [])

    def wait_for_gdb(self) -> None:
        self.wait_for(self.gdb.with_suffix(".started").exists)


class Refusals(Case):
    def test_the_health_names_the_supported_architectures(self) -> None:
        expected = {"status": "ok", "xtensa": False, "riscv": True}
        self.assertEqual(self.ask("/"), (200, expected))
        self.shared.rename(self.shared.with_suffix(".renamed"))
        self.assertEqual(self.refusal("/"), (503, "the shared directory does not exist"))
        self.shared.with_suffix(".renamed").rename(self.shared)

    def test_invalid_parameters_are_refused(self) -> None:
        for query in (
            "",
            "core=core.dmp&elf=app.elf",
            "core=core.dmp&elf=app.elf&chip=esp32c6&core=core.dmp",
            "core=&elf=app.elf&chip=esp32c6",
            "core=../core.dmp&elf=app.elf&chip=esp32c6",
            "core=%2Fetc%2Fpasswd&elf=app.elf&chip=esp32c6",
            "core=.core.dmp&elf=app.elf&chip=esp32c6",
            "core=core.dmp%00&elf=app.elf&chip=esp32c6",
            "core=core.dmp%0A&elf=app.elf&chip=esp32c6",
            f"core={'x' * 256}&elf=app.elf&chip=esp32c6",
            "&".join(f"p{number}=1" for number in range(100)),
        ):
            self.assertEqual(self.refusal(f"/parse-coredump?{query}")[0], 400, query)

    def test_other_paths_and_methods_are_refused(self) -> None:
        for target in ("/metrics", "/parse-coredump/", "*"):
            self.assertEqual(self.refusal(target)[0], 404, target)
        for method in ("POST", "PUT", "DELETE", "HEAD"):
            self.assertEqual(self.ask(CALL, method)[0], 405, method)
        self.assertEqual(self.ask(CALL, "BREW")[0], 501)
        self.assertEqual(self.ask(CALL, "GET", b"body")[0], 400)
        self.assertEqual(self.refusal("/" + "x" * 70_000)[0], 414)

    def test_missing_files_are_not_the_fault_of_the_dump(self) -> None:
        (self.shared / "core.dmp").unlink()
        reason = "core or elf cannot be read in the shared directory"
        self.assertEqual(self.refusal(), (503, reason))

    def test_only_regular_files_are_read(self) -> None:
        link, pipe, directory = (self.shared / name for name in ("link", "pipe", "directory"))
        link.symlink_to(self.shared / "core.dmp")
        os.mkfifo(pipe)
        directory.mkdir()
        for file in (link, pipe, directory):
            target = CALL.replace("core.dmp", file.name)
            self.assertEqual(self.refusal(target), (400, "core and elf must be regular files"))

    def test_a_dump_beyond_the_limit_is_not_read(self) -> None:
        with open(self.shared / "core.dmp", "wb") as file:
            file.truncate(MAX_DUMP_BYTES + 1)
        self.assertEqual(self.refusal(), (413, f"a file has more than {MAX_DUMP_BYTES} bytes"))

    def test_a_file_that_is_not_a_dump_is_refused(self) -> None:
        self._write("core.dmp", b"garbage")
        reason = "the dump is neither an ELF core nor a raw image"
        self.assertEqual(self.refusal(), (422, reason))

    def test_an_elf_of_another_build_is_refused(self) -> None:
        self._write("core.dmp", core(b"0123456789"))
        self.assertEqual(self.refusal()[0], 409)

    def test_without_its_gdb_a_chip_gets_no_report(self) -> None:
        self._write("app.elf", firmware(XTENSA))
        self._write("core.dmp", core(b"", 9, XTENSA))
        self.assertEqual(self.refusal(), (501, "there is no GDB for esp32s3"))

    def test_a_dump_that_the_engine_cannot_load_is_refused(self) -> None:
        self._write("core.dmp", fixture("0.dmp")[:2500])
        status, reason = self.refusal()
        self.assertEqual(status, 422, reason)
        self.assertTrue(reason.startswith("esp-coredump cannot read the dump: "), reason)
        self.assertNotIn(str(self.temporary), reason)


class Ends(Case):
    workers, queue, patience = 1, 1, 0.3

    def test_overload_is_reported_at_once_or_after_the_patience(self) -> None:
        first = self._ask_in_background()
        self.wait_for_gdb()
        waiting = [self._ask_in_background() for _ in range(2)]
        for thread in waiting:
            thread.join()
        answers = sorted(self.answers)
        expected = [(503, "all workers are busy"), (503, "too many requests at a time")]
        self.assertEqual(answers, expected)
        self.assertEqual(self.ask("/")[0], 200)
        self.service.reports.stop()
        first.join()
        self.assertEqual(self.answers[-1], (503, "the sidecar is shutting down"))

    def _ask_in_background(self) -> threading.Thread:
        self.answers: list[tuple[int, str]] = getattr(self, "answers", [])
        thread = threading.Thread(target=lambda: self.answers.append(self.refusal()))
        thread.start()
        return thread

    def test_a_caller_that_hangs_up_ends_the_engine(self) -> None:
        address = self.service.server_address[:2]
        with socket.create_connection(("127.0.0.1", int(address[1]))) as connection:
            connection.sendall(f"GET {CALL} HTTP/1.1\r\nHost: sidecar\r\n\r\n".encode())
            self.wait_for_gdb()
            self.assertNotEqual(processes(str(self.temporary)), [])
        self.wait_for_the_end_of_all()


class Time(Case):
    seconds = 2.0

    def test_an_engine_that_takes_too_long_is_ended(self) -> None:
        status, reason = self.refusal()
        self.assertEqual(status, 504)
        self.assertTrue(reason.startswith("no report within "), reason)
        self.assertTrue(self.gdb.with_suffix(".started").exists(), "GDB was not started")
        self.wait_for_the_end_of_all()


class Crash(Case):
    def test_a_gdb_that_dies_is_not_waited_for(self) -> None:
        self.gdb.write_text(SLEEPING_GDB.replace("time.sleep(600)", "sys.exit(1)"))
        status, reason = self.refusal()
        self.assertEqual(status, 500)
        self.assertEqual(reason, "GDB ended too early")


class Scripts(Case):
    """An ELF may contain a script that GDB runs if it is configured to trust the file."""

    gdb_name = "gdb-multiarch"

    def setUp(self) -> None:
        super().setUp()
        self.trace = self.temporary.parent / f"{self.temporary.name}.trace"
        self.addCleanup(self.trace.unlink, missing_ok=True)
        script = f"\x04script\nopen({str(self.trace)!r}, 'w')\n\0".encode()
        elf = with_section(fixture("firmware.elf"), ".debug_gdb_scripts", script)
        self._write("app.elf", elf)
        self._write("core.dmp", without_build(fixture("0.dmp")))

    def test_a_gdb_that_trusts_the_file_runs_it(self) -> None:
        trust = ["-iex", "set auto-load safe-path /", str(self.shared / "app.elf")]
        subprocess.run([self.gdb_name, "--nx", "--batch", *trust], check=True, capture_output=True)
        self.assertTrue(self.trace.exists())

    def test_the_service_does_not(self) -> None:
        status, body = self.ask(CALL)
        self.assertEqual(status, 200, body)
        self.assertIn("main_task", body["output"])
        self.assertFalse(self.trace.exists())


class Gdbs(unittest.TestCase):
    def test_a_gdb_without_the_architecture_is_not_used(self) -> None:
        names = dict.fromkeys(Family, "gdb-multiarch")
        self.assertEqual(list(find_gdbs(names)), [Family.RISCV])
        self.assertEqual(find_gdbs({Family.RISCV: "/bin/true", Family.XTENSA: "no-such"}), {})
