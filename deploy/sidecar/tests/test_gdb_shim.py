"""How the shim changes the lines of GDB."""

import io
import os
import tempfile
import unittest
from collections import deque
from pathlib import Path

from coredock_sidecar.gdb_shim import NO_REGISTERS, answer, console, pass_answers

EXPRESSION = b'-data-evaluate-expression "((TCB_t *)0x800400d0)->pcTaskName"\n'
CONSOLE = b'-interpreter-exec console "bt"\n'


class Lines(unittest.TestCase):
    def test_threads_are_named_as_esp_coredump_expects(self) -> None:
        line = b'^done,threads=[{id="1",target-id="LWP -2147221296"},{id="2",target-id="LWP 7"}]\n'
        named = line.replace(b"LWP -2147221296", b"process 2147746000")
        self.assertEqual(answer(line, b""), named.replace(b"LWP 7", b"process 7"))
        self.assertEqual(
            console(b'~"* 1    LWP -2147221296   main () at a.c:1\\n"\n'),
            b'~"* 1    process 2147746000   main () at a.c:1\\n"\n',
        )

    def test_values_of_the_dump_are_not_changed(self) -> None:
        for line in (
            b'^done,value="0x1 \\"target-id=\\"LWP 7\\"\\""\n',
            b'^done,threads=[{id="1",target-id="process 1"}]\n',
        ):
            self.assertEqual(answer(line, EXPRESSION), line)
        for line in (b'~"#0  main (name=0x1 \\"LWP 7 \\") at a.c:1\\n"\n', b"(gdb) \n"):
            self.assertEqual(console(line), line)

    def test_an_error_that_esp_coredump_would_wait_for_is_an_empty_answer(self) -> None:
        error = b'^error,msg="No symbol \\"TCB_t\\" in current context."\n'
        self.assertEqual(answer(error, EXPRESSION), b'^done,value=""\n')
        text = b'~"No symbol \\"TCB_t\\" in current context."\n^done\n'
        self.assertEqual(answer(error, CONSOLE), text)

    def test_other_errors_are_not_changed(self) -> None:
        for command in (b"-thread-info\n", b"-thread-select 2\n", b""):
            error = b'^error,msg="Invalid thread id: 2"\n'
            self.assertEqual(answer(error, command), error)


class Streams(unittest.TestCase):
    def setUp(self) -> None:
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.addCleanup(os.chdir, os.getcwd())
        os.chdir(directory.name)

    def test_results_belong_to_commands_in_their_order(self) -> None:
        commands = deque([b"-thread-select 1\n", CONSOLE])
        lines = b'^error,msg="a"\n=note\n^error,msg="b"\n'
        target = io.BytesIO()
        pass_answers(io.BytesIO(lines), target, commands)
        self.assertEqual(target.getvalue(), b'^error,msg="a"\n=note\n~"b"\n^done\n')
        self.assertFalse(Path(NO_REGISTERS).exists())

    def test_a_dump_that_gdb_does_not_accept_ends_the_run(self) -> None:
        target = io.BytesIO()
        lines = b'(gdb) \n^error,msg="No registers."\n(gdb) \n'
        pass_answers(io.BytesIO(lines), target, deque([b"-data-list-register-values x pc\n"]))
        self.assertEqual(target.getvalue(), b"(gdb) \n")
        self.assertTrue(Path(NO_REGISTERS).exists())
