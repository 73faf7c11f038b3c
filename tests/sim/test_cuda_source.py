"""The CUDA side of the kernels, as far as a machine without a GPU can tell: it compiles, and its indexing is right."""

import math

import numpy as np
import pytest
import torch
import warp as wp

from rpo_lightning.sim import Simulator, codegen, kernels, prelude, sensing
from rpo_lightning.sim.signatures import SIGNATURES
from tests.sim import scenes, trees
from tests.sim.cubin import compiled

SUBSTEPS, INTERVAL, DT = 4, 2, 0.002
N = 40  # one full block of 32 and a quarter of another


@pytest.fixture(scope="module")
def robot(tmp_path_factory):
    kinds = ["free", "hinge", "ball"]
    return trees.load(tmp_path_factory.mktemp("robot"), trees.text(kinds, seed=4, ground=True, limits=True))


@pytest.fixture(scope="module", params=["tree", "crowd"])
def scenario(request, robot):
    if request.param == "tree":
        return robot, *(t.float().contiguous() for t in trees.state(robot, N, seed=1, scale=0.4))
    model = scenes.crowd()
    return model, *scenes.touching(model, N, seed=3)


def test_one_thread_per_environment_gives_the_same_as_vector_registers(scenario):
    """Run the CUDA branch of the source on the CPU, one environment after the other."""
    robot, q, qd, force = scenario
    adj_q, adj_qd = torch.randn(q.shape), torch.randn(qd.shape)
    simulator = Simulator(robot, N, DT * SUBSTEPS, SUBSTEPS, INTERVAL)
    inputs = [t.clone().requires_grad_() for t in (q, qd, force)]
    expected = simulator.step(*inputs)
    expected_grads = torch.autograd.grad(expected, inputs, (adj_q, adj_qd))

    width = prelude.LANES["cuda"]
    threads = math.ceil(N / width) * width
    trajectory = torch.zeros(threads * (SUBSTEPS + robot.records_end) * (robot.nq + robot.nd))
    out = torch.zeros_like(q), torch.zeros_like(qd)
    none = torch.zeros(N, 0)
    grads = torch.zeros_like(q), torch.zeros_like(qd), torch.zeros_like(force)

    def launch(name, tensors, *scalars):
        kernel = kernels.build(name, codegen.source(name, robot).replace("defined(__CUDA_ARCH__)", "1"))
        wp.launch(kernel, dim=threads, inputs=[*(wp.from_torch(t.view(-1)) for t in tensors), N, 0, *scalars], device="cpu")

    sizes = DT, SUBSTEPS, INTERVAL, 1
    terrain = simulator.terrain
    launch("step", (q, qd, force, none, none, terrain, trajectory, *out), 1, *sizes)
    launch("step_adjoint", (adj_q, adj_qd, force, none, none, terrain, trajectory, *grads, none, none), *sizes)
    for ours, theirs in zip((*out, *grads), (*expected, *expected_grads), strict=True):
        torch.testing.assert_close(ours, theirs.detach(), rtol=1e-4, atol=1e-4 * theirs.abs().max().item())


def test_the_kernels_compile_for_cuda(scenario):
    robot, *_ = scenario
    for name in SIGNATURES:
        if name in codegen.KERNELS:
            source = codegen.source(name, robot)
        else:
            source = sensing.source(name, robot, [(0, np.ones(3))])
        assert compiled(kernels.build(name, source), use_ptx=True).stat().st_size > 0
