#!/usr/bin/env -S python3 -IS
"""Runs between esp-coredump and GDB. It is started like GDB and starts the GDB which the
environment names.

- GDB is configured not to run, load or fetch files that the ELF names.
- Debian's GDB calls a thread "LWP -2147221296" where esp-coredump expects "process 2147746000".
- esp-coredump waits for "done" after every command, and after an error until its time-out. An
  expression that cannot be evaluated becomes an empty value, a console command that fails its text.
- If GDB does not accept the dump, esp-coredump would report that everything is absent. It first
  requests a register; if GDB has no registers, a marker file is written and the run ends.
"""

import contextlib
import os
import re
import signal
import subprocess
import sys
import threading
from collections import deque
from pathlib import Path
from typing import IO

VARIABLE = "COREDOCK_SIDECAR_GDB"
# Made in the working directory when GDB has no registers.
NO_REGISTERS = "no-registers"
SETTINGS = (
    "set auto-load off",
    "set auto-load safe-path /nonexistent",
    "set debuginfod enabled off",
    "set debug-file-directory /nonexistent",
    "set source open off",
    "set index-cache enabled off",
)
TARGET_ID = re.compile(rb'(target-id=")LWP (-?\d+)"')
CONSOLE_ROW = re.compile(rb'^(~"[* ] \d+ +)LWP (-?\d+) ')
ERROR = re.compile(rb'\^error,msg=("(?:[^"\\]|\\.)*").*')
FIRST_COMMAND = b"-data-list-register-values "
EXPRESSION = b"-data-evaluate-expression "
CONSOLE = b"-interpreter-exec console "


def process(number: bytes) -> bytes:
    """The name of a thread as esp-coredump expects it: the unsigned address of its task."""
    return b"process %d" % (int(number) % (1 << 32))


def answer(line: bytes, command: bytes) -> bytes:
    """The result of a command, as esp-coredump understands it."""
    error = ERROR.match(line)
    if error and command.startswith(EXPRESSION):
        return b'^done,value=""\n'
    if error and command.startswith(CONSOLE):
        return b"~" + error[1] + b"\n^done\n"
    return TARGET_ID.sub(lambda found: found[1] + process(found[2]) + b'"', line)


def console(line: bytes) -> bytes:
    """A console line: in a row of `info threads` the thread gets the expected name."""
    return CONSOLE_ROW.sub(lambda found: found[1] + process(found[2]) + b" ", line)


def pass_answers(source: IO[bytes], target: IO[bytes], commands: deque[bytes]) -> None:
    """Passes on the output of GDB until it ends. Every command has one result."""
    for line in source:
        is_result = line.startswith(b"^")
        command = commands.popleft() if is_result and commands else b""
        if command.startswith(FIRST_COMMAND) and line.startswith(b"^error"):
            Path(NO_REGISTERS).touch()
            return
        target.write(answer(line, command) if is_result else console(line))
        target.flush()


def pass_commands(
    source: IO[bytes], target: IO[bytes], commands: deque[bytes], stopping: threading.Event
) -> None:
    """Passes commands on to GDB until the input ends."""
    # The thread that reads from GDB handles its end.
    with contextlib.suppress(BrokenPipeError):
        for line in source:
            commands.append(line)
            target.write(line)
            target.flush()
        stopping.set()
        target.close()


def main() -> int:
    """Runs until GDB ends."""
    extra = [word for setting in SETTINGS for word in ("-iex", setting)]
    command = [os.environ[VARIABLE], *extra, *sys.argv[1:]]
    gdb = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert gdb.stdin is not None and gdb.stdout is not None
    commands: deque[bytes] = deque()
    stopping = threading.Event()

    def end(*_: object) -> None:
        stopping.set()
        gdb.terminate()

    signal.signal(signal.SIGTERM, end)
    towards = (sys.stdin.buffer, gdb.stdin, commands, stopping)
    threading.Thread(target=pass_commands, args=towards, daemon=True).start()
    pass_answers(gdb.stdout, sys.stdout.buffer, commands)
    gdb.terminate()
    code = gdb.wait()
    if not stopping.is_set():
        # esp-coredump would wait for answers of a GDB that has ended.
        os.kill(os.getppid(), signal.SIGTERM)
    return code


if __name__ == "__main__":
    # The thread may still wait for commands, and must not keep the interpreter from ending.
    os._exit(main() & 0xFF)
