"""The measurement of compiling, on the smallest robot."""

import json
import subprocess
import sys

import benchmark_compile
import pytest


def test_a_robot_is_compiled_from_nothing_and_recorded(tmp_path):
    output = tmp_path / "new/compile.json"
    command = [sys.executable, benchmark_compile.__file__, "--robots", "hopper", "--output", str(output)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    (row,) = json.loads(output.read_text())["rows"]
    assert (row["robot"], row["dofs"], row["links"], row["pairs"]) == ("hopper", 6, 6, 0)
    assert 1000 < row["step_statements"] < row["step_adjoint_statements"] < 20000
    assert row["step_compile_s"] > 10 * row["step_trace_s"] > 0
    assert row["cpu_s"] > row["step_compile_s"] + row["step_adjoint_compile_s"]
    assert 100 < row["peak_mb"] < 5000
    assert "hopper" in done.stdout


def test_a_chain_has_as_many_hinges_as_its_name_says():
    robot = benchmark_compile.load("chain_3")
    assert [link.parent for link in robot.links] == [-1, 0, 1, 2]
    assert robot.nd == 9


def test_an_unknown_robot_is_an_error():
    with pytest.raises(ValueError, match="robot 'snake' is none of hopper, ant"):
        benchmark_compile.load("snake")
