"""What every task shares: the order of things in one step, resets, options and state.

A task is a subclass of `ArticulatedEnv` that says which robot it is, how a start is drawn, what is observed, what is
rewarded and what counts as failure; everything is torch and batched, and gradients flow from actions to rewards and
observations.
"""

from __future__ import annotations

import difflib
import inspect
from abc import ABC, abstractmethod
from contextlib import suppress
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import torch

from rpo_lightning.envs.checks import check_tensor, checked_mask, checked_progress
from rpo_lightning.sim import Model, Simulator, load_mjcf, resolve_device

__all__ = ["OPTIONS", "STATE_LIMIT", "ArticulatedEnv", "Step", "checked_options"]

OPTIONS: dict[str, Any] = {
    "stochastic_init": True,
    "episode_length": None,
    "early_termination": True,
    "auto_reset": True,
    "reward_from": "previous",
    "observe_action": False,
    "threads": None,
}
STATE_LIMIT = 1e6  # a state, observation or action beyond this counts as exploded


class Step(NamedTuple):
    """What one step returns; N environments.

    Attributes:
        obs: (N, obs_dim) after resets. reward: (N,). terminated, truncated: (N,) bool; both can be true.
        final_obs: (N, obs_dim) of the state reached, before any reset.
    """

    obs: torch.Tensor
    reward: torch.Tensor
    terminated: torch.Tensor
    truncated: torch.Tensor
    final_obs: torch.Tensor


