"""What README and docs say was measured, written anew from the files of results/.

A claim is a text that must stand on a page as it is, but for its line breaks. Rows of tables are whole lines.
"""

from __future__ import annotations

import physics_table
import try_robots
from study.reppo_studies import RELEASED
from study.studies import PAPER

from tests.measured_few_robots import few_robots
from tests.recorded import RESULTS, STUDY, Claims, at, both, final, fixed, minutes, of, paper, record, spread, steps, summary


def main_table() -> Claims:
    """The table of README and results.md."""
    lengths = {
        "hopper": "10 M of a schedule of 20 M",
        "ant": "10 M",
        "anymal": "10 M",
        "humanoid": "3.7 M of a schedule of 10 M",
    }
    cores = {"hopper": " on one shared core", "ant": " on two shared cores", "anymal": " on one shared core"}
    for task, length in lengths.items():
        run = f"{task}/rpo"
        assert length.startswith(steps(run))
        cost = f"{minutes(run)} min{cores.get(task, ', interrupted and shared')} |"
        physics = of(f"{run}/seed_0", "physics")["eval"]
        others = f"{physics['world']['sampled']['mean']:.0f} | {physics['exact']['sampled']['mean']:.0f}"
        yield "README.md", f"| {length} | {both(run)} | {others} | {paper(task)} | {cost}"
        yield "docs/results.md", f"| {length} | {both(run)} | {paper(task)} | {cost}"
    second = [final("ant/rpo/seed_1", kind) for kind in ("sampled", "deterministic")]
    yield "README.md", f"Ant's seed 1 ends at {second[0]} and, without noise, {second[1]}."
    yield "docs/rpo.md", f"Seed 1 ends at {second[0]} and {second[1]} (`results/ant/rpo/seed_1`)"
    hand = "hand_reorient/rpo"
    cost = f"{minutes(hand)} min on one core"
    yield "README.md", f"| Hand Reorient | {steps(hand)} | {both(hand)} | | | {paper('hand_reorient')} | {cost} |"


