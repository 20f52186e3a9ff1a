"""Crash reports of ESP32 coredumps over HTTP, made by esp-coredump and GDB.

The client is Coredock's sidecar engine: docs/contract.md, section 6.11.
"""
