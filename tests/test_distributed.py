"""What processes send each other."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch.distributed as dist

from rpo_lightning import distributed
from tests.algorithms import processes
from tests.algorithms.processes import run_ranks


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="asks Linux for the memory of a process")
def test_states_go_to_the_first_process_alone_and_each_reads_its_own(tmp_path: Path) -> None:
    """In units of a state: the first keeps what it has got of two others, nobody keeps anything twice."""
    ranks = run_ranks(processes.states, tmp_path, world=3)
    assert all(each["right"] for each in ranks)
    assert [each["count"] for each in ranks] == [3, 0, 0]
    assert [round(each["memory"]["gathering"], 1) for each in ranks] == pytest.approx([2.0, 0.0, 0.0], abs=0.4)
    assert [round(each["memory"]["reading"], 1) for each in ranks] == pytest.approx([1.0, 1.0, 1.0], abs=0.4)


def test_objects_do_not_travel_through_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    made = []
    monkeypatch.setattr(dist, "new_group", lambda **options: made.append(options) or "group")
    for backend, group in (("gloo", None), ("nccl", "group")):
        monkeypatch.setattr(dist, "get_backend", lambda backend=backend: backend)
        distributed._host_group.cache_clear()
        assert [distributed._host_group() for _ in range(2)] == [group, group]
    distributed._host_group.cache_clear()
    assert made == [{"backend": "gloo"}]