def physics() -> Claims:
    """Table 1 under three kinds of physics, and what is said of it."""
    yield "docs/results.md", physics_table.table(RESULTS)
    humanoid, anymal = record("benchmarks/reference_distance.json")["rows"]
    (start, last), (near, far) = humanoid["steps"], humanoid["forward"]
    where = f"between the steps {start} and {last}, {near} to {far} m from the origin."
    there = f"gets {humanoid['mean']} +- {humanoid['std']} with sampled actions: every episode ends {where}"
    also = f"gets {anymal['mean']} there, and ends near step {anymal['steps'][0]}, at some {anymal['forward'][0]} m."
    yield "docs/results.md", f"{there} Anymal's of seed 1 {also}"

    def found(run, physics, kind="sampled"):
        return of(run, "physics")["eval"][physics][kind]

    def mean(run, physics, kind="sampled"):
        return fixed(found(run, physics, kind)["mean"])

    def end(run, what):
        return fixed(found(run, "world")[what][1])

    one, two, ant, young = "humanoid/rpo/seed_0", "anymal/rpo/seed_1", "ant/rpo/seed_0", "ant/rpo-first_million/seed_1"
    first, beyond = "anymal/rpo/seed_0", "ant/rpo-first_million/seed_2"
    yield "README.md", f"Humanoid's {final(one)} and Anymal's {final(first)} are no wins over the paper"
    yield "README.md", f"there the same policy gets {mean(one, 'world')}."
    page, published = "docs/results.md", f"{PAPER['table1']['humanoid']['rpo'][0]:.0f}"
    yield page, f"our Humanoid policy gets {mean(one, 'world')}, less than the paper's {published}**"
    yield (
        page,
        f"is {end(one, 'forward')} m away after {end(one, 'steps')} steps. That it gets {final(one)} without such an end",
    )
    yield page, f"({mean(one, 'near')} with today's code) is no win"
    short = f"{100 * (1 - found(two, 'world')['mean'] / anymal['mean']):.0f} % short"
    there = f"{end(two, 'forward')} m and step {end(two, 'steps')}"
    yield (
        page,
        f"{humanoid['mean']} +- {humanoid['std']} at {near} to {far} m; Anymal's of seed 1, {mean(two, 'world')} at {there}, come {short}",
    )
    more = f"less than the paper's {PAPER['table1']['anymal']['rpo'][0]:.0f}."
    yield page, f"Anymal gets {mean(first, 'world')} and {mean(two, 'world')} (seeds 0 and 1), {more}"
    left = f"Ant has {mean(ant, 'exact')} left of {mean(ant, 'near')} after 10 M steps."
    yield page, f"falls after some two seconds ({mean(one, 'exact')}), {left}"
    early = (
        f"has {mean(young, 'exact')} left, and seed 2, which has left it, {mean(beyond, 'exact')} of {mean(beyond, 'near')}."
    )
    yield page, f"After 1 M, seed 1, which is on Ant's plateau near 5600, {early}"
    names = {"SAPO": "sapo", "SHAC": "shac", "GI-PPO": "gippo", "PPO": "ppo"}
    kept = {
        label: f"{mean(f'{STUDY}/ant/{name}/seed_0', 'exact')} of {mean(f'{STUDY}/ant/{name}/seed_0', 'near')}"
        for label, name in names.items()
    }
    yield page, f"After 2 M steps SAPO has {kept['SAPO']} left, SHAC {kept['SHAC']}, GI-PPO {kept['GI-PPO']}, and PPO,"
    yield page, f"which follows no gradient of the simulation, {kept['PPO']}:"
    yield (
        "docs/tasks.md",
        f"gets {mean(one, 'world')} instead of {mean(one, 'near')} (sampled, 128 episodes; it ends at {end(one, 'forward')} m",
    )
    kind = "deterministic"
    yield "docs/tasks.md", f"gets {mean(ant, 'exact', kind)} instead of {mean(ant, 'near', kind)} where the matrix"
    yield (
        "docs/tutorial/to_the_robot.md",
        f"falls from {mean(ant, 'near', kind)} to {mean(ant, 'exact', kind)} with exact physics",
    )
    orders = record("benchmarks/reference_distance.json")["orders"]["humanoid/rpo/seed_0"]
    leaves, root = (
        fixed(orders[name]["forward"][1]) for name in ("in link axes, from the leaves", "about the origin, from the root")
    )
    yield (
        "docs/engine.md",
        f"from the leaves, Humanoid gets {leaves} m far, in the reference's {root} m, and {near} to {far} m in",
    )


def results_page() -> Claims:
    page = "docs/results.md"
    kinds = ("sampled", "deterministic")
    alone, rounded = record("benchmarks/training_products.json")
    times = {}
    for name, found in (("32", alone), ("bf16", rounded)):
        phases, whole = found["phase_seconds"], found["loop_seconds"]["bare"]
        rest = phases["rollout"] + phases["actor"]
        times[name] = [fixed(each, 2) for each in (phases["products"], whole, rest, phases["products"] + rest)]
    (one, all_32, rest_32, floor_32), (two, all_16, rest_16, floor_16) = times["32"], times["bf16"]
    yield "docs/rpo.md", f"take {one} of an iteration's {all_32} s, with bf16 {two} of {all_16} ("
    yield "docs/rpo.md", f"rollout and actor take {rest_32} and {rest_16})"
    yield "docs/rpo.md", f"an iteration would take {floor_32} s and {floor_16} s, two thirds and half of {all_32}"
    young = "ant/rpo-first_million"
    ant = [", ".join(final(f"{young}/seed_{seed}", kind) for seed in (1, 2)) for kind in kinds]
    cost = minutes(f"{young}/seed_1", 1)
    yield page, f"| Ant | 1 M of the same schedule, seeds 1 and 2 | {ant[0]} | {ant[1]} | | {cost} min each"
    run = "ant/rpo/seed_1"
    yield page, f"| Ant | {steps(run)}, seed 1 | {both(run)} | {paper('ant')} | {minutes(run, 0, 'cpu_s')} min of a core |"
    run = "anymal/rpo/seed_1"
    yield page, f"| {steps(run)} of the same schedule, seed 1 | {both(run)} | | {minutes(run)} min, interrupted and shared |"
    control = {"cartpole_swingup": "studies/budget_0.11/dmc/cartpole_swingup/reppo-cpu128",
               "cheetah_run": f"{STUDY}/dmc/cheetah_run/reppo-cpu"}  # fmt: skip
    for task, run in control.items():
        value, deviation = RELEASED[f"dmc/{task}"]["reppo"]
        released = f"{value:.0f}" + (f" +- {deviation:.0f}" if deviation else "")
        yield page, f"| dmc/{task} | {steps(run)} | {both(run)} | {released} | {minutes(run)} min |"
        returns = f"{spread(run, 'sampled')} | {spread(run, 'deterministic')} | {released} | "
        yield (
            "docs/reppo.md",
            f"| {task} | {steps(run)} | {returns}{RELEASED[f'dmc/{task}']['ppo'][0]:.0f} | {minutes(run)} min |",
        )
    run = f"{STUDY}/ant/reppo"
    yield page, f"| ant | {steps(run)} | {both(run)} | | {minutes(run)} min |"
    run = "studies/budget_0.06/ant/reppo-action_grad"
    yield page, f"dQ/du supervised by the simulator | {steps(run)} | {both(run)} | | {minutes(run, 1)} min |"


