"""Makes the report for a request."""

import socket
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qs

from .engine import Engine, Job
from .failure import bad_request, no_engine, too_late, unavailable
from .files import MAX_DUMP_BYTES, MAX_ELF_BYTES, check_name, copy
from .images import Family, check_build, choose_chip, read_dump, read_firmware

PARAMETERS = ("core", "elf", "chip")
MAX_PARAMETERS = 8


@dataclass(frozen=True)
class Request:
    core: str
    elf: str
    chip: str

    @classmethod
    def parse(cls, query: str) -> "Request":
        """Each parameter must be given once; others are ignored."""
        try:
            given = parse_qs(query, keep_blank_values=True, max_num_fields=MAX_PARAMETERS)
        except ValueError as error:
            raise bad_request("too many parameters") from error
        values = [given.get(name, []) for name in PARAMETERS]
        if any(len(value) != 1 for value in values):
            raise bad_request("core, elf and chip must each be given once")
        core, elf, chip = (value[0] for value in values)
        return cls(check_name(core), check_name(elf), chip)


@dataclass(frozen=True)
class Settings:
    """The limits of requests."""

    directory: Path
    gdbs: Mapping[Family, Path]
    # Runs of the engine at a time, and requests that may wait for a permit to run it.
    workers: int
    queue: int
    # Time limit of a request, and how much of it the request may wait for a free worker.
    seconds: float
    patience: float
    memory: int


class Reports:
    """Makes a limited number of reports at a time."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._engine = Engine(settings.memory)
        self._accepted = threading.BoundedSemaphore(settings.workers + settings.queue)
        self._running = threading.BoundedSemaphore(settings.workers)

    def stop(self) -> None:
        """Ends the running jobs."""
        self._engine.stop()

    def make(self, request: Request, caller: socket.socket) -> str:
        """The report for a request, within its time limit."""
        deadline = time.monotonic() + self.settings.seconds
        with self._permit(), tempfile.TemporaryDirectory(prefix="coredock-sidecar-") as directory:
            job = self._prepare(request, Path(directory), deadline)
            return self._engine.run(job, caller)

    @contextmanager
    def _permit(self) -> Iterator[None]:
        if not self._accepted.acquire(blocking=False):
            raise unavailable("too many requests at a time")
        try:
            if not self._running.acquire(timeout=self.settings.patience):
                raise unavailable("all workers are busy")
            try:
                yield
            finally:
                self._running.release()
        finally:
            self._accepted.release()

    def _prepare(self, request: Request, directory: Path, deadline: float) -> Job:
        dump_file, elf_file = directory / "core", directory / "app.elf"
        copy(self.settings.directory, request.core, dump_file, MAX_DUMP_BYTES)
        elf = copy(self.settings.directory, request.elf, elf_file, MAX_ELF_BYTES)
        dump = read_dump(dump_file.read_bytes())
        family = read_firmware(elf.head)
        check_build(dump, elf.sha256)
        chip = choose_chip(dump, request.chip, family)
        gdb = self.settings.gdbs.get(family)
        if gdb is None:
            raise no_engine(f"there is no GDB for {chip.name}")
        left = deadline - time.monotonic()
        if left <= 0:
            raise too_late("no time left for a report")
        return Job(directory, chip.name, dump.format, gdb, left)
