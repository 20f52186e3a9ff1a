"""Starts the service: python3 -m coredock_sidecar --directory XFER."""

import argparse
import importlib.metadata
import logging
import os
import signal
import sys
from pathlib import Path
from types import FrameType

from .engine import find_gdbs
from .images import Family
from .reports import Reports, Settings
from .service import Service

log = logging.getLogger("coredock_sidecar")


def main() -> int:
    """Serves until SIGTERM or SIGINT."""
    arguments = read_arguments()
    logging.basicConfig(
        stream=sys.stdout, level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s"
    )
    gdbs = find_gdbs({Family.XTENSA: arguments.gdb_xtensa, Family.RISCV: arguments.gdb_riscv})
    for family in Family:
        log.info("%s: %s", family.name.lower(), gdbs.get(family, "no GDB, its dumps are refused"))
    if not gdbs:
        print("no GDB was found for either architecture: see --help", file=sys.stderr)
        return 2
    log.info("esp-coredump %s", importlib.metadata.version("esp-coredump"))
    service = Service(arguments.listen, Reports(read_settings(arguments, gdbs)))
    serve(service)
    return 0


def serve(service: Service) -> None:
    """Serves until a signal arrives."""
    signal.signal(signal.SIGTERM, _interrupt)
    host, port = service.server_address[:2]
    log.info("listening on http://%s:%d", f"[{host!s}]" if ":" in str(host) else host, port)
    try:
        service.serve_forever()
    except KeyboardInterrupt:
        log.info("shutting down")
    finally:
        service.stop()


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def read_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="coredock_sidecar", description="Reports of coredumps.")
    add, workers = parser.add_argument, os.cpu_count() or 1
    add("--listen", type=address, default=("127.0.0.1", 3180), help="default 127.0.0.1:3180")
    add("--directory", type=directory, required=True, help="shared with Coredock")
    add("--gdb-xtensa", default="xtensa-esp32-elf-gdb", help="GDB for ESP32, S2 and S3")
    add("--gdb-riscv", default="riscv32-esp-elf-gdb", help="GDB for all other chips")
    add("--workers", type=positive, default=workers, help="reports at a time (default: CPUs)")
    add("--queue", type=positive, default=32, help="requests that may wait (default 32)")
    add("--timeout", type=positive, default=100, help="seconds per request (default 100)")
    add("--patience", type=positive, default=30, help="of these, seconds to wait (default 30)")
    add("--memory", type=positive, default=2048, help="MiB for each process (default 2048)")
    return parser.parse_args()


def read_settings(arguments: argparse.Namespace, gdbs: dict[Family, Path]) -> Settings:
    return Settings(
        directory=arguments.directory,
        gdbs=gdbs,
        workers=arguments.workers,
        queue=arguments.queue,
        seconds=arguments.timeout,
        patience=arguments.patience,
        memory=arguments.memory << 20,
    )


def address(text: str) -> tuple[str, int]:
    """HOST:PORT, where the host may be in brackets."""
    host, colon, port = text.rpartition(":")
    if not colon or not host or not port.isdecimal() or int(port) > 65535:
        raise argparse.ArgumentTypeError("must be HOST:PORT")
    return host.removeprefix("[").removesuffix("]"), int(port)


def directory(text: str) -> Path:
    path = Path(text).resolve()
    if not path.is_dir():
        raise argparse.ArgumentTypeError(f"{text} is not a directory")
    return path


def positive(text: str) -> int:
    """A number above 0."""
    if not text.isdecimal() or int(text) == 0:
        raise argparse.ArgumentTypeError("must be a whole number above 0")
    return int(text)


if __name__ == "__main__":
    sys.exit(main())
