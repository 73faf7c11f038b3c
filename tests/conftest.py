"""Fixtures shared by the tests of the command line."""

from tests.command_line import folder

__all__ = ["folder"]
