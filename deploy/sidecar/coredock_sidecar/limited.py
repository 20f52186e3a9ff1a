"""Runs a program under limits that all its children inherit: MEMORY SECONDS PROGRAM ARGUMENT...

This is a program of its own, because a process with threads cannot set limits safely between fork
and exec.
"""

import os
import resource
import sys

MAX_FILE_BYTES = 64 << 20


def main(arguments: list[str]) -> None:
    """Does not return."""
    memory, seconds, *command = arguments
    for limit, value in (
        (resource.RLIMIT_AS, int(memory)),
        (resource.RLIMIT_CPU, int(seconds)),
        (resource.RLIMIT_FSIZE, MAX_FILE_BYTES),
        (resource.RLIMIT_CORE, 0),
    ):
        resource.setrlimit(limit, (value, value))
    os.execv(command[0], command)


if __name__ == "__main__":
    main(sys.argv[1:])
