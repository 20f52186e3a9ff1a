"""Tests of the service: python3 -m unittest, in the directory above."""
