"""What docs say of few robots and of NAPG, which learns with them, written anew from the files of results/."""

from __future__ import annotations

import itertools

from tests.recorded import Claims, at, both, final, fixed, minutes, paper, steps, summary


def few_robots() -> Claims:
    """What is learned in few steps with the preset's robots, and with fewer."""
    few = (
        "ant/rpo-few",
        "anymal/rpo-few_short",
        "anymal/rpo-few",
        "hopper/rpo-few",
        "humanoid/rpo-few",
        "hand_reorient/rpo-few",
    )
    for page, runs in {
        "README.md": (*few, "ant/napg", "anymal/napg"),
        "docs/few_robots.md": few,
        "docs/napg.md": ("ant/napg", "anymal/napg", "humanoid/napg"),
    }.items():
        for run in (f"{each}/seed_0" for each in runs):
            task, kind, _ = run.split("/")
            name = "NAPG" if kind == "napg" else "RPO, few robots"
            cost = minutes(run, 0, "cpu_s")
            yield page, f"| {task} | {name} | {steps(run)} | {both(run)} | {paper(task)} | {cost} |"
    for task in ("ant", "anymal", "humanoid"):
        run = f"studies/budget_0.03/{task}/rpo-few/seed_1"
        yield "docs/few_robots.md", f"| {task} | 0.3 M | {both(run)} | {fixed(summary(run)['cpu_s'])} s |"
        yield "docs/napg.md", f"| {both(run)} |"
    for budget, task, variant, robots, passes in (
        ("0.02", "ant", "", 128, 16), ("0.02", "ant", "-robots_32", 32, 8), ("0.02", "ant", "-robots_16", 16, 8),
        ("0.02", "ant", "-robots_8", 8, 8), ("0.02", "ant", "-robots_16_passes_4", 16, 4),
        ("0.015", "hopper", "-robots_16", 16, 8), ("0.03", "anymal", "-robots_16", 16, 8),
        ("0.03", "humanoid", "", 64, 16), ("0.03", "humanoid", "-robots_16", 16, 8),
    ):  # fmt: skip
        yield "docs/few_robots.md", _short_run(budget, task, variant, robots, passes)

    for budget, task, variant, physics, robots in (
        ("0.05", "ant", "-robots_16", "paper", "16"), ("0.05", "ant", "-right", "exact", "128"),
        ("0.05", "ant", "-right_robots_16", "exact", "16"),
        ("0.03", "anymal", "-robots_16", "paper", "16"), ("0.03", "anymal", "-right_robots_16", "exact", "16"),
        ("0.03", "humanoid", "", "paper", "64"), ("0.03", "humanoid", "-robots_16", "paper", "16"),
        ("0.03", "humanoid", "-right", "exact", "64"), ("0.03", "humanoid", "-right_robots_16", "exact", "16"),
        ("0.03", "humanoid", "-right_robots_16_limit_3", "exact", "16, limit 3"),
    ):  # fmt: skip
        yield "docs/few_robots.md", _short_run(budget, task, variant, physics, robots)

    for variant, told in {
        "robots_16/seed_1": "| 1 | - | 1000 steps",
        "robots_16_limit/seed_1": "| 1 | 0.1 | 1000 steps",
        "robots_16_starts/seed_1": "| 1 | - | 250 steps",
        "robots_16_starts_limit/seed_0": "| 0 | 0.1 | 250 steps",
        "robots_16_spread_limit/seed_1": "| 1 | 0.1 | 50 to 1000 steps",
        "robots_16_spread/seed_0": "| 0 | - | 50 to 1000 steps",
    }.items():
        yield "docs/few_robots.md", f"{told} | {both(f'studies/budget_0.03/anymal/rpo-{variant}')} |"
    held = "studies/budget_0.03/anymal/rpo-robots_16_limit/seed_1"
    yield "docs/few_robots.md", f"stood at {at(held, 0.2)} after 0.2 M steps"
    yield "docs/few_robots.md", f"falls within {_length(held)} steps"
    short = "studies/budget_0.1/anymal/rpo-right_robots_16_starts_limit/seed_0"
    told = f"stands after 1 M steps at {final(short)}\nsampled, and falls after {_length(short)} steps on average"
    yield "docs/few_robots.md", told
    yield "docs/few_robots.md", f"(deterministic: {final(short, 'deterministic')})"

    spread_64, all_64 = "studies/budget_0.03/humanoid/rpo-spread/seed_1", "studies/budget_0.03/humanoid/rpo/seed_1"
    pair = f"{final(all_64)} and {final(all_64, 'deterministic')} without."
    told = f"{final(spread_64)} sampled and {final(spread_64, 'deterministic')} deterministic, {pair}"
    yield "docs/few_robots.md", told
    for seed, (variant, window) in itertools.product((0, 1), {"": 32, "_horizon_28": 28}.items()):
        run = f"studies/budget_0.05/ant/rpo-robots_16{variant}/seed_{seed}"
        yield "docs/few_robots.md", f"| {seed} | {window} steps | {both(run)} |"
    here, there = (f"studies/budget_0.05/ant/rpo-right_robots_16{variant}/seed_1" for variant in ("_horizon_28", ""))
    pair = f"{final(there)} and {final(there, 'deterministic')} with 32."
    told = f"{final(here)} sampled and {final(here, 'deterministic')} deterministic, {pair}"
    yield "docs/few_robots.md", told

    many, few, hopper = (
        f"studies/{run}/seed_0" for run in ("budget_0.02/ant/rpo", "budget_0.02/ant/rpo-robots_16_passes_4", "budget_0.015/hopper/rpo-robots_16")
    )  # fmt: skip
    pairs = (" and ".join((final(run), final(run, "deterministic"))) for run in (many, few, hopper))
    said = "Ant with 128 robots {}, with 16 and 4 passes {}; Hopper with 16 {}.".format(*pairs)
    yield "docs/few_robots.md", said
    long = "studies/budget_0.13/ant/rpo-robots_16_passes_4/seed_1"
    yield "docs/few_robots.md", f"stands at {final(long)} sampled after 1.3 M steps and ten minutes"
    sapo = "studies/budget_0.02/ant/sapo-robots_16/seed_1"
    yield "docs/few_robots.md", f"{fixed(summary(sapo)['cpu_s'])} s | 0.2 M | {both(sapo)} |"


def _length(run):
    return fixed(summary(run)["eval"]["sampled"]["length"])


def _short_run(budget, task, variant, *told):
    """A row about seed 1 of a variant of RPO, with what is told of it beside the steps."""
    run = f"studies/budget_{budget}/{task}/rpo{variant}/seed_1"
    cells = task, f"{summary(run)['env_steps'] / 1e6:.1f} M", *told, both(run), f"{fixed(summary(run)['cpu_s'])} s"
    return f"| {' | '.join(map(str, cells))} |"
