"""Tasks on MuJoCo's own physics: those of the DeepMind Control suite, and your own from an XML file.

A task is a subclass of `ControlTask` that says which model it is, which sensors it reads, how a start is drawn, what is
observed and what is rewarded. The suite's tasks follow dm_control and MuJoCo Playground's time steps and solver settings
(both Apache-2.0).
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import fields
from typing import Any, ClassVar

import mujoco
import torch
from torch import Tensor

from rpo_lightning.envs.arguments import check_tensor, checked_progress
from rpo_lightning.envs.base import BaseEnv, Reached, Reward, below
from rpo_lightning.envs.dmc.models import Options, Sensor, load_model, suite_file
from rpo_lightning.envs.dmc.physics import CpuEngine, make_physics
from rpo_lightning.envs.dmc.worlds import State, Worlds
from rpo_lightning.envs.model_files import beside
from rpo_lightning.envs.protocol import STATE_LIMIT
from rpo_lightning.envs.starts import StartBank, Starts
from rpo_lightning.envs.tables import ActionRow, action_rows
from rpo_lightning.transfers import sent

__all__ = ["ControlTask", "Start"]

Start = tuple[Tensor, Tensor, Tensor]
"""(qpos, qvel, target): (N, nq), (N, nv) and (N, target_dim), float64 on the CPU."""
_TRIES = 1000  # to find a pose in which nothing touches


class ControlTask(BaseEnv):
    """N worlds of a MuJoCo model with a task, without gradients. Rewards are of the state reached.

    Attributes, besides those of `BaseEnv`: `q` (N, nq), `qd` (N, nv), `target` (N, target_dim), `model` (MuJoCo's),
    `engine`, `physics`.

    Args:
        num_envs: number of environments.
        device: "cpu" or "cuda[:k]".
        seed: of random starts.
        options: those of `BaseEnv`, stochastic_init (True), early_termination (True), threads (None: as many as torch
            uses). A task without `random_start` or `failed` (which none of the suite has) has not the option that would
            switch it off.

    Raises:
        ImportError: without dm_control, for a model of the suite.
    """

    # what a task sets
    target_dim: ClassVar[int] = 0
    file: ClassVar[str]  # "cheetah" of the suite, or a path that ends in .xml, as from the class's own file
    physics_options: ClassVar[Options | None] = None  # None: as the file says
    sensors: ClassVar[dict[str, Sensor]] = {}  # all that the task reads; those of the XML are dropped
    dt: ClassVar[float]  # seconds per step
    settling: ClassVar[int] = 0  # physics steps without control before an episode begins
    differentiable: ClassVar[bool] = False

    def __init__(self, num_envs: int, device: str | torch.device = "cpu", seed: int = 0, **options: Any) -> None:
        super().__init__(num_envs, device, seed, **options)
        path = beside(type(self), "file") if self.file.endswith(".xml") else suite_file(self.file)
        self.model = load_model(path, self.physics_options, self.sensors, self.edit)
        if self.model.nu != self.action_dim or (self.model.actuator_ctrlrange != [-1.0, 1.0]).any():
            raise ValueError(f"{self.name}: the model must have {self.action_dim} controls, all within [-1, 1]")
        substeps = round(self.dt / self.model.opt.timestep)
        if abs(substeps * self.model.opt.timestep - self.dt) > 1e-9:
            raise ValueError(f"{self.name}: dt {self.dt} is no multiple of the model's timestep {self.model.opt.timestep}")
        self.engine = CpuEngine(self.model, self.options["threads"])
        self.physics = make_physics(self.engine, num_envs, substeps, self.device)
        first, size = self.model.sensor_adr.tolist(), self.model.sensor_dim.tolist()
        self._addresses = {name: slice(first[i], first[i] + size[i]) for i, name in enumerate(self.sensors)}
        self.target = torch.zeros(num_envs, self.target_dim, device=self.device)
        self._bank = StartBank(draws=2)  # settling them takes its time
        self.prepare()
        self._fixed = self._sent(self._settled(self.fixed_start()))
        self.reset()
        self._check_task()

    @classmethod
    def option_defaults(cls) -> dict[str, Any]:
        """Return the options of this task and their values if not given."""
        return {
            **({"stochastic_init": True} if cls.random_start is not ControlTask.random_start else {}),
            **super().option_defaults(),
            **({"early_termination": True} if cls.failed is not ControlTask.failed else {}),
            "threads": None,
        }

    # ---- what a task defines -------------------------------------------------------------------------------------

    @abstractmethod
    def observe(self, state: State) -> Tensor:
        """Return the observation (N, D) of a state."""

    @abstractmethod
    def reward(self, state: State, action: Tensor) -> Reward:
        """Return the reward (N,) for reaching a state under the clipped action (N, action_dim), or its named terms.

        Those are added; where the reward is no sum, (reward, terms) hands them over to be looked at.
        """

    def observe_privileged(self, state: State) -> Tensor:
        """Return what only the critic sees of a state, (N, privileged_dim)."""
        return state.qpos.new_zeros(self.num_envs, 0)

    def failed(self, state: State) -> Tensor:
        """Return (N,) bool: which environments fail in the state just reached."""
        return torch.zeros(self.num_envs, dtype=torch.bool, device=self.device)

    def random_start(self) -> Start:
        """Draw a start for every environment from `self.generator`; it is settled afterwards."""
        return self.fixed_start()

    def fixed_start(self) -> Start:
        """Return the start of every environment without random starts: the model's own pose at rest; also settled."""
        qpos = torch.from_numpy(self.model.qpos0.copy()).repeat(self.num_envs, 1)
        rows = (self.num_envs,)
        return qpos, qpos.new_zeros(*rows, self.model.nv), qpos.new_zeros(*rows, self.target_dim)

    def prepare(self) -> None:
        """Compute once, from `self.model`, what the other methods need."""

    @classmethod
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
            check_tensor(self.name, name, tensor, (self.num_envs, width), self.device)
        self._progress = checked_progress(self.name, progress, self.num_envs, self.device)
        qpos, qvel, aim = (part.detach().cpu().double() for part in (q, qd, target))
        self._place(torch.ones_like(self.invalid), self._sent(self._sensed(qpos, qvel, torch.zeros_like(qvel), aim)))
        return self._continue_with(*self._look())

    def action_table(self) -> list[ActionRow]:
        """Return what each entry of an action stands for."""
        return action_rows(self.model)

    def get_state(self) -> tuple[Tensor, Tensor, Tensor]:
        """Return (q, qd, progress)."""
        return self.q, self.qd, self._progress

    def state_dict(self) -> dict[str, Any]:
        """Return everything the future depends on: physics, targets, the starts not yet used and the random generator."""
        physics = {f"physics.{key}": value for key, value in self.physics.state_dict().items()}
        return {**physics, "target": self.target.clone(), **super().state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue exactly where `state_dict` was taken, on this device or another.

        Raises:
            ValueError: if the state is of another task or number of environments.
        """
        super().load_state_dict(state)
        self.physics.load_state_dict(below("physics.", state))
        self.target = state["target"].to(self.device, copy=True)
        self.q, self.qd, _ = self.physics.view()

    def close(self) -> None:
        """End MuJoCo's threads; the environment cannot be stepped any more."""
        self.engine.close()

    # ---- inside --------------------------------------------------------------------------------------------------

    def _state(self) -> State:
        qpos, qvel, sensordata = self.physics.view()
        return State(qpos, qvel, self.target, sensordata, self._addresses)

    @torch.no_grad()
    def _advance(self, action: Tensor) -> Reached:
        clipped = torch.where(action.abs() <= STATE_LIMIT, action, 0.0).clamp(-1.0, 1.0)
        self.physics.step(clipped)
        state = self._state()
        self.q, self.qd = state.qpos, state.qvel
        failed = self.failed(state)
        if not self.options.get("early_termination", True):
            failed = torch.zeros_like(failed)
        moved = (state.qpos, state.qvel, state.sensordata)
        return Reached(moved, self.observe(state), self.observe_privileged(state), self.reward(state, clipped), failed)

    def _contain(self) -> None:
        self._place(self.invalid, self._fixed)

    @torch.no_grad()
    def _begin(self, mask: Tensor) -> tuple[Tensor, Tensor]:
        starts = self._bank.take(mask)
        self._place(mask, starts)
        return starts["obs"], starts["privileged"]

    def _place(self, mask: Tensor, starts: Starts) -> None:
        """Put the environments in `mask` (N,) bool into their rows of `starts`."""
        worlds = Worlds(*(starts[part.name] for part in fields(Worlds)))
        self.physics.put(mask, worlds)
        self.target = torch.where(mask[:, None], worlds.target.float(), self.target)
        self.q, self.qd, _ = self.physics.view()

    def _sent(self, starts: Starts) -> Starts:
        return {name: sent(part, self.device) for name, part in starts.items()}

    def _look(self) -> tuple[Tensor, Tensor]:
        state = self._state()
        return self.observe(state), self.observe_privileged(state)

    def _stores(self) -> dict[str, tuple[StartBank, Callable[[], Starts]]]:
        return {"starts": (self._bank, self._draw)}

    @torch.no_grad()
    def _draw(self) -> Starts:
        """Draw what episodes begin with, and add what is seen of that."""
        drawn = self.options.get("stochastic_init")
        starts = self._sent(self._settled(self.random_start())) if drawn else self._fixed
        qpos, qvel, target, sensordata = (starts[name].float() for name in ("qpos", "qvel", "target", "sensordata"))
        state = State(qpos, qvel, target, sensordata, self._addresses)
        seen = self._shown(self.observe(state), self.observe_privileged(state), torch.ones_like(self.invalid))
        return {**starts, **dict(zip(("obs", "privileged"), seen, strict=True))}

    def _settled(self, start: Start) -> Starts:
        """Let starts come to rest and read their sensors; where all are the same, one does for all."""
        count = len(start[0])
        if all((part == part[:1]).all() for part in start):
            start = start[0][:1], start[1][:1], start[2][:1]
        qpos, qvel, target = start
        ctrl = qpos.new_zeros(len(qpos), self.action_dim)
        moved = self.engine.advance(
            qpos.numpy(), qvel.numpy(), qvel.new_zeros(qvel.shape).numpy(), ctrl.numpy(), self.settling
        )
        settled_qpos, settled_qvel, warmstart = (torch.from_numpy(part.copy()) for part in moved)
        settled = self._sensed(settled_qpos, settled_qvel, warmstart, target)
        return settled if len(qpos) == count else {name: part.repeat(count, 1) for name, part in settled.items()}

    def _sensed(self, qpos: Tensor, qvel: Tensor, warmstart: Tensor, target: Tensor) -> Starts:
        ctrl = qpos.new_zeros(len(qpos), self.action_dim)
        sensordata = self.engine.sense(qpos.numpy(), qvel.numpy(), warmstart.numpy(), ctrl.numpy())
        return Worlds(qpos, qvel, warmstart, torch.from_numpy(sensordata), target).parts()

    def _check_task(self) -> None:
        """Catch a task whose methods do not fit its own attributes, before it trains on nonsense."""
        now = self._state()
        parts = now.qpos, now.qvel, now.target, now.sensordata
        idle = torch.zeros(self.num_envs, self.action_dim, device=self.device)

        def of_state(method: Callable[..., Any]) -> Callable[..., Any]:
            return lambda qpos, qvel, target, sensordata, *action: method(
                State(qpos, qvel, target, sensordata, self._addresses), *action
            )

        self.observation_table(), self.privileged_table()
        obs = self._judged("observe", of_state(self.observe), *parts)
        self._check_returned("observe", obs, self._width)
        privileged = self._judged("observe_privileged", of_state(self.observe_privileged), *parts)
        self._check_returned("observe_privileged", privileged, self.privileged_dim)
        self._check_returned("reward", self._judged("reward", of_state(self.reward), *parts, idle))
        self._check_returned("failed", self._judged("failed", of_state(self.failed), *parts), dtype=torch.bool)
