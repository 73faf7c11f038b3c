"""What cannot be written is told by the name that the user gave, not by that of the half-written file."""

import errno
import shutil

import pytest
import torch

from rpo_lightning import runs
from rpo_lightning.algorithms import RPO
from rpo_lightning.callbacks import LastAndBest
from rpo_lightning.export import SUFFIXES, export
from rpo_lightning.files import write_atomically, write_json, write_tensors
from rpo_lightning.policies import write_policy
from rpo_lightning.trained_policy import Policy
from rpo_lightning.trajectories import Trajectories


def trajectories():
    row = torch.zeros(2, 1)
    rows = row[..., None]
    return Trajectories(rows, rows, row, rows, rows, rows, rows, row.bool(), torch.tensor([2]))


def module():
    return RPO(3, 1, 1000, hidden=(8,))


WRITERS = {
    **{kind: lambda path, kind=kind: export(Policy(module(), {"control": None}), path, kind) for kind in SUFFIXES},
    **{ending: lambda path: trajectories().save(path) for ending in (".npz", ".pt", ".parquet")},
    "policy": lambda path: write_policy(path, module(), runs.Run(path.parent, "toy", "rpo", 0, "", "")),
    "json": lambda path: write_json(path, {"a": 1}),
}


@pytest.mark.parametrize("kind", WRITERS)
def test_every_writer_names_the_file_that_was_asked_for(kind, tmp_path):
    ending = SUFFIXES.get(kind, kind)
    # so long that the system does not take the name of the file beside it, which is longer
    path = tmp_path / f"{'a' * (255 - len(ending))}{ending}"
    with pytest.raises(OSError, match="File name too long") as caught:
        WRITERS[kind](path)
    assert (caught.value.errno, caught.value.filename) == (errno.ENAMETOOLONG, str(path))
    assert list(tmp_path.iterdir()) == []


def test_folders_that_are_files_and_files_that_are_folders_are_named(tmp_path):
    (tmp_path / "file").write_text("")
    (tmp_path / "folder").mkdir()
    for path, kind, name in (
        (tmp_path / "file/a.json", NotADirectoryError, tmp_path / "file"),
        (tmp_path / "folder", IsADirectoryError, tmp_path / "folder"),
    ):
        with pytest.raises(kind) as caught:
            write_json(path, {})
        assert caught.value.filename == str(name)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "folder"]


def test_a_full_disk_names_the_file_and_what_cannot_be_read_keeps_its_own_name(tmp_path):
    def full(temporary):
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(OSError, match="a.json") as caught:
        write_atomically(tmp_path / "a.json", full)
    assert caught.value.filename == str(tmp_path / "a.json")
    with pytest.raises(FileNotFoundError) as caught:
        write_atomically(tmp_path / "a.json", lambda temporary: shutil.copyfile(tmp_path / "source", temporary))
    assert caught.value.filename == str(tmp_path / "source")


def test_a_checkpoint_is_told_by_its_name(tmp_path, monkeypatch):
    class Trainer:
        default_root_dir, is_global_zero = tmp_path, True

        def save_checkpoint(self, path):
            write_tensors(path, {})

    def fails(content, path):
        raise RuntimeError("torch does not say what the disk has answered")

    monkeypatch.setattr("torch.save", fails)
    with pytest.raises(OSError, match="the disk may be full") as caught:
        LastAndBest().save(Trainer(), module())
    assert caught.value.filename == str(tmp_path / "checkpoints/last.ckpt")
