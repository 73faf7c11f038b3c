"""Long blocks in pieces, and what else is different for robots with many joints, compute the same."""

import numpy as np
import pytest
import torch
import warp as wp

from rpo_lightning.sim import Simulator, codegen, kernels, pieces, simulator
from rpo_lightning.sim.expressions import Trace
from rpo_lightning.sim.signatures import SIGNATURES
from tests.sim import double, scenes, trees
from tests.sim.test_dynamics import TREES

N = 18


@pytest.fixture
def cut(monkeypatch):
    """Cut every block into pieces and factor every matrix in loops, for robots that would not need it."""
    monkeypatch.setattr(pieces, "WHOLE", 0)
    monkeypatch.setattr(pieces, "PIECE", 100)
    monkeypatch.setattr(codegen, "_MANY_ENTRIES", 0)
    monkeypatch.setattr(simulator, "_sources", {})


def step_and_gradients(model, state):
    inputs = [t.float().requires_grad_() for t in state]
    out = Simulator(model, N, 0.02, 4, 2, threads=1).step(*inputs)
    weights = [torch.arange(t.numel()).reshape(t.shape).cos() for t in out]
    return [t.detach() for t in (*out, *torch.autograd.grad(out, inputs, weights))]


@pytest.mark.parametrize("what", ["tree", "two bodies that touch"])
def test_pieces_and_loops_compute_what_whole_blocks_do(what, tmp_path, request):
    if what == "tree":
        model = trees.load(tmp_path, trees.text(TREES[1], seed=3, ground=True, limits=True))
        state = trees.state(model, N, seed=2, scale=0.4)
    else:
        model = scenes.scene("sphere", "sphere", seed=2)
        state = scenes.touching(model, N, seed=3)
    whole = step_and_gradients(model, state)
    request.getfixturevalue("cut")
    source = codegen.source("step_adjoint", model)
    assert source.count("auto piece_") > 20
    for ours, theirs in zip(step_and_gradients(model, state), whole, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4 * theirs.abs().max().item())


def test_a_robot_with_many_joints_moves_as_in_double_precision(tmp_path):
    model = trees.load(tmp_path, trees.text(["free", *["hinge"] * 33], seed=5, ground=True))
    assert "static const int row" in codegen.source("acceleration", model)
    state = trees.state(model, N, seed=2, scale=0.2)
    expected = double.acceleration(model, *state)
    found = Simulator(model, N, threads=1).acceleration(*(t.float() for t in state)).double()
    assert ((found - expected).norm(dim=1) / expected.norm(dim=1)).max() < 1e-4


@pytest.mark.parametrize(("cut", "level"), [(False, None), (True, 1)])
def test_clang_tries_less_on_pieces(cut, level):
    kernel = kernels.build("acceleration", f"out.data[0] = {int(cut)}.25f;")
    kernels.load(kernel, torch.device("cpu"), cut=cut)
    assert kernel.module.options["optimization_level"] == level


def test_pieces_compile_for_cuda(cut, tmp_path):
    model = trees.load(tmp_path, trees.text(["free", "hinge"], seed=4, ground=True))
    kernel = kernels.build("step_adjoint", codegen.source("step_adjoint", model))
    (file,) = wp.compile_aot_module(kernel.module, arch=90, module_dir=tmp_path, use_ptx=True)
    assert file.stat().st_size > 0


def test_the_references_kernels_are_left_as_they_are(cut, tmp_path):
    model = trees.load(tmp_path, trees.text(["free", "hinge"], seed=4, ground=True))
    model.free_velocity = "world"
    source = codegen.source("step_adjoint", model)
    assert "piece_" not in source
    assert "static const int row" not in source


def random_outputs(trace, size, seed):
    """Sums of products of what was computed before; half of the outputs overwrite what they are computed from."""
    rng, values = np.random.default_rng(seed), list(trace.inputs("q", 3)) + list(trace.inputs("u", 3))
    for _ in range(size):
        a, b, c = rng.integers(len(values), size=3)
        values.append(0.5 * values[a] + 0.25 * values[b] * values[c])
    names = [f"q[{i}]" for i in range(3)] + [f"u[{i}]" for i in range(3)]
    return dict(zip(names, [*values[-3:], values[1], values[0], 2.0], strict=True))


def run(block):
    """Return q and u after a block that starts from 1 ... 6."""
    text = "typedef float lane;\nlane q[3], u[3];\nfor (int i = 0; i < 3; ++i) { q[i] = i + 1; u[i] = i + 4; }\n"
    text += block + "for (int i = 0; i < 3; ++i) { out.data[i] = q[i]; out.data[3 + i] = u[i]; }"
    wp.init()
    signature, nothing, out = SIGNATURES["acceleration"], wp.from_torch(torch.zeros(1)), torch.zeros(6)
    arrays, scalars = [nothing] * (len(signature.arrays) - 1), [1] * len(signature.scalars)
    wp.launch(kernels.build("acceleration", text), dim=1, inputs=[*arrays, wp.from_torch(out), 1, 0, *scalars], device="cpu")
    return out


@pytest.mark.parametrize("seed", range(3))
def test_pieces_read_before_they_write_and_hand_on_what_is_needed(seed, monkeypatch):
    outputs = random_outputs(Trace(), 300, seed)
    whole = run(pieces.emit(outputs, cut=True))
    assert whole[3:].tolist() == [2.0, 1.0, 2.0]  # the old q[1] and q[0]
    monkeypatch.setattr(pieces, "WHOLE", 0)
    monkeypatch.setattr(pieces, "PIECE", 16)
    text = pieces.emit(outputs, cut=True)
    assert text.count("auto piece_") > 20
    torch.testing.assert_close(run(text), whole, rtol=1e-5, atol=1e-5)