def speed() -> Claims:
    """Microseconds of a step."""
    rows = {(row["task"], row["num_envs"]): row for row in record("benchmarks/sim.json")["rows"] if row["threads"] == 1}
    others = {row["task"]: row["env_us"] for row in record("benchmarks/dflex.json")["rows"]}
    for task, envs in (("hopper", 1024), ("ant", 128), ("anymal", 128), ("humanoid", 64)):
        row = rows[task, envs]
        name = f"{task.capitalize()}, {envs}" + (" environments" if task == "hopper" else "")
        other = f"{others[task]:,}".replace(",", " ") if others[task] >= 10_000 or task == "humanoid" else others[task]
        yield "docs/results.md", f"| {name} | {row['engine_us']:.1f} | {row['env_us']:.1f} | {other} |"
    dflex = others["ant"]
    rewarped = next(row["env_us"] for row in record("benchmarks/rewarped.json")["rows"] if row["task"] == "ant")
    short = fixed(rows["ant", 128]["env_us"], 1)
    yield "README.md", f"one CPU core | {short} us | {dflex} us | {rewarped} us |"
    yield "docs/comparison.md", f"one CPU core | {short} us | {dflex} us, earlier notes | {rewarped} us, earlier notes |"
    for task, row in record("benchmarks/control.json")["tasks"].items():
        cells = (f"{row[name]:,.0f}".replace(",", " ") for name in ("simulated", "collected", "trained"))
        yield "docs/control.md", f"| {task.removeprefix('dmc/')} | {' | '.join(cells)} |"
    yield "docs/robots.md", try_robots.page(record("benchmarks/robots.json"))


def exact_physics() -> Claims:
    """What is learned under exact physics."""
    for task, robots in (("ant", 16), ("anymal", 16), ("humanoid", 64)):
        run = f"{task}/rpo-exact_physics/seed_0"
        finer = " | ".join(
            f"{of(run, 'physics')['eval']['exact'][kind]['mean']:.0f}" for kind in ("sampled", "deterministic")
        )
        cost = f"{minutes(run, clock='cpu_s')}"
        row = f"| {task} | {robots} | {steps(run)} | {both(run)} | {finer} | {cost} |"
        yield "docs/results.md", row
        yield "README.md", row
    now, before = "anymal/rpo-exact_physics/seed_0", "studies/budget_0.2/anymal/rpo-right_robots_16/seed_0"
    deviation = fixed(summary(now)["eval"]["sampled"]["std"])
    yield (
        "docs/results.md",
        f"**Anymal has {final(now)} after {steps(now)[0]} M steps and {minutes(now, clock='cpu_s')} minutes**",
    )
    yield "docs/results.md", f"deviation over 128 episodes is {deviation}."
    pair = f"{final(before)} after 2 M steps ({final(before, 'deterministic')} with deterministic actions)"
    yield "docs/results.md", f"With all episodes of 1000 steps it had {pair}"
    kept = [f"{of(run, 'physics')['eval']['near']['sampled']['mean']:.0f}" for run in (now, before)]
    yield "docs/results.md", f"Anymal's keeps {kept[0]}, where the one without many starts kept {kept[1]}."


