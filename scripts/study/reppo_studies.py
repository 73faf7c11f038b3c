"""The studies of REPPO (arXiv 2507.11019) as data, and what its authors released of theirs.

The released numbers are those of the CSV files that lie with the official code (deterministic actions, at most ten trials
per task), as computed from them, not the paper's own text.
"""

from __future__ import annotations

from study.variants import DMC, DMC_TASKS, PPO, REPPO, RPO, Study, Variant

RELEASED: dict[str, dict[str, tuple[float, float | None]]] = {
    DMC + task: {"reppo": reppo, "ppo": (ppo, None)}
    for task, reppo, ppo in (
        ("acrobot_swingup", (402, 49), 242),
        ("acrobot_swingup_sparse", (43, 44), 65),
        ("ball_in_cup_catch", (926, 213), 965),
        ("cartpole_balance", (1000, None), 1000),
        ("cartpole_balance_sparse", (1000, None), 830),
        ("cartpole_swingup", (863, None), 808),
        ("cartpole_swingup_sparse", (711, 185), 774),
        ("cheetah_run", (933, 2), 748),
        ("finger_spin", (661, 107), 855),
        ("finger_turn_easy", (939, None), 752),
        ("finger_turn_hard", (923, None), 593),
        ("fish_swim", (677, 22), 228),
        ("hopper_hop", (164, 138), 32),
        ("hopper_stand", (706, 344), 13),
        ("pendulum_swingup", (627, 321), 605),
        ("reacher_easy", (977, None), 966),
        ("reacher_hard", (974, None), 955),
        ("walker_stand", (986, 1), 940),
        ("walker_walk", (978, 2), 848),
        ("walker_run", (894, 16), 676),
        ("humanoid_stand", (706, 310), 70),
        ("humanoid_walk", (991, 1), 46),
        ("humanoid_run", (748, 79), 15),
    )
}
"""Final return of a task: algorithm -> (mean, standard deviation over seeds, where it is known).

REPPO's are those of its large batch (131 thousand), PPO's those of the retuned one.
"""

BEST_KNOWN = {task: max(mean for mean, _ in of_task.values()) for task, of_task in RELEASED.items()} | {
    f"{DMC}humanoid_stand": 978.0  # REPPO with its medium batch
}
"""The best released mean of a task, of REPPO or PPO."""

HIGHEST_RETURN = 1000.0
"""Of an episode of the Control Suite: 1000 steps, rewards of at most 1. Returns are divided by it."""

RELEASED_IQM: dict[str, tuple[float, tuple[float, float] | None, str]] = {
    "reppo": (880, (866, 892), "small batch"),
    "reppo-penalty": (876, (855, 891), ""),
    "reppo-no_kl": (539, (495, 583), ""),
    "reppo-mse": (731, (706, 756), "small batch"),
    "reppo-no_norm": (826, (801, 848), "small batch"),
    "reppo-no_aux": (833, None, "small batch, 19 tasks"),
    "ppo": (708, (684, 727), "retuned"),
}
"""Interquartile mean of the final returns of 23 tasks, 95 % interval, remark. The presets have the small batch."""

RELEASED_RELIABILITY = {"reppo": (0.71, 0.62), "reppo-no_kl": (0.52, 0.30), "ppo": (0.49, 0.44)}
"""Shares of the released runs that reach, and that reach and stay, against the best released mean."""


def _changed(label: str, variant: str, *options: str) -> Variant:
    return Variant("reppo", label, variant, tuple(f"--model.{option}" for option in options))


def _ablated(label: str, variant: str, option: str) -> Variant:
    return Variant("reppo", label, variant, ("--model=REPPOAblation", f"--model.{option}"))


def _released(name: str) -> str:
    value, _, remark = RELEASED_IQM[name]
    return f"{value:.0f}" + (f" ({remark})" if remark else "")


SMALL_WINDOW = ("--data.num_envs=256", "--data.iterations_per_epoch=40")
CPU = Variant(
    "reppo",
    "REPPO, 256 environments, layers of 256",
    "cpu",
    ("--model.hidden=[256,256]", "--model.critic_width=256", "--model.multiplier_lr=0.0003", *SMALL_WINDOW),
)
"""What two cores train 10 M steps of in an hour, with the paper's rate of the multipliers."""
CPU128 = Variant(
    "reppo",
    "REPPO, 256 environments, layers of 128",
    "cpu128",
    ("--model.hidden=[128,128]", "--model.critic_width=128", *SMALL_WINDOW),
)

REPPO_STUDIES = {
    "reppo_ablations": Study(
        "REPPO without each of its parts",
        (
            REPPO,
            _ablated("without KL", "no_kl", "kl_control=none"),
            _ablated("KL as a penalty", "penalty", "kl_control=penalty"),
            _changed("squared error", "mse", "critic_loss=mse"),
            _changed("without norm", "no_norm", "norm=none"),
            _changed("without auxiliary", "no_aux", "aux_coef=0.0"),
            _ablated("score function, Q", "score_q", "policy_gradient=score_q"),
            _ablated("score function, GAE", "score_gae", "policy_gradient=score_gae"),
        ),
        "eval.deterministic",
        f"interquartile means of the return over 23 tasks: REPPO {_released('reppo')}; without KL "
        f"{_released('reppo-no_kl')}; KL as a penalty {_released('reppo-penalty')}; squared error "
        f"{_released('reppo-mse')}; without norm {_released('reppo-no_norm')}; without auxiliary "
        f"{_released('reppo-no_aux')}. With the large batch: REPPO 886; without norm 849; without auxiliary 876. Of the "
        "score function no run is released; the paper has it worse still, with GAE slightly below PPO.",
        (f"{DMC}cheetah_run", f"{DMC}cartpole_swingup"),
        "Runs released by REPPO's authors: ",
    ),
    "reppo_dmc": Study(
        "REPPO and PPO on the DeepMind Control Suite",
        (REPPO, CPU, CPU128, PPO),
        "eval.deterministic",
        f"interquartile means of the return over 23 tasks: REPPO {_released('reppo')}, 896 (medium), 886 (large); PPO "
        f"{_released('ppo')}. The means per task beside ours are those of REPPO's large batch and of the retuned PPO. The "
        "presets here have the small batch; its means per task are not known to this repository.",
        DMC_TASKS,
        "Runs released by REPPO's authors: ",
    ),
    "reppo_ant": Study(
        "REPPO and RPO on differentiable tasks",
        (REPPO, _changed("REPPO, dQ/du supervised", "action_grad", "action_grad_coef=1.0"), RPO),
        "eval/return",
        "In neither paper: REPPO as it is, REPPO whose dQ/du is also fitted to the simulator's gradient, and RPO.",
        ("ant", "hopper"),
        "",
    ),
    "toy_gaussian": Study(
        "Score-function and pathwise updates on a known objective",
        (),
        "objective",
        "a toy problem compares the two for a Gaussian policy, with and without importance sampling, and finds those of the "
        "score function noisier. How it is set up there is not known to this repository: this problem is ours.",
        (),
        "In REPPO's paper: ",
    ),
}
