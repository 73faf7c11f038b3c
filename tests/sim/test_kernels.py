"""Kernels made from the table of arguments, kept on disk by Warp, and what Warp says meanwhile."""

import fcntl
import shutil
import subprocess
import sys
import threading

import pytest
import torch
import warp as wp

from rpo_lightning.sim import kernels

BODY = "for (int i = 0; i < {count}; ++i) out.data[i] = q_in.data[i] + 1.0f;"


def run(kernel):
    x, y = torch.arange(3.0), torch.zeros(3)
    wp.launch(kernel, dim=1, inputs=[*map(wp.from_torch, (x, x, x, x, x, x, y)), 3, 0, 1], device="cpu")
    return y.tolist()


def replace(suffix, content):
    def damage(folder):
        (path,) = folder.glob(f"*{suffix}")
        path.write_bytes(content(path.read_bytes()))

    return damage


DAMAGES = {
    "machine code cut short": replace(".o", lambda code: code[: len(code) // 2]),
    "no machine code": replace(".o", lambda code: b""),
    "facts cut short": replace(".meta", lambda text: text[: len(text) // 2]),
}


@pytest.fixture
def compiled(tmp_path, monkeypatch):
    """A kernel whose machine code lies in a folder of the test's own, and that folder."""
    wp.init()  # before the folder is changed
    monkeypatch.setattr(wp.config, "kernel_cache_dir", str(tmp_path))
    kernel = kernels.build("acceleration", BODY.format(count=3))
    kernel.module.unload()
    kernels.load(kernel, torch.device("cpu"))
    (folder,) = tmp_path.glob("wp_*")
    kernel.module.unload()
    return kernel, folder


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_damaged_machine_code_is_made_anew(compiled, damage):
    kernel, folder = compiled
    damage(folder)
    kernels.load(kernel, torch.device("cpu"))
    assert run(kernel) == [1.0, 2.0, 3.0]
    assert all(path.stat().st_size > 0 for path in folder.iterdir())


def test_a_damaged_folder_that_cannot_be_replaced_is_named(compiled, monkeypatch):
    kernel, folder = compiled
    DAMAGES["no machine code"](folder)

    def refuse(path):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(shutil, "rmtree", refuse)
    with pytest.raises(RuntimeError, match=f"damaged machine code; delete the folder {folder} "):
        kernels.load(kernel, torch.device("cpu"))


def test_an_error_of_the_compiler_is_not_taken_for_damage(tmp_path, monkeypatch):
    wp.init()  # before the folder is changed
    monkeypatch.setattr(wp.config, "kernel_cache_dir", str(tmp_path))
    with pytest.raises(Exception) as caught:  # noqa: PT011
        kernels.load(kernels.build("acceleration", "this is no C"), torch.device("cpu"))
    assert "damaged" not in str(caught.value)


TALK = """
import os, sys
import rpo_lightning.sim as sim
{call}
os.write(1, b"alive")
import torch
from rpo_lightning.sim import kernels
kernels.load(kernels.build("acceleration", "out.data[0] = 1.0f;"), torch.device("cpu"))
"""


@pytest.mark.parametrize(("call", "redirect"), [("sim.quiet()", ""), ("sim.quiet()", "2>&-"), ("", "2>&-")])
def test_quiet_is_quiet_and_a_closed_standard_error_is_no_error(call, redirect):
    command = f'exec "$0" -c "$1" {redirect}'
    done = subprocess.run(
        ["/bin/sh", "-c", command, sys.executable, TALK.format(call=call)], capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    assert "alive" in done.stdout
    if call:
        assert (done.stdout, done.stderr) == ("alive", "")


def test_importing_the_engine_changes_nothing_of_warp():
    code = "import warp; level = warp.config.log_level; import rpo_lightning.sim; print(level == warp.config.log_level)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300, check=True)
    assert (done.stdout, done.stderr) == ("True\n", "")


def test_one_process_compiles_and_the_others_wait(tmp_path, monkeypatch):
    """A lock taken by another process is held until the kernel has been asked for."""
    wp.init()  # before the folder is changed
    monkeypatch.setattr(wp.config, "kernel_cache_dir", str(tmp_path))
    order, asked, flock = [], threading.Event(), fcntl.flock
    monkeypatch.setattr(wp, "load_module", lambda *given, **options: order.append("loaded"))
    kernel = kernels.build("acceleration", BODY.format(count=2))
    with (tmp_path / f"{kernel.module.name}.lock").open("w") as file:
        flock(file, fcntl.LOCK_EX)
        monkeypatch.setattr(fcntl, "flock", lambda *given: (asked.set(), flock(*given)))
        waiting = threading.Thread(target=kernels.load, args=(kernel, torch.device("cpu")))
        waiting.start()
        assert asked.wait(60)
        order.append("released")
        flock(file, fcntl.LOCK_UN)
        waiting.join(60)
    assert order == ["released", "loaded"]