def control_suite() -> Claims:
    """What SAC learns of the Control Suite, and PPO of what needs more steps."""
    swing = "dmc/acrobot_swingup/ppo"
    told = f"gets {final(swing)} sampled and {final(swing, 'deterministic')} without noise"
    yield "docs/control.md", f"{told} (seed 0, {steps(swing)} steps, {minutes(swing, 1, 'cpu_s')} minutes of a core)"
    for folder in sorted(path.parent for path in (RESULTS / "dmc").glob("*/sac")):
        run = f"dmc/{folder.name}/sac"
        yield "docs/control.md", f"| {folder.name} | {steps(run)} | {both(run)} | {minutes(run, 1, 'cpu_s')} |"
        if (folder / "sac-full_episodes").is_dir():
            plain = f"{run}-full_episodes"
            yield "docs/control.md", f"{folder.name} {final(plain)} ({steps(plain)})"


def gymnasium() -> Claims:
    """What PPO learns of gymnasium's tasks."""
    for folder in sorted((RESULTS / "gymnasium").iterdir()):
        run = f"gymnasium/{folder.name}/ppo"
        returns = f"{spread(run, 'sampled')} | {spread(run, 'deterministic')}"
        yield "docs/adapters.md", f"| {folder.name} | {steps(run)} | {returns} | {minutes(run, 1, 'cpu_s')} |"


def legged() -> Claims:
    """How policies walk as commanded; what is of MuJoCo is in no file."""
    page, go1 = "docs/tasks.md", of("go1_walk/rpo/seed_0")

    def off(found, digits=3):
        return f"{fixed(found['velocity_error'], digits)} ({fixed(found['velocity_error_settled'], digits)})"

    seeds = [of(f"quadruped/rpo/seed_{seed}") for seed in (0, 1)]
    biped = [of(f"biped/rpo/seed_{seed}") for seed in (0, 1)]
    cost = f"{steps('go1_walk/rpo')[:3]} M, {minutes('go1_walk/rpo', 1, 'cpu_s')}"
    yield "README.md", f"| 1.0 M, {cost[6:]} | {off(go1)} | {go1['falls']} |"
    times = " and ".join(minutes(f"quadruped/rpo/seed_{seed}", 1, "cpu_s") for seed in (0, 1))
    pair = f"{off(seeds[0])}, {off(seeds[1])} | {seeds[0]['falls']}, {seeds[1]['falls']} |"
    yield "README.md", f"| {steps('quadruped/rpo')}, {times} | {pair}"
    pair = f"{off(biped[0])}, {off(biped[1])} | {biped[0]['falls']}, {biped[1]['falls']} |"
    times = " and ".join(minutes(f"biped/rpo/seed_{seed}", 1, "cpu_s") for seed in (0, 1))
    yield "README.md", f"| {steps('biped/rpo')}, {times} | {pair}"
    for seed, found in enumerate(biped):
        cells = (
            f"{found['falls']} of 128", f"{fixed(found['forward'], 3)}, {fixed(found['commanded'], 3)} m/s",
            f"{fixed(found['velocity_error'], 3)}, {fixed(found['velocity_error_settled'], 3)} m/s", f"{fixed(found['turning_error'], 3)} rad/s",
            f"{fixed(found['sliding'], 2)} m/s",
        )  # fmt: skip
        yield page, f"| seed {seed} | {' | '.join(cells)} | |"
    found = of("biped/ppo/seed_0")
    cells = (
        f"{found['falls']} of 128", f"{fixed(found['forward'], 3)}, {fixed(found['commanded'], 3)} m/s", f"{fixed(found['velocity_error'], 3)} m/s",
        f"{fixed(found['turning_error'], 3)} rad/s", f"{fixed(found['sliding'], 2)} m/s",
    )  # fmt: skip
    how = f"{steps('biped/ppo')[:3]} million steps of 128 robots that show one, {minutes('biped/ppo', 1, 'cpu_s')} minutes"
    yield page, f"| PPO, seed 0, {how} | {' | '.join(cells)} | |"
    for name, run, digits, clock in (
        ("RPO, seed 0", "rpo/seed_0", 3, "cpu_s"), ("RPO, seed 1", "rpo/seed_1", 3, "cpu_s"),
        ("PPO, seed 0, as long", "ppo-many_robots/seed_0", 2, "cpu_s"),
        ("PPO, seed 0, as many steps and robots", "ppo-few_robots/seed_0", 2, "cpu_s"),
        ("RPO on 128 robots, one observation, seed 0", "rpo-one_observation/seed_0", 2, None),
        ("the same, one stiffness of the ground, seed 0", "rpo-one_stiffness/seed_0", 2, None),
        ("the same, one stiffness, seed 1", "rpo-one_stiffness/seed_1", 2, None),
    ):  # fmt: skip
        found, length = of(f"quadruped/{run}"), f"{summary(f'quadruped/{run}')['env_steps'] / 1e6:.1f} M"
        turning = f"{fixed(found['turning_error'], digits)} ({fixed(found['turning_error_settled'], digits)})"
        measured = f"{off(found, digits)} | {turning} | {found['falls']} | {fixed(found['sliding'], 2)} m/s |"
        if clock:
            yield page, f"| {name} | {length}, {minutes(f'quadruped/{run}', 1, clock)} min | {measured}"
        else:  # its processor's time is in no file
            yield page, f"| {name} | {length}, "
            yield page, f" min | {measured}"


