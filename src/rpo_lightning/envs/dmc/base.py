"""What the tasks of the DeepMind Control suite share: the order of things in one step, starts, resets, options and state.

A task is a subclass of `ControlTask` that says which model it is, which sensors it reads, how a start is drawn, what is
observed and what is rewarded. Tasks follow dm_control's suite and MuJoCo Playground's time steps and solver settings
(both Apache-2.0).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, ClassVar

import mujoco
import torch
from torch import Tensor

from rpo_lightning.envs.base import STATE_LIMIT, Step, checked_options
from rpo_lightning.envs.checks import check_tensor, checked_mask, checked_progress
from rpo_lightning.envs.dmc.models import Options, Sensor, load_model
from rpo_lightning.envs.dmc.physics import CpuEngine, State, Worlds, make_physics
from rpo_lightning.envs.dmc.starts import StartBank
from rpo_lightning.sim import resolve_device

__all__ = ["ControlTask", "Start"]

Start = tuple[Tensor, Tensor, Tensor]
"""(qpos, qvel, target): (N, nq), (N, nv) and (N, target_dim), float64 on the CPU."""
_TRIES = 1000  # to find a pose in which nothing touches


class ControlTask(ABC):
    """N worlds of a suite's model with a task. There are no gradients, and only time ends an episode.

    The options are those of `rpo_lightning.make`. `reward_from` and `observe_action` change nothing here, since the suite
    rewards the state reached and observes no actions. A world that explodes is `invalid`: it terminates with reward 0.

    Attributes, besides the arguments: `q` (N, nq), `qd` (N, nv), `target` (N, target_dim), `progress` (N,) int64, `invalid`
    (N,) bool, `max_episode_steps`, `model` (MuJoCo's), `engine`, `physics`. What methods return is the environment's own
    memory: do not change it.

    Args:
        num_envs: number of environments N.
        device: "cpu" or "cuda[:k]".
        seed: of the environment's own random generator (starts).
        options: see `rpo_lightning.make`.

    Raises:
        ImportError: without dm_control. TypeError: for an unknown option. ValueError: for a bad value.
    """

    # what a task sets
    name: ClassVar[str]
    obs_dim: ClassVar[int]
    action_dim: ClassVar[int]
    target_dim: ClassVar[int] = 0
    file: ClassVar[str]
    physics_options: ClassVar[Options]
    sensors: ClassVar[dict[str, Sensor]] = {}  # all that the task reads; those of the XML are dropped
    dt: ClassVar[float]  # seconds per step
    settling: ClassVar[int] = 0  # physics steps without control before an episode begins
    episode_length: ClassVar[int] = 1000
    differentiable: ClassVar[bool] = False

    def __init__(self, num_envs: int, device: str | torch.device = "cpu", seed: int = 0, **options: Any) -> None:
        self.options = checked_options(self.name, options)
        if num_envs < 1:
            raise ValueError(f"{self.name}: num_envs must be at least 1, got {num_envs}")
        self.num_envs, self.device = num_envs, resolve_device(device)
        self.max_episode_steps: int = self.options["episode_length"] or self.episode_length
        self.model = load_model(self.file, self.physics_options, self.sensors, self.edit)
        if self.model.nu != self.action_dim or (self.model.actuator_ctrlrange != [-1.0, 1.0]).any():
            raise ValueError(f"{self.name}: the model must have {self.action_dim} controls, all within [-1, 1]")
        self.engine = CpuEngine(self.model, self.options["threads"])
        substeps = round(self.dt / self.physics_options.timestep)
        self.physics = make_physics(self.engine, num_envs, substeps, self.device)
        first, size = self.model.sensor_adr.tolist(), self.model.sensor_dim.tolist()
        self._addresses = {name: slice(first[i], first[i] + size[i]) for i, name in enumerate(self.sensors)}
        self.generator = torch.Generator().manual_seed(seed)  # starts are drawn on the CPU for all devices
        self.invalid = torch.zeros(num_envs, dtype=torch.bool, device=self.device)
        self.prepare()
        self._fixed = self._settled(self.fixed_start())
        self._bank = StartBank(lambda: self._settled(self.random_start()))
        self.target = torch.zeros(num_envs, self.target_dim, device=self.device)
        self.progress = torch.zeros(num_envs, dtype=torch.int64, device=self.device)
        self._obs = torch.zeros(num_envs, self.obs_dim, device=self.device)
        self.reset()
        self._check_task()

    # ---- what a task defines -------------------------------------------------------------------------------------

    @abstractmethod
    def observe(self, state: State) -> Tensor:
        """Return the observation (N, obs_dim) of a state."""

    @abstractmethod
    def reward(self, state: State, action: Tensor) -> Tensor:
        """Return the reward (N,) for reaching a state under the clipped action (N, action_dim)."""

    @abstractmethod
    def random_start(self) -> Start:
        """Draw a start for every environment from `self.generator`; it is settled afterwards."""

    def fixed_start(self) -> Start:
        """Return the start of every environment without random starts: the model's own pose at rest; also settled."""
        qpos = torch.from_numpy(self.model.qpos0.copy()).repeat(self.num_envs, 1)
        rows = (self.num_envs,)
        return qpos, qpos.new_zeros(*rows, self.model.nv), qpos.new_zeros(*rows, self.target_dim)

    def prepare(self) -> None:  # noqa: B027 (most tasks have nothing to prepare)
        """Compute once, from `self.model`, what the other methods need."""

    @classmethod  # noqa: B027 (most tasks take the model as it is)
    def edit(cls, spec: mujoco.MjSpec) -> None:
        """Change the model, beyond its options and sensors, before it is compiled."""

    def uniform(self, low: float | Tensor, high: float | Tensor, width: int) -> Tensor:
        """Draw (N, width) numbers within [low, high), which may differ by column."""
        draws = torch.rand(self.num_envs, width, generator=self.generator, dtype=torch.float64)
        return low + (high - low) * draws

    def normal(self, width: int) -> Tensor:
        """Draw (N, width) numbers with mean 0 and deviation 1."""
        return torch.randn(self.num_envs, width, generator=self.generator, dtype=torch.float64)

    def untouching(self, draw: Callable[[], Tensor]) -> Tensor:
        """Return poses (N, nq) of `draw`, drawn anew where anything touches.

        Raises:
            RuntimeError: if that does not end.
        """
        qpos, touching = draw(), torch.ones(self.num_envs, dtype=torch.bool)
        for _ in range(_TRIES):
            touching[touching.clone()] = torch.from_numpy(self.engine.penetrates(qpos[touching].numpy()))
            if not touching.any():
                return qpos
            qpos = torch.where(touching[:, None], draw(), qpos)
        raise RuntimeError(f"{self.name}: found no pose without contact in {_TRIES} draws")

    # ---- the environment's surface -------------------------------------------------------------------------------

    @torch.no_grad()
    def reset(self, mask: Tensor | None = None) -> Tensor:
        """Start the environments in `mask` (N,) bool anew, all if None; return the observation."""
        self._restart(checked_mask(mask, self.num_envs, self.device))
        return self._obs

    @torch.no_grad()
    def step(self, action: Tensor) -> Step:
        """Apply `action` (N, action_dim), clipped to [-1, 1], for one step of `dt`."""
        self._check("action", action, self.action_dim)
        sane = action.abs() <= STATE_LIMIT
        clipped = torch.where(sane, action, 0.0).clamp(-1.0, 1.0)
        self.physics.step(clipped)
        state = self._state()
        obs, reward = self.observe(state), self.reward(state, clipped)
        everything = torch.cat([state.qpos, state.qvel, state.sensordata, obs], dim=1)
        self.invalid = ~((everything.abs() <= STATE_LIMIT).all(dim=1) & sane.all(dim=1))
        self.q, self.qd = state.qpos, state.qvel
        if self.invalid.any():
            obs, reward = obs.masked_fill(self.invalid[:, None], 0.0), reward.masked_fill(self.invalid, 0.0)
            self._place(self.invalid, self._fixed.rows(self.invalid.cpu()))
        self.progress = self.progress + 1
        terminated, truncated = self.invalid, self.progress >= self.max_episode_steps
        self._obs = obs
        if self.options["auto_reset"]:
            done = terminated | truncated
            if done.any():
                self._restart(done)
        return Step(self._obs, reward, terminated, truncated, obs)

    def detach(self) -> Tensor:
        """Return the present observation; there is no graph to cut."""
        return self._obs

    @torch.no_grad()
    def set_state(self, q: Tensor, qd: Tensor, progress: Tensor | None = None, target: Tensor | None = None) -> Tensor:
        """Continue from (q, qd); return the observation.

        Args:
            q: (N, nq) positions.
            qd: (N, nv) velocities.
            progress: (N,) steps of the present episodes; None: 0.
            target: (N, target_dim); None: the present ones.
        """
        target = self.target if target is None else target
        for name, tensor, width in (
            ("q", q, self.model.nq),
            ("qd", qd, self.model.nv),
            ("target", target, self.target_dim),
        ):
            self._check(name, tensor, width)
        self.progress = checked_progress(self.name, progress, self.num_envs, self.device)
        everyone = torch.ones(self.num_envs, dtype=torch.bool, device=self.device)
        qpos, qvel, aim = (part.detach().cpu().double() for part in (q, qd, target))
        self._place(everyone, self._sensed(qpos, qvel, torch.zeros_like(qvel), aim))
        self._obs = self.observe(self._state())
        return self._obs

    def get_state(self) -> tuple[Tensor, Tensor, Tensor]:
        """Return (q, qd, progress)."""
        return self.q, self.qd, self.progress

    def state_dict(self) -> dict[str, Tensor]:
        """Return everything the future depends on: physics, targets, the starts not yet used and the random generator."""
        return {
            **{f"physics.{key}": value for key, value in self.physics.state_dict().items()},
            **{f"starts.{key}": value for key, value in self._bank.state_dict().items()},
            "target": self.target.clone(),
            "progress": self.progress.clone(),
            "obs": self._obs.clone(),
            "generator": self.generator.get_state(),
        }

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Continue exactly where `state_dict` was taken.

        Raises:
            ValueError: if the state is of another task or number of environments.
        """
        for key, own in self.state_dict().items():
            if key not in state:
                raise ValueError(f"{self.name}: the state lacks {key}")
            if state[key].shape != own.shape:
                raise ValueError(f"{self.name}: {key} must have shape {tuple(own.shape)}, got {tuple(state[key].shape)}")
        physics, starts = (
            {key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)}
            for prefix in ("physics.", "starts.")
        )
        self.physics.load_state_dict(physics)
        self._bank.load_state_dict(starts)
        self.target, self.progress, self._obs = (
            state[key].to(self.device, copy=True) for key in ("target", "progress", "obs")
        )
        self.generator.set_state(state["generator"].cpu())
        now = self._state()
        self.q, self.qd = now.qpos, now.qvel

    # ---- inside --------------------------------------------------------------------------------------------------

    def _state(self) -> State:
        qpos, qvel, sensordata = self.physics.view()
        return State(qpos, qvel, self.target, sensordata, self._addresses)

    def _restart(self, mask: Tensor) -> None:
        """Begin new episodes in the environments of `mask`."""
        starts = self._bank.take(int(mask.sum())) if self.options["stochastic_init"] else self._fixed.rows(mask.cpu())
        self._place(mask, starts)
        self._obs = torch.where(mask[:, None], self.observe(self._state()), self._obs)
        self.progress = self.progress.masked_fill(mask, 0)

    def _place(self, mask: Tensor, worlds: Worlds) -> None:
        """Put the environments of `mask`, in order, into the states `worlds`."""
        rows = mask.nonzero()[:, 0]
        self.physics.put(rows, worlds)
        self.target = self.target.index_copy(0, rows, worlds.target.to(self.target))
        self.q, self.qd, _ = self.physics.view()

    def _settled(self, start: Start) -> Worlds:
        """Let starts come to rest and read their sensors."""
        qpos, qvel, target = start
        ctrl = qpos.new_zeros(len(qpos), self.action_dim)
        moved = self.engine.advance(
            qpos.numpy(), qvel.numpy(), qvel.new_zeros(qvel.shape).numpy(), ctrl.numpy(), self.settling
        )
        settled_qpos, settled_qvel, warmstart = (torch.from_numpy(part.copy()) for part in moved)
        return self._sensed(settled_qpos, settled_qvel, warmstart, target)

    def _sensed(self, qpos: Tensor, qvel: Tensor, warmstart: Tensor, target: Tensor) -> Worlds:
        ctrl = qpos.new_zeros(len(qpos), self.action_dim)
        sensordata = self.engine.sense(qpos.numpy(), qvel.numpy(), warmstart.numpy(), ctrl.numpy())
        return Worlds(qpos, qvel, warmstart, torch.from_numpy(sensordata), target)

    def _check(self, name: str, tensor: Tensor, width: int) -> None:
        check_tensor(self.name, name, tensor, (self.num_envs, width), self.device)

    def _check_task(self) -> None:
        """Catch a task whose methods do not fit its own attributes, before it trains on nonsense."""
        state = self._state()
        action = torch.zeros(self.num_envs, self.action_dim, device=self.device)
        for what, tensor, shape in (
            ("observe", self.observe(state), (self.num_envs, self.obs_dim)),
            ("reward", self.reward(state, action), (self.num_envs,)),
        ):
            if tuple(tensor.shape) != shape or tensor.dtype != torch.float32:
                raise ValueError(
                    f"{self.name}: {what} must return float32 of shape {shape}, got {tensor.dtype} {tuple(tensor.shape)}"
                )
