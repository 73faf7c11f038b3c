"""Speed is measured without changing what it measures."""

import pytest
import torch

from rpo_lightning.check_env.speed import first_use, measure
from tests.check_env.subjects import subject
from tests.toy import PointMass


def test_timing_leaves_the_number_of_threads_as_it_was():
    before = torch.get_num_threads()
    timing = measure(subject(PointMass), 4, threads=before + 1)
    assert torch.get_num_threads() == before
    assert timing.forward > 0
    assert timing.backward > 0


@pytest.mark.parametrize("files", [{"a"}, {"a", "b"}])
def test_first_use_tells_whether_machine_code_is_new(files, monkeypatch):
    found = iter([{"a"}, files])
    monkeypatch.setattr("rpo_lightning.check_env.speed._machine_code", lambda: next(found))
    first = first_use(subject(PointMass))
    assert first.compiled == (files == {"a", "b"})
    assert first.seconds > 0