def tracking() -> Claims:
    """How near policies keep to targets; what is of MuJoCo, and of other figures of eight, is in no file."""
    for seed in (0, 1):
        found = of(f"arm_reach/rpo/seed_{seed}", "tracking")
        far, median, worst, soon = (1e3 * found[name] for name in ("distance", "median", "below_95", "distance_soon"))
        near = f"{100 * found['within_2_cm']:.0f} %"
        yield "docs/tasks.md", f"| seed {seed} | {far:.1f} mm | {median:.1f} mm | {worst:.0f} mm | {near} | {soon:.1f} mm |"
        found = of(f"quadrotor/rpo/seed_{seed}", "tracking")
        yield "docs/tasks.md", f" m | {fixed(found['distance'], 3)} m | "


def curves() -> Claims:
    """Returns on the way."""
    page = "docs/tasks.md"
    hopper = (0.7, 1.3, 2.0, 2.6, 3.3, 3.9, 5.2, 6.6, 7.9, 10.0)
    anymal = (0.4, 0.8, 1.2, 1.6, 2.5, 3.3, 4.1, 6.1, 8.2, 10.0)
    humanoid = (0.4, 0.8, 1.2, 1.6, 2.0, 2.5, 2.9, 3.3, 3.7, None)
    for row in zip(hopper, anymal, humanoid, strict=True):
        cells = []
        for task, million in zip(("hopper", "anymal", "humanoid"), row, strict=True):
            if million is None:
                cells.append(f"3.7 M, final | {final('humanoid/rpo')}")
            else:
                before_the_end = 3.68 if million == 3.7 else million
                cells.append(f"{'10' if million == 10 else million} M | {at(f'{task}/rpo', before_the_end)}")
        yield page, f"| {' | | '.join(cells)} |"
    papers = (("20 M", "hopper"), ("10 M", "anymal"), ("10 M", "humanoid"))
    yield (
        page,
        "| " + " | | ".join(f"paper ({length}) | {PAPER['table1'][task]['rpo'][0]:.0f}" for length, task in papers) + " |",
    )
    ant = {million: at("ant/rpo", million) for million in (0.4, 0.8, 2.0, 2.9, 4.1, 4.9, 6.6, 8.2, 10)}
    yield "docs/rpo.md", f"| return, sampled | {' | '.join(ant.values())} |"
    few = " | ".join(ant[million] for million in (0.4, 0.8, 2.0, 4.1, 10))
    yield "docs/tutorial/first_run.md", f"| return, sampled actions | {few} |"
    names = ("rpo", "gippo", "sapo", "shac", "ppo", "sac")
    for million in (0.4, 0.8, 1.2, 1.6, 2.0):
        row = " | ".join(at(f"{STUDY}/ant/{name}", million) for name in names)
        yield "docs/study.md", f"| {million} M | {row} |"


