"""All studies by name; those of RPO's paper (arXiv 2508.06214) as data: which runs each needs, what is drawn and known.

`reproduce.py` trains them, `report.py` draws them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from study.reppo_studies import RELEASED, REPPO_STUDIES
from study.variants import (
    BUDGET,
    DMC,
    GIPPO,
    OTHER_TASKS,
    PAPER_TASKS,
    PPO,
    REPPO,
    RPO,
    SAC,
    SAPO,
    SHAC,
    Study,
    Variant,
)

__all__ = [
    "BUDGET",
    "DMC",
    "NO_KL",
    "OTHER_TASKS",
    "PAPER",
    "PAPER_RUNS",
    "PAPER_TASKS",
    "REPPO",
    "RPO",
    "STUDIES",
    "Study",
    "Variant",
    "budget_folder",
    "find_study",
    "find_variants",
    "published",
]


def budget_folder(budget: float) -> str:
    """Return the folder of the results at a budget."""
    return f"budget_{budget:g}"


def find_study(name: str) -> Study:
    """Return a study by its name.

    Raises:
        ValueError: if there is none; the message lists those there are.
    """
    if name in STUDIES:
        return STUDIES[name]
    reason = "a drawing, which docs/rpo.md has" if name == "fig2" else "there is no such study"
    raise ValueError(f"{name}: {reason}; studies: {', '.join(STUDIES)}.")


def find_variants(study: Study, names: Iterable[str]) -> tuple[Variant, ...]:
    """Return variants of a study by their names.

    Raises:
        ValueError: if one is not among them.
    """
    known = {variant.name: variant for variant in study.variants}
    if unknown := [name for name in names if name not in known]:
        raise ValueError(f"{unknown[0]}: this study has no such variant; variants: {', '.join(known)}.")
    return tuple(known[name] for name in names)


FIVE = (RPO, SAPO, SHAC, GIPPO, PPO)

# A ratio is never below 0, so clip_low = 1 lets every small one through.
NO_CLIP = Variant("rpo", "without clipping", "no_clip", ("--model.clip_low=1.0", "--model.clip_high=.inf"))
NO_KL = Variant("rpo", "without KL", "no_kl", ("--model.kl_coef=0.0",))
ONE_EPOCH = Variant("rpo", "one epoch (M = 1)", "one_epoch", ("--model.actor_epochs=1",))


def _clip_without_kl(clip: float) -> Variant:
    options = (f"--model.clip_low={clip}", f"--model.clip_high={clip}", "--model.kl_coef=0.0")
    return Variant("rpo", f"clip {clip}/{clip}, without KL", f"no_kl_clip_{clip}", options)


def _clip(low: float, high: float) -> Variant:
    return Variant(
        "rpo", f"c_low {low}, c_high {high}", f"clip_{low}_{high}", (f"--model.clip_low={low}", f"--model.clip_high={high}")
    )


def _coefficients(kl: float, entropy: float) -> Variant:
    options = (f"--model.kl_coef={kl}", f"--model.entropy_coef={entropy}")
    return Variant("rpo", f"lambda_KL {kl}, lambda_ent {entropy}", f"kl_{kl}_ent_{entropy}", options)


def _exponential_sapo(actor_lr: float) -> Variant:
    options = ("--model.lr_schedule=exponential", f"--model.actor_lr={actor_lr}")
    return Variant("sapo", f"SAPO, exponential from {actor_lr:g}", f"exponential_{actor_lr:g}", options)


def _schedule(name: str) -> Variant:
    return Variant("rpo", f"RPO, {name} schedule", name, (f"--model.lr_schedule={name}",))


def _few_robots(count: int, exact: bool = False) -> Variant:
    options = f"--data.num_envs={count}", f"--data.iterations_per_epoch={6400 // count}", "--model.critic_epochs=8"
    if exact:
        return Variant("rpo", f"RPO, exact physics, {count} robots", f"right_robots_{count}", (*EXACT, *options))
    return Variant("rpo", f"RPO, {count} robots", f"robots_{count}", options)


def _sixteen(variant: str, label: str, *options: str) -> Variant:
    return Variant("rpo", f"RPO, 16 robots, {label}", f"robots_16_{variant}", (*_few_robots(16).overrides, *options))


def _unstable_seeds(variant: Variant) -> Study:
    note = "Several seeds on Humanoid drop by thousands and recover late or never; means over seeds hide it."
    return Study(f"Seeds of {variant.label}, one by one", (variant,), "train/return", note, ("humanoid",), per_seed=True)


KL_LIMIT = "--model.kl_limit=0.1"
SPREAD = "--data.training.shortest_episode=50"
FEW = Variant(
    "rpo",
    "RPO, 16 robots, one critic, windows of 28 steps, starts spread",
    "few",
    (
        *("--data.num_envs=16", "--data.horizon=28", "--data.iterations_per_epoch=457", SPREAD),
        *("--model.critic_epochs=4", "--model.num_critics=1"),
    ),
)
"""What `configs/with/few_robots.yaml` makes of a preset, but for the budget."""
EXACT = ("--data.env.init_args.physics=right",)
SMALL_CLIPS = (RPO, _clip_without_kl(0.1), _clip_without_kl(0.2))

STUDIES = {
    "table1": Study(
        "Final returns, sampled actions",
        FIVE,
        "eval.sampled",
        "RPO has the highest mean on every task.",
    ),
    "table6": Study(
        "Final returns, deterministic actions",
        FIVE,
        "eval.deterministic",
        "The runs of table 1. RPO has the highest mean except on Ant, where SAPO's is above it by less than a deviation.",
    ),
    "fig1": Study(
        "An unstable seed of SAPO: KL(old || new) and return",
        (SAPO,),
        "actor/kl",
        "One seed on Humanoid: where the KL has a spike, the return drops.",
        ("humanoid",),
        per_seed=True,
    ),
    "fig3": Study(
        "Learning curves of five algorithms",
        FIVE,
        "eval/return",
        "Anymal: RPO passes the final level of SAPO and SHAC after 4 M steps. Ant: it is the first at 8000. Hopper: it is "
        "at 5000 several million steps before the others. Humanoid: it is at 8000 about 3 M steps before SAPO.",
    ),
    "fig4": Study(
        "RPO without KL, with one epoch, without clipping",
        (RPO, NO_KL, ONE_EPOCH, NO_CLIP),
        "eval/return",
        "Without KL a return of 8000 comes about 2 M steps later; one epoch learns slower and ends lower; without clipping "
        "Hand Reorient gets clearly worse.",
    ),
    "fig5": Study(
        "Training time",
        (RPO, SHAC, Variant("shac", "SHAC, 4 x steps", "long", budget_scale=4.0)),
        "wall_clock",
        "On an RTX 4090: RPO 10 M steps 81 minutes, SHAC 10 M 76, SHAC 40 M 313; the further epochs cost about 5 %.",
        ("anymal",),
    ),
    "fig6": Study(
        "SAPO with RPO's exponential schedule",
        (RPO, SAPO, _exponential_sapo(5e-4), _exponential_sapo(2e-3)),
        "eval/return",
        "With either learning rate SAPO stays below RPO.",
    ),
    "fig7": Study(
        "Effective samples: small clipping ranges instead of KL",
        SMALL_CLIPS,
        "actor/effective_samples",
        "RPO's share is never below about 70 % and rises to nearly 100 %; with the small ranges it is very low at first "
        "and unstable.",
        ("humanoid",),
    ),
    "fig8": Study("RPO and SAC", (RPO, SAC), "eval/return", "RPO is above SAC on both tasks.", ("anymal", "humanoid")),
    "fig9": Study(
        "RPO and PPO with ten times the steps",
        (RPO, Variant("ppo", "PPO, 10 x steps", "long", budget_scale=10.0)),
        "eval/return",
        "PPO stays below RPO: 200 M steps on Hopper, 100 M on Anymal.",
        ("hopper", "anymal"),
    ),
    "fig10": Study("RPO without KL", (RPO, NO_KL), "eval/return", "Hopper learns noticeably slower.", ("hopper",)),
    "fig11": Study(
        "Robustness to clipping range and coefficients",
        (
            RPO,
            *(_clip(low, high) for low, high in ((0.5, 0.5), (0.6, 1.5), (0.9, 2.0))),
            *(_coefficients(kl, entropy) for kl, entropy in ((0.1, 0.25), (0.4, 0.25), (0.2, 0.1), (0.2, 0.5))),
        ),
        "eval/return",
        "All ranges and pairs that the paper tries end alike; these values are ours, the paper's are not known here.",
        ("anymal",),
    ),
    "fig12": Study(
        "Largest ratio of a window",
        SMALL_CLIPS,
        "actor/max_ratio",
        "The runs of fig. 7; the paper averages the largest ratio over the later epochs of a window.",
        ("humanoid",),
    ),
    "fig13": _unstable_seeds(SAPO),
    "fig14": _unstable_seeds(SHAC),
    "regeneration": Study(
        "Actions regenerated, or importance weighting alone",
        (RPO, Variant("rpo", "without regeneration", "no_regeneration", ("--model.regenerate_actions=false",))),
        "eval/return",
        "Not in the paper.",
        source="",
    ),
    "kl_control": Study(
        "KL held at a target",
        (RPO, Variant("rpo", "automatic KL coefficient", "auto_kl", ("--trainer.callbacks+=KLTuner",))),
        "eval/return",
        "Not in the paper.",
        source="",
    ),
    "schedules": Study(
        "Learning-rate schedules",
        (RPO, _schedule("linear"), _schedule("constant")),
        "eval/return",
        "Not in the paper, which gives RPO the exponential schedule and SAPO and SHAC the linear one.",
        source="",
    ),
    "robots": Study(
        "Few robots instead of many",
        (RPO, *(_few_robots(count) for count in (32, 16, 8)), FEW),
        "eval/return",
        "Not in the paper: a window of few robots is enough to tell where to go, and there are more of them.",
        ("ant", "hopper", "anymal", "humanoid"),
        source="",
    ),
    "starts": Study(
        "Few robots that begin anew more often",
        (
            _few_robots(16),
            _sixteen("limit", "KL of a window at most 0.1", KL_LIMIT),
            _sixteen("starts", "episodes of 250 steps", "--data.training.episode_length=250"),
            _sixteen("spread", "episodes from 50 steps on", SPREAD),
            _sixteen("spread_limit", "both", SPREAD, KL_LIMIT),
        ),
        "eval/return",
        "Not in the paper: robots that never fall never start, so that a policy may forget how to.",
        ("anymal", "ant", "humanoid"),
        source="",
    ),
    "horizon": Study(
        "Windows of 28 steps",
        (_few_robots(16), _sixteen("horizon_28", "windows of 28 steps", "--data.horizon=28")),
        "eval/return",
        "Not in the paper: Ant's first gait has a stride that a window of 32 steps holds on to.",
        ("ant",),
        source="",
    ),
    "physics": Study(
        "The reference's physics, and one that keeps no stale mass matrix",
        (RPO, Variant("rpo", "RPO, exact physics", "right", EXACT), _few_robots(16), _few_robots(16, exact=True)),
        "eval/return",
        "Not in the paper: what is learned where bodies that move do not turn by themselves, with its robots and with few.",
        ("ant", "hopper", "anymal", "humanoid"),
        source="",
    ),
    "proposition1": Study(
        "Proposition 1: the surrogate's gradient from samples of the old policy",
        (),
        "gradient",
        "Regenerated actions weighted by the ratio give the gradient without bias; the paper proves it.",
        (),
    ),
    **REPPO_STUDIES,
}

PAPER = {
    "table1": {
        "hopper": {
            "ppo": (3940.60, 129.72),
            "gippo": (5512.30, 285.90),
            "shac": (5067.18, 299.37),
            "sapo": (5407.79, 4.28),
            "rpo": (5525.57, 3.47),
        },
        "ant": {
            "ppo": (4146.00, 164.14),
            "gippo": (7805.47, 1159.23),
            "shac": (8206.15, 940.46),
            "sapo": (8718.60, 946.94),
            "rpo": (8891.04, 440.39),
        },
        "humanoid": {
            "ppo": (1665.66, 410.93),
            "gippo": (7507.85, 639.52),
            "shac": (7744.44, 858.97),
            "sapo": (8603.09, 402.82),
            "rpo": (8637.78, 422.17),
        },
        "anymal": {
            "ppo": (8244.86, 680.87),
            "gippo": (12260.45, 3650.35),
            "shac": (14568.97, 652.72),
            "sapo": (14095.90, 82.02),
            "rpo": (15674.12, 316.26),
        },
        "hand_reorient": {
            "ppo": (36.83, 17.50),
            "gippo": (27.19, 20.58),
            "shac": (174.63, 57.54),
            "sapo": (213.44, 33.95),
            "rpo": (237.55, 25.16),
        },
    },
    "table6": {
        "hopper": {
            "ppo": (3977.85, 159.95),
            "gippo": (5514.00, 285.64),
            "shac": (5068.42, 299.73),
            "sapo": (5478.12, 4.45),
            "rpo": (5584.86, 6.41),
        },
        "ant": {
            "ppo": (4339.51, 745.48),
            "gippo": (7812.05, 1165.10),
            "shac": (8205.95, 940.18),
            "sapo": (9101.36, 996.14),
            "rpo": (9072.29, 448.57),
        },
        "humanoid": {
            "ppo": (2140.61, 529.07),
            "gippo": (7576.97, 621.58),
            "shac": (7722.20, 742.96),
            "sapo": (8676.25, 420.62),
            "rpo": (8805.61, 361.59),
        },
        "anymal": {
            "ppo": (10257.12, 2247.05),
            "gippo": (12247.36, 3552.17),
            "shac": (14560.59, 655.30),
            "sapo": (14783.27, 53.01),
            "rpo": (15872.61, 461.15),
        },
        "hand_reorient": {
            "ppo": (37.18, 12.76),
            "gippo": (36.78, 20.90),
            "shac": (175.13, 55.10),
            "sapo": (225.17, 27.66),
            "rpo": (239.70, 19.77),
        },
    },
}
"""Final return: study -> task -> algorithm -> (mean, standard deviation over runs)."""

PAPER_RUNS = {task: 12 if task == "hopper" else 24 for task in PAPER_TASKS}
"""Runs behind each number: twelve seeds twice, on Hopper once."""


def published(table: str, task: str) -> Mapping[str, tuple[float, float | None]]:
    """Return algorithm -> (mean, deviation) of the final returns that are known for a task, table1 (sampled) or table6.

    Of the Control Suite's tasks: what REPPO's authors released, which is deterministic.
    """
    return RELEASED.get(task, {}) if table == "table6" and task in RELEASED else PAPER[table].get(task, {})
