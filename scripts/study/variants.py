"""What a study is made of: tasks with their budgets, algorithms with some of their options changed."""

from __future__ import annotations

from dataclasses import dataclass

PAPER_TASKS = ("hopper", "ant", "humanoid", "anymal", "hand_reorient")
OTHER_TASKS = ("cheetah", "cartpole", "double_pendulum")
DMC = "dmc/"
"""How the names of the tasks of the DeepMind Control Suite begin."""
DMC_TASKS = tuple(
    DMC + name
    for name in (
        *("cartpole_balance", "cartpole_balance_sparse", "cartpole_swingup", "cartpole_swingup_sparse"),
        *("pendulum_swingup", "reacher_easy", "reacher_hard", "cheetah_run"),
        *("walker_stand", "walker_walk", "walker_run", "hopper_stand", "hopper_hop"),
        *("humanoid_stand", "humanoid_walk", "humanoid_run", "acrobot_swingup", "acrobot_swingup_sparse"),
        *("ball_in_cup_catch", "finger_spin", "finger_turn_easy", "finger_turn_hard", "fish_swim"),
    )
)

BUDGET = {
    **dict.fromkeys((*PAPER_TASKS, *OTHER_TASKS), 10_000_000),
    "hopper": 20_000_000,
    "hand_reorient": 4_100_000,
    **dict.fromkeys(DMC_TASKS, 50_000_000),
}
"""Environment steps of a full run. RPO's paper states Anymal's; Hopper's follows from "10 times" 200 M of PPO."""


@dataclass(frozen=True)
class Variant:
    """An algorithm with some of its options changed: one curve of a figure, one run per task and seed.

    Args:
        algorithm: names the preset, `<algorithm>/<task>.yaml` (of RPO `<task>.yaml`).
        label: text of a legend.
        variant: names the change; None is the preset as it is.
        overrides: options of `rpo-lightning fit`.
        budget_scale: environment steps as a multiple of the other variants'.
    """

    algorithm: str
    label: str
    variant: str | None = None
    overrides: tuple[str, ...] = ()
    budget_scale: float = 1.0

    @property
    def name(self) -> str:
        """Return `<algorithm>` or `<algorithm>-<variant>`: the folder of its runs, `algorithm` in their summaries."""
        return self.algorithm if self.variant is None else f"{self.algorithm}-{self.variant}"

    def preset(self, task: str) -> str:
        """Return the configuration of a task, as `--config` takes it."""
        return f"{task}.yaml" if self.algorithm == "rpo" else f"{self.algorithm}/{task}.yaml"

    def env_steps(self, task: str, budget: float) -> int:
        """Return the environment steps of a run with `budget` times the full steps."""
        return round(budget * self.budget_scale * BUDGET[task])


@dataclass(frozen=True)
class Study:
    """A table, a figure or a claim.

    Args:
        title: what is compared.
        variants: what has to be trained, in the order of a legend; empty if nothing has.
        metric: what is drawn over environment steps, a column of curve.csv; or `eval.sampled` and
            `eval.deterministic` for a table of final returns, `wall_clock` for bars of training times.
        note: what is known of it, usually what the paper shows there.
        tasks: those of the paper, or all four of RPO's where it is not known here which of them it shows.
        source: of the note, the words before it.
        per_seed: whether every run has a curve of its own, where the paper shows seeds that are unstable.
    """

    title: str
    variants: tuple[Variant, ...]
    metric: str
    note: str
    tasks: tuple[str, ...] = PAPER_TASKS
    source: str = "In the paper: "
    per_seed: bool = False


RPO = Variant("rpo", "RPO")
PPO = Variant("ppo", "PPO")
GIPPO = Variant("gippo", "GI-PPO")
SHAC = Variant("shac", "SHAC")
SAPO = Variant("sapo", "SAPO")
SAC = Variant("sac", "SAC")
REPPO = Variant("reppo", "REPPO")