def reppo_on_ant() -> Claims:
    page, folder = "docs/reppo.md", f"{STUDY}/ant"
    run = f"{folder}/reppo"
    row = f"{spread(run, 'sampled')} | {spread(run, 'deterministic')} | {minutes(run)} min |"
    yield page, f"| REPPO, seed 0 | {row}"
    for name in ("rpo", "sapo", "ppo"):
        seeds = [f"{folder}/{name}/seed_{seed}" for seed in (0, 1)]
        returns = (", ".join(final(run, kind) for run in seeds) for kind in ("sampled", "deterministic"))
        time = sum(summary(run)["wall_clock_s"] for run in seeds) / 120
        yield page, f"| {name.upper()}, seeds 0 and 1 | {' | '.join(returns)} | {time:.0f} min |"
    supervised = "studies/budget_0.06/ant/reppo-action_grad"
    runs = {"REPPO, supervised": (supervised, "0.6 M"), "REPPO": (run, "2 M"), "RPO": (f"{folder}/rpo", "2 M")}
    for name, (each, length) in runs.items():
        row = " | ".join(at(each, million, "train/return") for million in (0.2, 0.4, 0.5, 0.6))
        yield page, f"| {name} | {row} | {final(each)} ({length}) | {final(each, 'deterministic')} |"
    yield page, f"`results/{supervised}`, seed 0, {minutes(supervised, 1)} minutes)"


def toy() -> Claims:
    found = record("studies/toy_gaussian.json")
    names = ("score function | fresh", "score function | reused", "score function, clipped at 0.2 (PPO) | reused",
             "pathwise | fresh", "pathwise | reused", "pathwise, clipped to [0.2, 2] (RPO) | reused")  # fmt: skip
    for name, (key, each) in zip(names, found["known"].items(), strict=True):
        early = each["median"][min(range(len(each["samples"])), key=lambda i, each=each: abs(each["samples"][i] - 640))]
        others = [found["last_median"][rate][key] for rate in ("0.02", "0.1")]
        medians = [f"{x:.2g}" if x >= 0.001 else fixed(x, 4) for x in (each["median"][-1], early, *others)]
        cells = [*medians[:2], f"{100 * each['diverged']:.0f} %", *medians[2:]]
        yield "docs/study.md", f"| {name} | {' | '.join(cells)} |"


def hand() -> Claims:
    page, run = "docs/tasks.md", "hand_reorient"
    whole, cut = f"{run}/rpo-full_graphs", f"{run}/rpo"
    returns = (f"{at(each, 0.8)}, {at(each, 2.0)}, {final(each)}" for each in (cut, whole))
    yield page, f"| sampled return at 0.8 M, 2.0 M, the end | {' | '.join(returns)} |"
    table = PAPER["table1"][run]
    yield (
        page,
        (
            f"**{final(cut)} with sampled and {final(cut, 'deterministic')} with deterministic actions; the paper has {paper(run)}**"
        ),
    )
    for name, text in (("sapo", "SAPO gets {} and {} (the paper {:.0f})"), ("shac", "SHAC {} and {} ({:.0f})")):
        each = f"{run}/{name}"
        yield page, text.format(final(each), final(each, "deterministic"), table[name][0])
    each = f"{run}/rpo-no_clip"
    yield page, f"RPO gets {final(each)} with sampled and {final(each, 'deterministic')} with deterministic actions"


