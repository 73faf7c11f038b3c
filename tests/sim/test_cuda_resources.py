"""Registers and stack frames of the CUDA kernels of robots, in ptxas' own words; no GPU is needed.

A frame holds what 255 registers do not: kernels with large frames wait for memory. Run with -s to see the figures.
"""

import pytest

import rpo_lightning
from rpo_lightning.sim import codegen, kernels
from tests.sim.cubin import compiled, usage

# (registers, bytes of frame) of step and of its adjoint, as Warp 1.19 compiles them for sm_90
RECORDED = {
    "hopper": ((168, 0), (255, 1624)),
    "ant": ((255, 608), (255, 6032)),
    "anymal": ((255, 864), (255, 6976)),
    "humanoid": ((255, 2960), (255, 14160)),
    "hand_reorient": ((255, 3184), (255, 18688)),
}
LONG = ("anymal", "humanoid", "hand_reorient")  # 13 to 41 s of compilation each
SLACK = 256  # [B] on top of half as much again, for frames that were small


@pytest.mark.parametrize("task", [pytest.param(t, marks=pytest.mark.long if t in LONG else ()) for t in RECORDED])
def test_kernels_need_no_more_registers_and_memory_than_they_did(task):
    robot = rpo_lightning.make(task, num_envs=1, threads=1).model
    for name, (registers, frame) in zip(("step", "step_adjoint"), RECORDED[task], strict=True):
        kernel = kernels.build(name, codegen.source(name, robot))
        found = usage(compiled(kernel, use_ptx=False))
        print(f"{task} {name}: {found['registers']} registers, {found['frame']} bytes of frame")
        assert 16 <= found["registers"] <= 1.5 * registers
        assert found["frame"] <= 1.5 * frame + SLACK
        assert found["frame"] > 0 or frame == 0
