"""The configuration and the test that are written beside a task."""

from __future__ import annotations

import json
from collections.abc import Sequence

from rpo_lightning.new_task.survey import Survey

__all__ = ["config", "tests"]

_CONFIG = """# RPO on {name}.{cls}. From this folder: rpo-lightning fit --config {name}.yaml
seed_everything: 0
model:
  class_path: RPO
  init_args:
    total_env_steps: {steps}
    entropy_coef: {entropy}
    critic_epochs: 4
data:
  env:
    name: {name}.{cls}
    init_args:{options}
  num_envs: {envs}
  horizon: 32
  iterations_per_epoch: {iterations}
  random_progress: true
trainer:
  check_val_every_n_epoch: 4
  callbacks:
    - class_path: Evaluation
      init_args:
        episodes: 64
"""

_WALKING = """
      history: 3
      command_seconds: 2.5  # who has often had to turn round does not fall of it
      randomize:  # drawn anew in every episode; what your robot may differ by
        "mass:{base}": {{scale: [0.8, 1.3]}}
        "friction": {{scale: [0.6, 1.2]}}"""

_TESTS = '''"""What must stay true of {cls}: pytest test_{name}.py."""

import pytest
import torch
from {name} import {cls}

MOTORS = [
{motors}
]


@pytest.fixture
def env() -> {cls}:
    return {cls}(num_envs=4, seed=0{quiet})


def test_every_observation_has_a_name_and_every_action_a_motor(env):
    assert len({{row.name for row in env.observation_table()}}) == env.obs_dim == {obs_dim}
    assert [row.name for row in env.action_table()] == MOTORS


def test_a_second_with_random_actions_stays_finite(env):
    generator = torch.Generator().manual_seed(0)
    for _ in range(50):
        step = env.step(2.0 * torch.rand(4, env.action_dim, generator=generator) - 1.0)
        assert step.obs.isfinite().all() and step.reward.isfinite().all()
        assert not env.invalid.any()


def test_actions_have_a_gradient(env):
    actions = torch.zeros(8, 4, env.action_dim, requires_grad=True)
    sum(env.step(action).reward.sum() for action in actions).backward()
    assert actions.grad.isfinite().all()
    assert (actions.grad[0].abs().sum(1) > 0.0).all()
{more}'''

_STANDS = """

def test_it_stands_with_actions_of_zero(env):
    for _ in range(50):
        assert not env.step(torch.zeros(4, env.action_dim)).terminated.any()
"""


def config(found: Survey, name: str, cls: str) -> str:
    """Return the configuration of a training."""
    walks = found.kind == "velocity"
    options = _WALKING.format(base=found.model.links[0].name) if walks else " {}"
    return _CONFIG.format(
        name=name,
        cls=cls,
        steps="1_000_000" if walks else "500_000",
        entropy=0.1 if walks else 0.02,
        envs=32 if walks else 64,
        iterations=200 if walks else 50,
        options=options,
    )


def tests(found: Survey, name: str, cls: str, obs_dim: int) -> str:
    """Return the tests of a task."""
    motors = _list([actuator.name for actuator in found.model.actuators])
    quiet = ", noise=0.0, push=0.0" if found.kind == "velocity" else ""
    more = _STANDS if found.kind == "velocity" else ""
    return _TESTS.format(name=name, cls=cls, quiet=quiet, obs_dim=obs_dim, motors=motors, more=more)


def _list(names: Sequence[str]) -> str:
    """Return the lines of a list of names, in Python, as many names in a line as there is room for."""
    lines = ["   "]
    for name in names:
        quoted = f" {json.dumps(name)},"
        if len(lines[-1]) + len(quoted) > 120:
            lines.append("   ")
        lines[-1] += quoted
    return "\n".join(lines)
