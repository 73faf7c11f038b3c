"""Fixtures shared by the tests of the report."""

from tests.scripts.report_runs import drawn, results

__all__ = ["drawn", "results"]
