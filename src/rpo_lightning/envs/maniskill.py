"""Tasks of ManiSkill by name: `maniskill/PickCube-v1`.

This was written from ManiSkill 3.0.1's source and tested with a stand-in for its vector environment. It has not been run on
the real simulator, which needs a GPU with Vulkan.
"""

from __future__ import annotations

import functools
from typing import Any, ClassVar

import torch
from torch import Tensor

from rpo_lightning.envs.gymnasium_env import GymnasiumTask, with_dimensions

__all__ = ["ManiSkillTask", "named"]


class ManiSkillTask(GymnasiumTask):
    """A task of ManiSkill, simulated on the device of its tensors; on the CPU there can be one environment only.

    Success and failure both end an episode but not its value: they are reported as `truncated`, never `terminated`, as the
    authors of REPPO train on ManiSkill (arXiv 2507.11019). A policy that reached the goal would otherwise do better to wait
    beside it, since rewards are positive. Observations are the simulator's state (`obs_mode` "state").

    Args:
        num_envs: number of environments N.
        device: "cuda[:k]", or "cpu" for one environment.
        seed: of the starts.
        episode_length: time limit [steps]; None: the task's own.
        options: of `ManiSkillVectorEnv` and the task: control_mode, reward_mode, ignore_terminations, ...
    """

    env_id: ClassVar[str]
    reset_mask = True

    @classmethod
    def build(cls, num_envs: int, device: torch.device, episode_length: int | None, options: dict[str, Any]) -> Any:
        """Return ManiSkill's own vector environment."""
        from mani_skill.vector.wrappers.gymnasium import ManiSkillVectorEnv

        index = f":{device.index}" if device.index else ""
        backend = "physx_cpu" if device.type == "cpu" else f"physx_cuda{index}"
        limit = {} if episode_length is None else {"max_episode_steps": episode_length}
        return ManiSkillVectorEnv(
            cls.env_id, num_envs=num_envs, **{"obs_mode": "state", "sim_backend": backend, **limit, **options}
        )

    def ends(self, terminated: Tensor, truncated: Tensor) -> tuple[Tensor, Tensor]:
        """Return that nothing failed for good, and that either flag cuts the episode off."""
        return torch.zeros_like(terminated), terminated | truncated

    def reset_some(self, mask: Tensor) -> Any:
        """Start the environments in `mask` (N,) bool; ManiSkill takes their indices."""
        return self.vector_env.reset(options={"env_idx": mask.nonzero()[:, 0]})[0]


@functools.cache
def named(env_id: str) -> type[GymnasiumTask]:
    """Return the class of `maniskill/<env_id>`; two environments on the GPU, or one without, tell the dimensions.

    Raises:
        ImportError: without ManiSkill. ValueError: if there is no such task or it cannot be used here.
    """
    try:
        import mani_skill.envs  # noqa: F401 (registers the tasks)
    except ImportError as error:
        raise ImportError("ManiSkill is not installed: pip install mani_skill") from error
    task = type(env_id, (ManiSkillTask,), {"name": f"maniskill/{env_id}", "env_id": env_id, "__doc__": f"{env_id}."})
    return with_dimensions(task, 2, "cuda") if torch.cuda.is_available() else with_dimensions(task)