def prose() -> Claims:
    """Returns in sentences."""
    ant, folder = "ant/rpo", f"{STUDY}/ant"
    best = f"{final(ant)} with sampled and {final(ant, 'deterministic')} with deterministic actions"
    yield "docs/rpo.md", f"At the end {best}; the paper reports {paper('ant')} and {paper('ant', 'table6')} over 24 runs."
    pairs = {
        name: " and ".join(final(f"ant/{name}/seed_{seed}") for seed in seeds)
        for name, seeds in {"rpo-first_million": (1, 2), "rpo-random_progress": (1, 2), "rpo-short_schedule": (0, 1)}.items()
    }
    yield "docs/rpo.md", f"stopped after 1 M steps of the same schedule, stood at {pairs['rpo-first_million']}."
    yield "docs/rpo.md", f"seeds 1 and 2 stand at {pairs['rpo-random_progress']} (`results/ant/rpo-random_progress`)"
    yield "docs/study.md", f"left Ant at {pairs['rpo-short_schedule']} (seeds 0 and 1, `results/ant/rpo-short_schedule`)"
    two = {name: ", ".join(final(f"{folder}/{name}/seed_{seed}") for seed in (0, 1)) for name in ("rpo", "sapo")}
    yield "docs/study.md", f"At 2 M steps two seeds do not tell RPO ({two['rpo']}) from SAPO ({two['sapo']})"
    page = "docs/tasks.md"
    walker, cartpole = ((final(run), final(run, "deterministic")) for run in ("walker/rpo", "cartpole/rpo"))
    time = minutes("walker/rpo")
    yield page, f"2 M steps in {time} minutes on one core (`results/walker`): {walker[0]} with sampled and {walker[1]} with"
    yield page, f"Cartpole, 2 M steps: {' and '.join(cartpole)} (240 steps"
    lengths = [fixed(summary("humanoid/rpo")["eval"][kind]["length"]) for kind in ("sampled", "deterministic")]
    yield page, f"Sampled episodes of the final one last {lengths[0]} steps on average, deterministic ones {lengths[1]}."
    hand = "hand_reorient/rpo"
    yield page, f"4.1 M steps of 64 environments in {minutes(hand)} minutes on one core"
    yield page, f"their standard deviation is {fixed(summary(hand)['eval']['sampled']['std'])}."
    whole = "hand_reorient/rpo-full_graphs"
    yield page, f"reaches {at(whole, 2.9)} at 2.9 M steps and ends at {final(whole)}:"
    go1 = of("go1_walk/rpo/seed_0")
    off = [
        fixed(go1[name], 3)
        for name in ("velocity_error", "turning_error", "velocity_error_settled", "turning_error_settled")
    ]
    yield (
        "docs/robots.md",
        f"off by {off[0]} m/s and the rate of turning by {off[1]} rad/s in the mean, by {off[2]} and {off[3]}",
    )
    without = " and ".join(final(f"ant/rpo-first_million/seed_{seed}") for seed in (1, 2))
    rounded = " and ".join(final(f"ant/rpo-bf16/seed_{seed}") for seed in (1, 2))
    yield "docs/rpo.md", f"seeds 1 and 2 stand at {rounded} with it, and at {without} without"
    one, other = without.split(" and ")
    yield "docs/tutorial/many_runs.md", f"was {one} with one seed and {other} with another."
    ends = [f"{PAPER['table1']['ant'][name][0]:.0f}" for name in ("gippo", "sapo", "shac")]
    yield "docs/study.md", f"it ends below both ({ends[0]} against {ends[1]} and {ends[2]} after 10 M)"
    worst = max(of(f"arm_reach/rpo/seed_{seed}", "tracking")["largest"] for seed in (0, 1))
    yield page, f"a steady error, of {fixed(1e3 * worst)} mm at most"
    yield page, f"It passes {at(hand, 2.0)} at 2.0 M and {at(hand, 2.5)} at 2.5 M."
    yield page, f"the episodes of that evaluation last {at('anymal/rpo', 0.8, 'eval/length')} steps on average"
    rates = record("benchmarks/algorithms.json")["algorithms"]
    seconds = {name: fixed(found["rollout"] + found["update"], 2) for name, found in rates.items()}
    yield (
        "docs/results.md",
        (
            f"takes {seconds['rpo']} s with RPO, {seconds['sapo']} with SAPO, {seconds['shac']} with SHAC, {seconds['gippo']} "
            f"with GI-PPO, {seconds['ppo']} with PPO and {seconds['sac']} with SAC"
        ),
    )


CLAIMS = (
    main_table,
    physics,
    results_page,
    speed,
    exact_physics,
    control_suite,
    gymnasium,
    legged,
    few_robots,
    tracking,
    curves,
    reppo_on_ant,
    toy,
    hand,
    prose,
)
