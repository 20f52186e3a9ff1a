"""Runs a program under limits that all its children inherit: MEMORY SECONDS PROGRAM ARGUMENT...

Started as a file of its own, because limits cannot be set safely between fork and exec of a
program that has threads.
"""

import os
import resource
import sys

MOST_WRITTEN = 64 << 20


def main(arguments: list[str]) -> None:
    """Does not return."""
    memory, seconds, *command = arguments
    for limit, value in (
        (resource.RLIMIT_AS, int(memory)),
        (resource.RLIMIT_CPU, int(seconds)),
        (resource.RLIMIT_FSIZE, MOST_WRITTEN),
        (resource.RLIMIT_CORE, 0),
    ):
        resource.setrlimit(limit, (value, value))
    os.execv(command[0], command)


if __name__ == "__main__":
    main(sys.argv[1:])
