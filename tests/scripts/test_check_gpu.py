"""The check of a GPU, rehearsed on the CPU: every part runs, a failure stops nothing, the record is merged."""

from __future__ import annotations

import json
import runpy
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import check_gpu
import pytest
from gpu.part import Part, Settings, carry_out
from gpu.record import Record


def start(monkeypatch, capsys, *arguments):
    """Run the script on the CPU, in this process; return exit code, stdout and stderr."""
    monkeypatch.setattr(sys, "argv", ["check_gpu.py", "--device=cpu", *arguments])
    with pytest.raises(SystemExit) as end:
        runpy.run_path(check_gpu.__file__, run_name="__main__")
    return end.value.code, *capsys.readouterr()


def test_every_part_passes_in_small_and_is_recorded(monkeypatch, tmp_path, capsys):
    output = tmp_path / "benchmarks/gpu.json"
    code, said, _ = start(monkeypatch, capsys, "--output", str(output))
    assert code == 0, said
    record = json.loads(output.read_text())
    assert list(record["parts"]) == list(check_gpu.PARTS)
    assert all(part["status"] == "passed" and part["rows"] for part in record["parts"].values())
    assert (record["device"], record["failed"]) == ("cpu", [])
    page = output.with_suffix(".md").read_text()
    assert all(f"## {name}: passed" in page for name in check_gpu.PARTS)
    golden = record["parts"]["golden"]["rows"][0]
    assert f"| {golden['task']} | {golden['position']:.4g} |" in page


def test_all_parts_fit_into_25_minutes():
    assert sum(part.seconds for part in check_gpu.PARTS.values()) <= 25 * 60


def breaks(settings):
    """Find one thing, then fail."""
    yield {"found": 1}
    raise ArithmeticError("of one part")


def hangs(settings):
    """Find one thing, then wait for ever, with a process of its own that does so too."""
    child = subprocess.Popen(["sleep", "1000"])
    yield {"child": child.pid}
    time.sleep(1000)


def disagrees(settings):
    """Find something that is not as it should be."""
    yield {"ok": True}
    yield {"ok": False}


def dies(settings):
    """End without a word."""
    import os

    yield {"found": 1}
    os._exit(3)


@pytest.mark.parametrize(
    ("run", "status", "error"),
    [
        (breaks, "failed", "ArithmeticError: of one part"),
        (hangs, "out of time", ""),
        (disagrees, "failed", ""),
        (dies, "failed", "its process died"),
    ],
)
def test_a_part_that_fails_is_reported_with_what_it_had_found(run, status, error, monkeypatch):
    seconds = iter([0.0, 0.0])  # it starts, and waits for the first row; all other times are 60 seconds later
    if run is hangs:
        monkeypatch.setattr("gpu.part.time", SimpleNamespace(perf_counter=lambda: next(seconds, 60.0)))
    result = carry_out(Part(run, 60), Settings("cpu"), 60)
    assert result["status"] == status
    assert error in result["error"]
    assert result["rows"]
    if run is hangs:
        stat = Path(f"/proc/{result['rows'][0]['child']}/stat")
        assert not stat.exists() or stat.read_text().split()[2] == "Z"


def test_the_check_goes_on_after_a_failure_and_exits_with_1(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(check_gpu, "PARTS", {"one": Part(breaks, 60), "other": Part(disagrees, 60), "last": Part(fine, 60)})
    assert check_gpu.check(Settings("cpu"), ["one", "other", "last"], tmp_path / "gpu.json") == 1
    assert "1 of 3 parts passed; not one, other." in capsys.readouterr().out
    assert json.loads((tmp_path / "gpu.json").read_text())["failed"] == ["one", "other"]
    assert "ArithmeticError: of one part" in (tmp_path / "gpu.md").read_text()


def fine(settings):
    """Find what should be."""
    yield {"ok": True}


def test_parts_carried_out_alone_join_those_of_the_same_machine_and_commit(tmp_path):
    table = {name: Part(fine, 1) for name in ("first", "second")}
    result = {"status": "passed", "seconds": 1.0, "rows": [{"a": 1}], "error": ""}
    path = tmp_path / "gpu.json"
    Record({"machine": "a", "commit": "1"}, path).add("second", result, table)
    Record({"machine": "a", "commit": "1"}, path).add("first", result, table)
    assert list(json.loads(path.read_text())["parts"]) == ["first", "second"]
    Record({"machine": "a", "commit": "2"}, path).add("first", result, table)
    assert list(json.loads(path.read_text())["parts"]) == ["first"]


def test_without_a_gpu_it_says_so_and_writes_nothing(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    assert check_gpu.check(Settings("cuda"), ["found"], tmp_path / "gpu.json") == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_a_part_that_does_not_exist_is_refused(monkeypatch, capsys):
    code, _, complaint = start(monkeypatch, capsys, "--only=goldn")
    assert code == 2
    assert "there is no part goldn" in complaint
