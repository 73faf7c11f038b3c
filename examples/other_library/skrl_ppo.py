"""Train our cartpole with the PPO of skrl (https://skrl.readthedocs.io), from the environments' gymnasium interface.

    pip install -e ".[gymnasium]" skrl
    python examples/other_library/skrl_ppo.py --updates 40

Prints the mean return of the episodes that ended in the first and in the last windows; an episode has 240 steps.
"""

from __future__ import annotations

import argparse
from typing import Any

import gymnasium
import torch
from skrl.agents.torch.ppo import PPO, PPO_CFG
from skrl.envs.wrappers.torch import wrap_env
from skrl.memories.torch import RandomMemory
from skrl.models.torch import DeterministicMixin, GaussianMixin, Model
from skrl.resources.preprocessors.torch import RunningStandardScaler
from skrl.trainers.torch import SequentialTrainer
from skrl.utils import set_seed
from torch import nn

import rpo_lightning
from rpo_lightning.envs.to_gymnasium import GymnasiumVectorEnv

HORIZON = 32


class Policy(GaussianMixin, Model):
    """Mean from a network, one standard deviation per action."""

    def __init__(self, **spaces: Any) -> None:
        Model.__init__(self, **spaces)
        GaussianMixin.__init__(self)
        self.net = network(self.num_observations, self.num_actions)
        self.log_std = nn.Parameter(torch.full((self.num_actions,), -0.5))

    def compute(self, inputs: dict[str, torch.Tensor], role: str = "") -> tuple[torch.Tensor, dict[str, Any]]:
        """Return means (N, A) and log standard deviations."""
        return self.net(inputs["observations"]), {"log_std": self.log_std}


class Value(DeterministicMixin, Model):
    """State value."""

    def __init__(self, **spaces: Any) -> None:
        Model.__init__(self, **spaces)
        DeterministicMixin.__init__(self)
        self.net = network(self.num_observations, 1)

    def compute(self, inputs: dict[str, torch.Tensor], role: str = "") -> tuple[torch.Tensor, dict[str, Any]]:
        """Return values (N, 1)."""
        return self.net(inputs["observations"]), {}


def network(inputs: int, outputs: int) -> nn.Module:
    """Return two hidden layers of 64."""
    return nn.Sequential(nn.Linear(inputs, 64), nn.ELU(), nn.Linear(64, 64), nn.ELU(), nn.Linear(64, outputs))


def main() -> None:
    """Train and print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--task", default="cartpole")
    parser.add_argument("--num_envs", type=int, default=64)
    parser.add_argument("--updates", type=int, default=40)
    options = parser.parse_args()

    set_seed(0)
    ours = GymnasiumVectorEnv(rpo_lightning.make(options.task, num_envs=options.num_envs))
    counted = gymnasium.wrappers.vector.RecordEpisodeStatistics(ours, buffer_length=1_000_000)
    env = wrap_env(counted, wrapper="gymnasium", verbose=False)
    spaces = {"observation_space": env.observation_space, "action_space": env.action_space, "device": env.device}
    cfg = PPO_CFG(rollouts=HORIZON, learning_epochs=5, mini_batches=4, learning_rate=1e-3, time_limit_bootstrap=True)
    cfg.observation_preprocessor = RunningStandardScaler
    cfg.observation_preprocessor_kwargs = {"size": env.observation_space, "device": env.device}
    cfg.value_preprocessor = RunningStandardScaler
    cfg.value_preprocessor_kwargs = {"size": 1, "device": env.device}
    cfg.experiment.write_interval = cfg.experiment.checkpoint_interval = 0
    agent = PPO(
        models={"policy": Policy(**spaces), "value": Value(**spaces)},
        memory=RandomMemory(memory_size=HORIZON, num_envs=env.num_envs, device=env.device),
        observation_space=env.observation_space,
        action_space=env.action_space,
        device=env.device,
        cfg=cfg,
    )
    steps = options.updates * HORIZON
    trainer = SequentialTrainer(
        env=env, agents=agent, cfg={"timesteps": steps, "headless": True, "disable_progressbar": True}
    )
    trainer.train()
    returns = list(counted.return_queue)
    first, last = returns[: options.num_envs], returns[-options.num_envs :]
    print(f"{steps * options.num_envs} steps, {len(returns)} episodes", end="")
    if returns:
        print(f", return {sum(first) / len(first):.0f} at first, {sum(last) / len(last):.0f} at last", end="")
    print()


if __name__ == "__main__":
    main()