class ArticulatedEnv(ABC):
    """N copies of a robot with a task, one fused simulator call per step.

    Attributes, besides the arguments: `q` (N, nq), `qd` (N, nd), `progress` (N,) int64, `invalid` (N,) bool (exploded in the
    last step), `max_episode_steps`, `model`. What methods return is the environment's own memory: do not change it in place.

    Args:
        num_envs: number of environments N.
        device: "cpu" or "cuda[:k]".
        seed: of the environment's own random generator (starts).
        options: see `OPTIONS`; `rpo_lightning.make` documents them.

    Raises:
        TypeError: for an unknown option. ValueError: for a bad value.
    """

    # what a task sets
    name: ClassVar[str]
    obs_dim: ClassVar[int]
    action_dim: ClassVar[int]
    robot: ClassVar[str | Path]
    contact: ClassVar[tuple[float, float, float, float] | None] = None  # of `load_mjcf`, as are the next two
    limit: ClassVar[tuple[float, float] | None] = None
    drop: ClassVar[tuple[str, ...]] = ()
    episode_length: ClassVar[int] = 1000
    dt: ClassVar[float] = 1.0 / 60.0
    substeps: ClassVar[int] = 16
    mass_matrix_interval: ClassVar[int] = 16
    differentiable: ClassVar[bool] = True

    def __init__(self, num_envs: int, device: str | torch.device = "cpu", seed: int = 0, **options: Any) -> None:
        self.options = checked_options(self.name, options)
        self.num_envs, self.device = num_envs, resolve_device(device)
        self.max_episode_steps: int = self.options["episode_length"] or self.episode_length
        self.model = self.load_robot()
        if len(self.model.actuators) != self.action_dim:
            count = len(self.model.actuators)
            raise ValueError(
                f"{self.name}: action_dim is {self.action_dim}, but the robot {self.robot} has {count} actuators"
            )
        self.simulator = Simulator(
            self.model, num_envs, self.dt, self.substeps, self.mass_matrix_interval, self.device, self.options["threads"]
        )
        self.generator = torch.Generator(self.device).manual_seed(seed)
        dofs, gears = zip(*self.model.actuators, strict=True)
        self._actuated = torch.tensor(dofs, device=self.device)
        self._gears = torch.tensor(gears, device=self.device)
        self.start_q = torch.tensor(self.model.start, dtype=torch.float32, device=self.device).expand(num_envs, -1)
        self.invalid = torch.zeros(num_envs, dtype=torch.bool, device=self.device)
        self.prepare()
        self._check_task()
        self.reset()

    # ---- what a task defines -------------------------------------------------------------------------------------

    @abstractmethod
    def observe(self, q: torch.Tensor, qd: torch.Tensor, action: torch.Tensor) -> torch.Tensor:
        """Return the observation (N, obs_dim) of a state; `action` (N, action_dim) fills its action slots, if it has any."""

    @abstractmethod
    def reward(self, obs: torch.Tensor, action: torch.Tensor) -> torch.Tensor:
        """Return the reward (N,) from an observation and the clipped action."""

    def prepare(self) -> None:  # noqa: B027 (most tasks have nothing to prepare)
        """Compute once, from `self.model`, what `observe` and `reward` need."""

    def failed(self, obs: torch.Tensor) -> torch.Tensor:
        """Return (N,) bool: which environments fail in the state just reached."""
        return torch.zeros(self.num_envs, dtype=torch.bool, device=self.device)

    def random_start(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Draw a start (q, qd) for every environment from `self.generator`."""
        return self.start_q, self.start_q.new_zeros(self.num_envs, self.model.nd)

    def uniform_start(self, spread: float, rate_spread: float) -> tuple[torch.Tensor, torch.Tensor]:
        """Draw (q, qd) uniformly, coordinates within `spread` of the start pose and rates within `rate_spread` of zero.

        For robots without quaternions.
        """
        draws = torch.rand(self.num_envs, self.model.nq + self.model.nd, generator=self.generator, device=self.device)
        q, qd = (draws * 2.0 - 1.0).split([self.model.nq, self.model.nd], dim=1)
        return self.start_q + spread * q, rate_spread * qd

    @classmethod
    def load_robot(cls) -> Model:
        """Read the robot: a file beside the task's own, one of this package by name, any other by path.

        Raises:
            FileNotFoundError: if there is no such file, with the places looked at.
        """
        with as_file(files("rpo_lightning") / "robots" / str(cls.robot)) as packaged:
            places = [packaged, Path.cwd() / cls.robot]
            owner = next(c for c in cls.__mro__ if "robot" in vars(c))
            with suppress(TypeError, OSError):  # a class typed into an interpreter has no file
                places.insert(0, Path(inspect.getfile(owner)).resolve().parent / cls.robot)
            found = next((place for place in places if place.is_file()), None)
            if found is None:
                tried = ", ".join(map(str, dict.fromkeys(places)))
                raise FileNotFoundError(f"{cls.name}: the robot {cls.robot} does not exist, looked for {tried}")
            return load_mjcf(found, cls.contact, cls.limit, cls.drop)

    # ---- the environment's surface -------------------------------------------------------------------------------

    def reset(self, mask: torch.Tensor | None = None) -> torch.Tensor:
        """Start the environments in `mask` (N,) bool anew, all if None; return the observation."""
        chosen = checked_mask(mask, self.num_envs, self.device)
        if mask is None:
            self.q, self.qd = self.start_q, self.start_q.new_zeros(self.num_envs, self.model.nd)
            self.progress = torch.zeros(self.num_envs, dtype=torch.int64, device=self.device)
            self._slots = self.start_q.new_zeros(self.num_envs, self.action_dim)
            self._obs = self.start_q.new_zeros(self.num_envs, self.obs_dim)
        self._restart(chosen)
        return self._obs

    def step(self, action: torch.Tensor) -> Step:
        """Apply `action` (N, action_dim), clipped to [-1, 1], for one step of `dt`."""
        self._check("action", action, self.action_dim)
        before = self._obs
        clipped = action.clamp(-1.0, 1.0)
        force = torch.zeros_like(self.qd).index_copy(1, self._actuated, clipped * self._gears)
        q, qd = self.simulator.step(self.q, self.qd, force)
        slots = clipped if self.options["observe_action"] else torch.zeros_like(clipped)
        obs = self.observe(q, qd, slots)
        reward = self.reward(before if self.options["reward_from"] == "previous" else obs, clipped)
        with torch.no_grad():
            everything = torch.cat([q, qd, obs, action], dim=1)
            self.invalid = ~(everything.abs() <= STATE_LIMIT).all(dim=1)
        if self.device.type != "cpu" or self.invalid.any():
            q, qd, obs, reward = self._contain(q, qd, obs, reward)
        terminated = (self.failed(obs) | self.invalid) if self.options["early_termination"] else self.invalid
        self.progress = self.progress + 1
        truncated = self.progress >= self.max_episode_steps
        self.q, self.qd, self._slots, self._obs = q, qd, slots, obs
        if self.options["auto_reset"]:
            done = terminated | truncated
            if self.device.type != "cpu" or done.any():
                self._restart(done)
        return Step(self._obs, reward, terminated, truncated, obs)

    def detach(self) -> torch.Tensor:
        """Cut the graph at the present state; return its observation."""
        self.q, self.qd, self._slots, self._obs = (t.detach() for t in (self.q, self.qd, self._slots, self._obs))
        return self._obs

    def set_state(self, q: torch.Tensor, qd: torch.Tensor, progress: torch.Tensor | None = None) -> torch.Tensor:
        """Continue from (q, qd), keeping their graph; return the observation. Action slots are zeroed.

        Args:
            q: (N, nq) coordinates.
            qd: (N, nd) rates.
            progress: (N,) steps of the present episodes; None: 0.
        """
        self._check("q", q, self.model.nq)
        self._check("qd", qd, self.model.nd)
        self.progress = checked_progress(self.name, progress, self.num_envs, self.device)
        self.q, self.qd = q, qd
        self._slots = q.new_zeros(self.num_envs, self.action_dim)
        self._obs = self.observe(q, qd, self._slots)
        return self._obs

    def get_state(self) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Return (q, qd, progress)."""
        return self.q, self.qd, self.progress

    def state_dict(self) -> dict[str, torch.Tensor]:
        """Return everything the future depends on, the random generator included."""
        return {
            "q": self.q.detach().clone(),
            "qd": self.qd.detach().clone(),
            "progress": self.progress.clone(),
            "action": self._slots.detach().clone(),
            "obs": self._obs.detach().clone(),
            "generator": self.generator.get_state(),
        }

    def load_state_dict(self, state: dict[str, torch.Tensor]) -> None:
        """Continue exactly where `state_dict` was taken.

        Raises:
            ValueError: if the state is of another task or number of environments.
        """
        missing = self.state_dict().keys() - state.keys()
        if missing:
            raise ValueError(f"{self.name}: the state lacks {', '.join(sorted(missing))}")
        sizes = {"q": self.model.nq, "qd": self.model.nd, "action": self.action_dim, "obs": self.obs_dim}
        tensors = {key: state[key].to(self.device) for key in sizes}
        for key, width in sizes.items():
            self._check(key, tensors[key], width)
        self.q, self.qd, self._slots, self._obs = tensors.values()
        self.progress = state["progress"].to(self.device)
        self.generator.set_state(state["generator"].cpu())

    # ---- inside --------------------------------------------------------------------------------------------------

    def _restart(self, mask: torch.Tensor) -> None:
        """Overwrite the state of the environments in `mask`, which also cuts their graph."""
        if self.options["stochastic_init"]:
            q, qd = self.random_start()
        else:
            q, qd = self.start_q, self.start_q.new_zeros(self.num_envs, self.model.nd)
        rows = mask[:, None]
        none = torch.zeros_like(self._slots)
        self.q, self.qd = torch.where(rows, q, self.q), torch.where(rows, qd, self.qd)
        self._slots = torch.where(rows, none, self._slots)
        self._obs = torch.where(rows, self.observe(q, qd, none), self._obs)
        self.progress = self.progress.masked_fill(mask, 0)

    def _contain(
        self, q: torch.Tensor, qd: torch.Tensor, obs: torch.Tensor, reward: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
        """Give exploded environments a harmless state, reward 0 and gradient 0, without touching the others."""
        invalid, rows = self.invalid, self.invalid[:, None]
        if q.grad_fn is not None:
            # the simulator's adjoint meets infinities of its own in those environments, even for a zero cotangent
            q.grad_fn.register_hook(lambda grads, _: tuple(g if g is None else g.masked_fill(rows, 0.0) for g in grads))
        q = torch.where(rows, self.start_q, q)
        qd, obs = qd.masked_fill(rows, 0.0), obs.masked_fill(rows, 0.0)
        return q, qd, obs, reward.masked_fill(invalid, 0.0)

    def _check(self, name: str, tensor: torch.Tensor, width: int) -> None:
        check_tensor(self.name, name, tensor, (self.num_envs, width), self.device)

    def _check_task(self) -> None:
        """Catch a task whose methods do not fit its own attributes, before it trains on nonsense."""
        action = self.start_q.new_zeros(self.num_envs, self.action_dim)
        obs = self.observe(self.start_q, self.start_q.new_zeros(self.num_envs, self.model.nd), action)
        for what, tensor, shape in (
            ("observe", obs, (self.num_envs, self.obs_dim)),
            ("reward", self.reward(obs, action), (self.num_envs,)),
            ("failed", self.failed(obs), (self.num_envs,)),
        ):
            if tuple(tensor.shape) != shape:
                raise ValueError(f"{self.name}: {what} must return shape {shape}, got {tuple(tensor.shape)}")


def checked_options(task: str, options: dict[str, Any]) -> dict[str, Any]:
    """Return all of `OPTIONS` with those given put in.

    Raises:
        TypeError: for an unknown option. ValueError: for a bad value.
    """
    for name in options:
        if name not in OPTIONS:
            near = difflib.get_close_matches(name, OPTIONS, n=1, cutoff=0.0)[0]
            raise TypeError(f"{task}: unknown option {name!r}, did you mean {near!r}? Options: {', '.join(OPTIONS)}")
    merged = {**OPTIONS, **options}
    if merged["reward_from"] not in ("previous", "next"):
        raise ValueError(f"{task}: reward_from must be 'previous' or 'next', got {merged['reward_from']!r}")
    if merged["episode_length"] is not None and merged["episode_length"] < 1:
        raise ValueError(f"{task}: episode_length must be at least 1, got {merged['episode_length']}")
    return merged
