"""Tasks on this library's own engine, which is differentiable.

A task is a subclass of `ArticulatedEnv`: its robot, how a start is drawn, what is observed, rewarded, a failure; in torch.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor

from rpo_lightning.envs.arguments import check_tensor, checked_progress
from rpo_lightning.envs.base import BaseEnv, Reached, Reward, below
from rpo_lightning.envs.drive import Drive
from rpo_lightning.envs.latency import Latency
from rpo_lightning.envs.model_files import beside
from rpo_lightning.envs.points import Points
from rpo_lightning.envs.randomization import Randomization, checked_names
from rpo_lightning.envs.starts import StartBank, Starts
from rpo_lightning.envs.tables import ActionRow, Quantity, action_rows, parameter_rows
from rpo_lightning.sim import Model, Simulator, load_mjcf, parameter_width
from rpo_lightning.transfers import sent

__all__ = ["ArticulatedEnv"]


class ArticulatedEnv(BaseEnv):
    """N copies of a robot with a task, one fused simulator call per step.

    Attributes, besides those of `BaseEnv`: `q` (N, nq), `qd` (N, nd), `model`, `simulator`, `start_q` (N, nq),
    `target` (N, target_dim): what each is to reach or follow, drawn for an episode and wherever `target_done` says so;
    `targets_drawn` (N,) int64, how many each has had. `parameters` (N, k), and `parameter_units` (k,): how large each is in
    the robot's file, or 1 where that is 0. `gives_terrain`: whether the height fields are `terrain`'s, and not the file's.

    Args:
        num_envs: number of environments.
        device: "cpu" or "cuda[:k]".
        seed: of random starts.
        options: those of `BaseEnv`, stochastic_init (True), early_termination (True), reward_from ("previous" or "next"),
            observe_action (False), randomize (None, or distributions by name of parameter, from which each episode draws,
            see `Randomization`), observe_parameters (False; the critic sees them), action_delay and action_delay_substeps
            (0: steps, and substeps besides, by which actions come late, or [low, high], drawn for every episode), threads
            (None: as many as torch uses). Tasks without `random_start` or `failed` lack the option that switches it off.
    """

    # what a task sets
    target_dim: ClassVar[int] = 0
    robot: ClassVar[str | Path]
    contact: ClassVar[tuple[float, float, float, float] | None] = None  # of `load_mjcf`, as are the next six
    limit: ClassVar[tuple[float, ...] | None] = None
    drop: ClassVar[tuple[str, ...]] = ()
    friction: ClassVar[str | None] = None
    mesh_vertices: ClassVar[int] = 32
    equality: ClassVar[tuple[float, float] | None] = None
    friction_width: ClassVar[float | None] = None
    dt: ClassVar[float] = 1.0 / 60.0
    substeps: ClassVar[int] = 16
    mass_matrix_interval: ClassVar[int | None] = None
    action_scale: ClassVar[float | None] = None
    parameter_names: ClassVar[tuple[str, ...]] = ()  # constants that are tensors, besides those that `randomize` names
    differentiable: ClassVar[bool] = True

    def __init__(self, num_envs: int, device: str | torch.device = "cpu", seed: int = 0, **options: Any) -> None:
        super().__init__(num_envs, device, seed, **options)
        self.model = self.load_robot()
        self.edit(self.model)
        if len(self.model.actuators) != self.action_dim:
            count = len(self.model.actuators)
            raise ValueError(
                f"{self.name}: action_dim is {self.action_dim}, but the robot {self.robot} has {count} actuators"
            )
        fields = self.terrain()
        self.gives_terrain = fields is not None
        self.simulator = Simulator(
            self.model, num_envs, self.dt, self.substeps, self.mass_matrix_interval, self.device, self.options["threads"],
            fields, self.parameters_of(self.options),
        )  # fmt: skip
        self._randomization = Randomization(self.name, self.options["randomize"], self.simulator.parameters)
        self._drawn = self._randomization.columns.to(self.device)
        self._own = self.simulator.default_parameters()
        self._parameters = self._own.repeat(num_envs, 1)
        self.parameter_units = self._units()
        self._drive = Drive(self.model, self.simulator.controls, self.action_scale, self.device)
        self.start_q = torch.tensor(self.model.start, dtype=torch.float32, device=self.device).expand(num_envs, -1)
        self.q, self.qd = self.start_q, self.start_q.new_zeros(num_envs, self.model.nd)
        self._slots = self._no_action = self.start_q.new_zeros(num_envs, self.action_dim)
        delays = self.options["action_delay"], self.options["action_delay_substeps"]
        self._latency = None if delays == (0, 0) else Latency(self.name, *delays, self.substeps, self._slots)
        self.target = self.start_q.new_zeros(num_envs, self.target_dim)
        self.targets_drawn = torch.zeros(num_envs, dtype=torch.int64, device=self.device)
        self._bank, self._targets = StartBank(), StartBank()  # of episodes, and of targets within them
        own = type(self)
        self._aims_anew = bool(self.target_dim) and own.target_done is not ArticulatedEnv.target_done
        # whether what is seen of a start is known when it is drawn
        self._all_drawn = len(self._drawn) == self.simulator.parameters.size
        self._foreseen = self._all_drawn and own.placed is ArticulatedEnv.placed
        self._never = torch.zeros_like(self.invalid)
        self._judged_on: tuple[Tensor, ...] = ()  # what the reward was computed from
        self._calls: list[Tensor] = []  # q after each part of the step
        self.prepare()
        self._check_task()
        self.reset()

    @classmethod
    def option_defaults(cls) -> dict[str, Any]:
        """Return the options of this task and their values if not given."""
        return {
            **({"stochastic_init": True} if cls.random_start is not ArticulatedEnv.random_start else {}),
            **super().option_defaults(),
            **({"early_termination": True} if cls.failed is not ArticulatedEnv.failed else {}),
            "reward_from": "previous",
            "observe_action": False,
            "randomize": None,
            "observe_parameters": False,
            "action_delay": 0,
            "action_delay_substeps": 0,
            "threads": None,
        }

    @classmethod
    def parameters_of(cls, options: Mapping[str, Any]) -> tuple[str, ...]:
        """Return the names of the robot's constants that environments with these options have as `parameters`."""
        drawn = checked_names(cls.name, {**cls.option_defaults(), **options}["randomize"])
        return tuple(dict.fromkeys((*cls.parameter_names, *drawn)))

    @classmethod
    def privileged_width(cls, options: Mapping[str, Any]) -> int:
        """Return how much only the critic sees of environments with these options, known before any is built."""
        shown = cls.parameters_of(options) if {**cls.option_defaults(), **options}["observe_parameters"] else ()
        return cls.privileged_dim + sum(map(parameter_width, shown))

    # ---- what a task defines -------------------------------------------------------------------------------------

    @abstractmethod
    def observe(self, q: Tensor, qd: Tensor, action: Tensor) -> Tensor:
        """Return the observation (N, D) of a state; `action` (N, action_dim) fills its action slots, if it has any.

        What a task with a target observes of `self.target` its reward can use.
        """

    @abstractmethod
    def reward(self, obs: Tensor, action: Tensor) -> Reward:
        """Return the reward (N,) from an observation and the clipped action, or its named terms {name: (N,)} to be added.

        Where it is no sum, (reward, terms) hands the terms over to be looked at.
        `obs` is all that can be seen: the observation with the privileged one, if the task has any, after it.
        """

    def observe_privileged(self, q: Tensor, qd: Tensor, action: Tensor) -> Tensor:
        """Return what only the critic sees of a state, (N, privileged_dim); arguments as of `observe`."""
        return self.start_q.new_zeros(self.num_envs, 0)

    def edit(self, model: Model) -> None:
        """Change the robot as it was read, by `self.options`, before it is simulated."""

    def terrain(self) -> Tensor | None:
        """Return the height fields (F, rows, columns) [m] that there are, for a robot that has one; None: its own.

        Which of them each environment is on is its parameter `terrain`: `parameter_names` or `randomize` must name it, and
        `placed` may change it.
        """
        return None

    def prepare(self) -> None:
        """Compute once, from `self.model`, what `observe` and `reward` need."""

    def failed(self, obs: Tensor) -> Tensor:
        """Return (N,) bool: which environments fail in the state just reached; `obs` as in `reward`."""
        return self._never

    def random_start(self) -> tuple[Tensor, Tensor]:
        """Draw a start (q, qd) for every environment, with `self.uniform` or another draw from `self.generator`."""
        return self.start_q, self.start_q.new_zeros(self.num_envs, self.model.nd)

    def placed(self, q: Tensor, qd: Tensor, parameters: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return starts and parameters, (N, ...) each, moved to where an episode of each environment would begin now.

        Also of those that go on, to which it means nothing. For what depends on the environment, or on the time.
        """
        return q, qd, parameters

    def random_target(self) -> Tensor:
        """Draw a target (N, target_dim) for every environment, as `random_start` does."""
        return self.start_q.new_zeros(self.num_envs, self.target_dim)

    def target_quantities(self) -> Sequence[Quantity]:
        """Name what a target is, a row for each entry; nothing: they are numbered. Sliders of `play` are called so."""
        return ()

    def target_range(self) -> tuple[Tensor, Tensor] | None:
        """Return between what targets (target_dim,) lie, where that is known; None: as `random_target` draws them."""
        return None

    def target_done(self, obs: Tensor) -> Tensor:
        """Return (N,) bool: where the target is drawn anew though the episode goes on; `obs` as in `reward`.

        The observation and the reward of the step just made are still of the old one.
        """
        return self._never

    def uniform(self, low: float, high: float, width: int) -> Tensor:
        """Draw (N, width) numbers within [low, high)."""
        draws = torch.rand(self.num_envs, width, generator=self.generator)
        return sent(low + (high - low) * draws, self.device)

    def uniform_start(self, spread: float, rate_spread: float) -> tuple[Tensor, Tensor]:
        """Draw (q, qd) uniformly, coordinates within `spread` of the start pose and rates within `rate_spread` of zero.

        For robots without quaternions.
        """
        q, qd = self.uniform(-1.0, 1.0, self.model.nq + self.model.nd).split([self.model.nq, self.model.nd], dim=1)
        return self.start_q + spread * q, rate_spread * qd

    @classmethod
    def load_robot(cls) -> Model:
        """Read the robot: a file beside the task's own, one of this package by name, any other by path.

        Raises:
            FileNotFoundError: if there is no such file, with the places looked at.
        """
        with as_file(files("rpo_lightning") / "robots" / str(cls.robot)) as packaged:
            path = beside(cls, "robot", packaged)
            laws = cls.contact, cls.limit, cls.drop, cls.friction, cls.mesh_vertices, cls.equality, cls.friction_width
            return load_mjcf(path, *laws)

    # ---- the environment's surface -------------------------------------------------------------------------------

    def compile(self, gradients: bool = True) -> None:
        """Compile now what steps and measured points, and with `gradients` their backward passes, need."""
        for part in vars(self).values():
            if isinstance(part, (Simulator, Points)):
                part.compile(gradients)

    def privileged_table(self) -> list[Quantity]:
        """Return what each entry of what only the critic sees is, the parameters last."""
        shown = self.options["observe_parameters"]
        units = self.parameter_units.tolist()
        return super().privileged_table() + (parameter_rows(self.model, self.simulator.parameters, units) if shown else [])

    def action_table(self) -> list[ActionRow]:
        """Return what each entry of an action stands for; with an `action_scale`, as an offset from a control."""
        ones = self.start_q.new_ones(1, self.action_dim)
        low, held, high = (self._drive.controls(x * ones)[0].tolist() for x in (-1.0, 0.0, 1.0))
        rows = action_rows(self.model, low, high)
        if self.action_scale is None:
            return rows
        offsets = [f"; control {middle:.4g} + {self.action_scale:.4g} action" for middle in held]
        return [row._replace(law=row.law + offset) for row, offset in zip(rows, offsets, strict=True)]

    @property
    def parameters(self) -> Tensor:
        """Constants of each robot, (N, k) in the order of `simulator.parameters.names`; can be set, also with a graph.

        They are an input, as actions are: `detach` leaves their graph. An episode that begins draws anew what `randomize`
        names, and keeps the rest. The critic sees, if it does, how far they are from the file's, in units of the file's.
        """
        return self._parameters

    @parameters.setter
    def parameters(self, values: Tensor) -> None:
        check_tensor(self.name, "parameters", values, (self.num_envs, self.simulator.parameters.size), self.device)
        self._parameters = values
        self._privileged = self._with_parameters(self._privileged[:, : type(self).privileged_dim])

    @property
    def field(self) -> Tensor:
        """Which of `simulator.terrain` each environment is on, (N,) int64."""
        count, columns = len(self.simulator.terrain), self.simulator.parameters.columns.get("terrain")
        if columns is None:
            return torch.arange(self.num_envs, device=self.device) % count
        chosen = self._parameters[:, columns.start].detach().round()
        return torch.where((chosen >= 0.0) & (chosen < count), chosen, 0.0).long()  # as the engine has it

    def detach(self) -> Tensor:
        """Cut the graph at the present state; return its observation."""
        self.q, self.qd, self._slots = self.q.detach(), self.qd.detach(), self._slots.detach()
        self.target = self.target.detach()
        self._judged_on, self._calls = (), []
        if self._latency is not None:
            self._latency.detach()
        return super().detach()

    def set_state(self, q: Tensor, qd: Tensor, progress: Tensor | None = None, target: Tensor | None = None) -> Tensor:
        """Continue from (q, qd), keeping their graph; return the observation. Parameters are kept, action slots zeroed.

        A `history` begins anew, and no action of before is still to come.

        Args:
            q: (N, nq) coordinates.
            qd: (N, nd) rates.
            progress: (N,) steps of the present episodes; None: 0.
            target: (N, target_dim); None: the present ones.
        """
        target = self.target if target is None else target
        widths = (("q", q, self.model.nq), ("qd", qd, self.model.nd), ("target", target, self.target_dim))
        for name, tensor, width in widths:
            check_tensor(self.name, name, tensor, (self.num_envs, width), self.device)
        self._progress = checked_progress(self.name, progress, self.num_envs, self.device)
        self.q, self.qd, self.target = q, qd, target
        self._slots = q.new_zeros(self.num_envs, self.action_dim)
        if self._latency is not None:
            self._latency.forget()
        return self._continue_with(*self._observations())

    def get_state(self) -> tuple[Tensor, Tensor, Tensor]:
        """Return (q, qd, progress)."""
        return self.q, self.qd, self._progress

    def state_dict(self) -> dict[str, Any]:
        """Return everything the future depends on; what is drawn and not yet used and the random generator included."""
        parts = {"q": self.q, "qd": self.qd, "action": self._slots, "target": self.target, "parameters": self._parameters}
        late = {} if self._latency is None else {f"latency.{key}": each for key, each in self._latency.state_dict().items()}
        return {**{name: part.detach().clone() for name, part in parts.items()}, **late, **super().state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue exactly where `state_dict` was taken, on this device or another.

        Raises:
            ValueError: if the state is of another task or number of environments.
        """
        super().load_state_dict(state)
        if self._latency is not None:
            self._latency.load_state_dict(below("latency.", state))
        self.q, self.qd, self._slots, self.target, self._parameters = (
            state[key].to(self.device, copy=True) for key in ("q", "qd", "action", "target", "parameters")
        )
        if len(self._drawn):  # a run that is resumed with other distributions draws from those at once
            self._bank.replace("values", self._randomization.values(self._bank["quantiles"].cpu()).to(self.device))

    def control_map(self) -> dict[str, list[float]]:
        """Return scale, offset, low and high (A,): an action a is the control clamp(scale * a + offset, low, high).

        In the units of the robot's file; for a motor its control, which its gear makes a force.
        """
        return self._drive.mapping()

    # ---- inside --------------------------------------------------------------------------------------------------

    def _advance(self, action: Tensor) -> Reached:
        # views, so that `_contain` can stop what a broken reward would send back through them
        before = self._all_seen(self._obs, self._privileged)
        before, clipped = before.view_as(before), action.clamp(-1.0, 1.0)
        self._judged_on = before, clipped
        self._calls = []
        for driving, substeps in [(clipped, self.substeps)] if self._latency is None else self._latency(clipped):
            self.q, self.qd = self.simulator.step(self.q, self.qd, *self._drive(driving), self._parameters, substeps)
            self._calls.append(self.q)
        self._slots = clipped if self.options["observe_action"] else self._no_action
        obs, privileged = self._observations()
        reached = self._all_seen(obs, privileged)
        reward = self.reward(before if self.options["reward_from"] == "previous" else reached, clipped)
        failed = self.failed(reached)
        if not self.options.get("early_termination", True):
            failed = self._never
        if self._aims_anew:
            with torch.no_grad():
                self._aim(self.target_done(reached))
        return Reached((self.q, self.qd), obs, privileged, reward, failed)

    def _observations(self) -> tuple[Tensor, Tensor]:
        """Return the observation and the privileged one of the present state."""
        state, privileged = (self.q, self.qd, self._slots), self._privileged  # of width 0, or else
        obs = self.observe(*state)
        if self.privileged_dim:
            privileged = self._with_parameters(self.observe_privileged(*state))
        return obs, privileged

    def _with_parameters(self, privileged: Tensor) -> Tensor:
        """Return what a task shows to the critic with the parameters beside it, if they are shown."""
        if not self.options["observe_parameters"]:
            return privileged
        return torch.cat([privileged, (self._parameters - self._own) / self.parameter_units], dim=1)

    def _all_seen(self, obs: Tensor, privileged: Tensor) -> Tensor:
        own = type(self).privileged_dim  # a task's reward does not depend on whether parameters are shown
        return torch.cat([obs, privileged[:, :own]], dim=1) if own else obs

    def _contain(self) -> None:
        rows = self.invalid[:, None]
        self.q = torch.where(rows, self.start_q, self.q)
        self.qd = self.qd.masked_fill(rows, 0.0)
        self._slots = self._slots.masked_fill(rows, 0.0)
        if self._latency is not None:
            self._latency.blank(self.invalid)

    def _cut(self) -> None:
        rows = self.invalid[:, None]
        for q in self._calls:
            if q.grad_fn is not None:
                # the simulator's adjoint meets infinities of its own in those environments, even for a zero cotangent
                q.grad_fn.register_hook(lambda grads, _: tuple(g if g is None else g.masked_fill(rows, 0.0) for g in grads))
        for part in self._judged_on:
            if part.requires_grad:
                part.register_hook(lambda grad: grad.masked_fill(rows, 0.0))

    def _begin(self, mask: Tensor) -> tuple[Tensor, Tensor]:
        starts = self._bank.take(mask)
        for name, fresh in self._as_begun(starts).items():
            now = getattr(self, name)
            setattr(self, name, torch.where(mask.view(-1, *(1 for _ in now.shape[1:])), fresh, now))
        if self._latency is not None:
            self._latency.begin(mask, starts["late"])
        if self.target_dim:
            self.targets_drawn = self.targets_drawn + mask
        with torch.no_grad():
            if self._foreseen:
                return starts["obs"], self._with_parameters(starts["privileged"])
            return self._shown(*self._observations(), mask)

    def _as_begun(self, starts: Starts) -> dict[str, Tensor]:
        """Return with what an episode of each environment would begin, by the attributes that hold it, (N, ...) each."""
        q, qd, parameters = starts["q"], starts["qd"], self._parameters
        if len(self._drawn):
            values = starts["values"]
            parameters = values if self._all_drawn else parameters.index_copy(1, self._drawn, values)
        q, qd, parameters = self.placed(q, qd, parameters)
        begun = {"q": q, "qd": qd}
        if self.target_dim:
            begun["target"] = starts["target"]
        if parameters is not self._parameters:
            begun["_parameters"] = parameters
        if self.options["observe_action"]:
            begun["_slots"] = self._no_action
        return begun

    def _units(self) -> Tensor:
        units = torch.ones_like(self._own)
        for columns in self.simulator.parameters.columns.values():
            size = self._own[columns].norm()
            if size > 1e-6:  # what rounding leaves of a centre of mass is no size
                units[columns] = size
        return units

    def _aim(self, mask: Tensor) -> None:
        """Give the environments in `mask` (N,) fresh targets."""
        if self._looks and not mask.any():
            return
        self.target = torch.where(mask[:, None], self._targets.take(mask)["target"], self.target)
        self.targets_drawn = self.targets_drawn + mask

    def _stores(self) -> dict[str, tuple[StartBank, Callable[[], Starts]]]:
        targets = {"targets": (self._targets, self._draw_targets)} if self._aims_anew else {}
        return {"starts": (self._bank, self._draw), **targets}

    def _draw_targets(self) -> Starts:
        target = self.random_target()
        self._check_returned("random_target", target, self.target_dim)
        return {"target": target}

    @torch.no_grad()
    def _draw(self) -> Starts:
        """Draw what episodes begin with, and add what is seen of that, where it is known."""
        q, qd = self.start_q, self.start_q.new_zeros(self.num_envs, self.model.nd)
        if self.options.get("stochastic_init"):
            q, qd = self.random_start()
        starts = {"q": q, "qd": qd}
        if self._latency is not None:
            starts |= self._latency.draws(self.generator)
        if len(self._drawn):
            # quantiles, too: see `load_state_dict`
            quantiles = torch.rand(self.num_envs, len(self._drawn), generator=self.generator)
            starts["quantiles"] = sent(quantiles, self.device)
            starts["values"] = sent(self._randomization.values(quantiles), self.device)
        if self.target_dim:
            starts |= self._draw_targets()
        return {**starts, **self._foresee(starts)} if self._foreseen else starts

    def _foresee(self, starts: Starts) -> Starts:
        """Return what is seen of starts, parameters apart; all is as it was afterwards."""
        begun = self._as_begun(starts)
        present = {name: getattr(self, name) for name in begun}
        vars(self).update(begun)
        obs, privileged = self.observe(self.q, self.qd, self._no_action), self._privileged[:, :0]
        if type(self).privileged_dim:
            privileged = self.observe_privileged(self.q, self.qd, self._no_action)
        vars(self).update(present)
        obs, privileged = self._shown(obs, privileged, torch.ones_like(self.invalid))
        return {"obs": obs, "privileged": privileged}

    def _check_task(self) -> None:
        """Catch a task whose methods do not fit its own attributes, before it trains on nonsense."""
        state = self.start_q, self.qd, self._slots
        obs = self._judged("observe", self.observe, *state)
        self._check_returned("observe", obs, self._width)
        privileged = self._judged("observe_privileged", self.observe_privileged, *state)
        self._check_returned("observe_privileged", privileged, type(self).privileged_dim)
        seen = self._all_seen(obs, privileged)
        self._check_returned("reward", self._judged("reward", self.reward, seen, self._slots))
        self._check_returned("failed", self._judged("failed", self.failed, seen), dtype=torch.bool)
        self._check_returned("target_done", self._judged("target_done", self.target_done, seen), dtype=torch.bool)
        self.observation_table(), self.privileged_table()
        full = torch.ones_like(self._slots)
        if self.options["observe_action"] and torch.equal(self._judged("observe", self.observe, *state[:2], full), obs):
            raise TypeError(f"{self.name}: unknown option 'observe_action': `observe` shows no action")
