"""Runs esp-coredump and its GDB as processes that are not trusted."""

import os
import re
import select
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from io import FileIO
from pathlib import Path

from .failure import Failure, engine_failed, too_late, unavailable, unreadable
from .gdb_shim import NO_REGISTERS
from .gdb_shim import VARIABLE as GDB_VARIABLE
from .images import DumpFormat, Family

HERE = Path(__file__).resolve().parent
MAX_REPORT_BYTES = 2 << 20
MAX_ERROR_BYTES = 64 << 10
# The engine prints the first line once it has read dump and ELF, the last one at its end.
REPORT_STARTS = "ESP32 CORE DUMP START"
REPORT_ENDS = "ESP32 CORE DUMP END"
LOADER_ERROR = re.compile(r"Failed to load core dump: (.+)")
# Failures of the machine, not of the dump.
MACHINE_ERRORS = (
    "MemoryError",
    "OSError",
    "BlockingIOError",
    "FileNotFoundError",
    "PermissionError",
)
ARCHITECTURES = {Family.XTENSA: "xtensa", Family.RISCV: "riscv:rv32"}


@dataclass(frozen=True)
class Job:
    """The input of one run: two copied files in a temporary directory."""

    directory: Path
    chip: str
    form: DumpFormat
    gdb: Path
    seconds: float

    @property
    def dump(self) -> Path:
        return self.directory / "core"

    @property
    def elf(self) -> Path:
        return self.directory / "app.elf"


def find_gdbs(names: Mapping[Family, str]) -> dict[Family, Path]:
    """The programs that exist and support their architecture."""
    found = {family: shutil.which(name) for family, name in names.items()}
    paths = {family: Path(path).absolute() for family, path in found.items() if path}
    return {
        family: path for family, path in paths.items() if _supports(path, ARCHITECTURES[family])
    }


def _supports(gdb: Path, architecture: str) -> bool:
    """A GDB without the architecture would answer with the registers of another one."""
    command = [str(gdb), "--nx", "--batch", "-ex", f"complete set architecture {architecture}"]
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, timeout=30, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    return f"set architecture {architecture}".encode() in done.stdout.splitlines()


class Engine:
    """Runs jobs until it is stopped."""

    def __init__(self, memory: int) -> None:
        self._memory = memory
        # Its reading end reaches end of file once the engine is stopped.
        self._stopped, running = os.pipe2(os.O_CLOEXEC)
        self._running = FileIO(running, "w")

    def stop(self) -> None:
        """Ends all runs, now and later."""
        self._running.close()

    def run(self, job: Job, caller: socket.socket) -> str:
        """The report. Ends early when the caller disconnects."""
        output, errors = job.directory / "output", job.directory / "errors"
        with open(output, "xb") as stdout, open(errors, "xb") as stderr:
            process = subprocess.Popen(
                self._command(job),
                stdin=subprocess.DEVNULL,
                stdout=stdout,
                stderr=stderr,
                cwd=job.directory,
                env=_environment(job),
                start_new_session=True,
            )
        try:
            self._wait(process.pid, caller, job.seconds)
        finally:
            # Kills everything it started. The id cannot be reused before the process is waited for.
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        if (job.directory / NO_REGISTERS).exists():
            raise unreadable("GDB cannot read the dump or the ELF")
        # Error messages become reasons, which must not contain directories.
        messages = _read_end(errors).replace(f"{job.directory}/", "")
        return _report_of(process.returncode, _read(output, MAX_REPORT_BYTES), messages)

    def _command(self, job: Job) -> list[str]:
        # The engine spins while it waits for GDB, so the limit on CPU time is that of the wait.
        seconds = str(int(job.seconds) + 5)
        limited = [sys.executable, "-I", str(HERE / "limited.py"), str(self._memory), seconds]
        engine = [sys.executable, "-I", "-m", "esp_coredump", "--chip", job.chip]
        # A slow GDB is awaited: after its own time-out the engine would omit parts of the report.
        patience = ["--gdb-timeout-sec", seconds]
        files = ["--core", str(job.dump), "--core-format", job.form, str(job.elf)]
        gdb = ["--gdb", str(HERE / "gdb_shim.py")]
        return [*limited, *engine, *patience, "info_corefile", *gdb, *files]

    def _wait(self, pid: int, caller: socket.socket, seconds: float) -> None:
        """Waits until the process ends; does not reap it."""
        pidfd = os.pidfd_open(pid)
        try:
            poll = select.poll()
            poll.register(pidfd, select.POLLIN)
            poll.register(self._stopped, 0)
            poll.register(caller, select.POLLRDHUP)
            ready = {descriptor for descriptor, _ in poll.poll(seconds * 1000)}
        finally:
            os.close(pidfd)
        if pidfd in ready:
            return
        if self._stopped in ready:
            raise unavailable("the sidecar is shutting down")
        if ready:
            raise unavailable("the caller disconnected")
        raise too_late(f"no report within {seconds:.0f} seconds")


def _environment(job: Job) -> dict[str, str]:
    """Only the path of Python, which runs the shim."""
    directory = str(job.directory)
    return {
        "PATH": os.pathsep.join([os.path.dirname(sys.executable), os.defpath]),
        "HOME": directory,
        "TMPDIR": directory,
        "LANG": "C.UTF-8",
        "PYTHONDONTWRITEBYTECODE": "1",
        # Error messages without line breaks and colours.
        "COLUMNS": "1000",
        "NO_COLOR": "1",
        GDB_VARIABLE: str(job.gdb),
    }


def _report_of(code: int, output: str, errors: str) -> str:
    if code == 0 and REPORT_ENDS in output:
        return output
    if code > 0 and REPORT_STARTS not in output:
        raise _refusal(errors)
    if code == -signal.SIGTERM:
        # The shim sent the signal.
        raise engine_failed("GDB ended too early")
    raise engine_failed(f"esp-coredump ended with {code}: {_last_line(errors)}")


def _refusal(errors: str) -> Failure:
    """The engine ended while it read dump and ELF."""
    found = LOADER_ERROR.search(errors)
    last = _last_line(errors)
    if found is None and last.startswith(MACHINE_ERRORS):
        return engine_failed(f"esp-coredump failed: {last}")
    return unreadable(f"esp-coredump cannot read the dump: {found[1].strip() if found else last}")


def _last_line(text: str) -> str:
    lines = [line for line in text.splitlines() if line.strip()]
    return lines[-1].strip()[:300] if lines else "no reason given"


def _read(path: Path, limit: int) -> str:
    """The beginning of a file."""
    with open(path, "rb") as file:
        return file.read(limit).decode(errors="replace")


def _read_end(path: Path) -> str:
    with open(path, "rb") as file:
        file.seek(max(0, os.fstat(file.fileno()).st_size - MAX_ERROR_BYTES))
        return file.read().decode(errors="replace")
