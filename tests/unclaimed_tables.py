"""Tables of README and docs whose numbers `tests.measured_claims` does not write anew, by the reason."""

UNCLAIMED = {
    "nothing measured by us: what a task, an option or another's code is": {
        "docs/baselines.md": ["| | learns from | actor steps per window | critics | schedule | of the reference code, not carried over |"],
        "docs/contact.md": ["| | unit | meaning | how to choose |"],
        "docs/deploy.md": ["| | | |", "| | |"],
        "docs/legged.md": ["| kind | at difficulty 1 | at difficulty d |", "| weight | term | what, in which units |"],
        "docs/napg.md": ["| option | default | what it decides |"],
        "docs/own_robot.md": ["| in the file | simulated | action -1 ... 1 |"],
        "docs/parameters.md": ["| kind | what | named by |"],
        "docs/python.md": ["| callback | without it |"],
        "docs/reppo.md": ["| | here | `compat: paper` |", "| | torch | JAX (the paper's runs) | latest single file | port to rsl_rl |"],
        "docs/rpo.md": ["| option | default | what it decides |"],
        "docs/steps.md": ["| word | meaning | Ant |"],
        "docs/tasks.md": [
            "| option | `paper` | `right` |", "| task | observations | actions | reward of a step | fails when |", "| | |",
        ],
        "docs/tutorial/from_file_to_robot.md": ["| what gradients do not like | how it shows | what to do |"],
        "docs/viewing.md": ["| ending | |", "| in the page | in the window | |"],
        "README.md": ["| | rpo-lightning | DFlex, code of SHAC | mineral + Rewarped | Newton | MJX + Brax | Isaac Lab |"],
        "docs/comparison.md": ["| | rpo-lightning | DFlex, code of SHAC | mineral + Rewarped | Newton | MJX + Brax | Isaac Lab |"],
    },
    "compared with what makes it in another test": {
        "docs/task_tables.md": ["| | actuator | on | control | force |", "| | quantity | unit | frame |"],
        "docs/results.md": [
            "| task | algorithm | environment steps | seeds | return, sampled | return, deterministic | paper, sampled | wall-clock per run |"
        ],
        "docs/engine.md": ["| | before | now |"],
    },
    "measured once, in no file of results/: only a rerun of what the page names would tell": {
        "docs/baselines.md": ["| | tries taken back | share inside the clip range | KL(old, new) after the alpha step | after PPO |"],
        "docs/contact.md": [
            "| Hopper's limit `ke kd` | 1000 2.5 | 1000 10 | 1000 40 | 16 000 10 | 256 000 10 |",
            "| friction | `kf` 1000 | 5000 | 15 000 |", "| ke | depth at rest | omega | 2 substeps | 8 | 16 | 32 |",
            "| pair | apart | touching in every environment |",
        ],
        "docs/deploy.md": [
            "| MuJoCo with | Ant, RPO | Ant, REPPO, 0.6 million steps |", "| policy | this engine | MuJoCo |",
            "| policy | `policy.act` from float64 | onnxruntime from float64 | onnxruntime from `policy.act` "
            "| `act` of one observation from `act` of a batch |",
        ],
        "docs/engine.md": ["| | ant | anymal | humanoid (16 substeps) |"],
        "docs/few_robots.md": ["| steps | Hopper | Anymal | Humanoid |", "| | after | sampled | deterministic |"],
        "docs/napg.md": ["| direction | 0.003 | 0.01 | 0.03 | 0.1 | 0.3 | 1 |", "| | after | sampled | deterministic |"],
        "docs/legged.md": [
            "| ground | seed 0 | seed 1 | level ground's, with which it began |",
            "| task | after 1 step | 16 steps | 50 steps | per step | error |",
        ],
        "docs/tutorial/many_runs.md": ["| | rollout | learning | together |"],
        "docs/own_robot.md": ["| | ball to goal after 4 s | return |"],
        "docs/parameters.md": [
            "| iteration | median miss | largest miss | within 5 cm |", "| | unknowns | to 10 % | to 5 % | to 2 % | in the end |",
        ],
        "docs/tasks.md": ["| robots, observations | training return | seconds | m/s off |", "| | cut together | full graphs |"],
    },
    "claimed but for MuJoCo's columns, other figures of eight and one time, which are in no file": {
        "README.md": ["| robot | steps, minutes of a core | velocity off by [m/s] | falls | MuJoCo: off by, falls |"],
        "docs/tasks.md": [
            "| | distance after 1 s, mean | median | 95 % are below | below 2 cm | after 0.4 s, mean | in MuJoCo, mean |",
            "| | falls | forward, commanded | velocity off by, settled | turning off by | soles that touch slide at | legs touch |",
            "| | figures as drawn | 2 m x 1 m in 6 s | the same, 0.4 m high | in MuJoCo |",
            "| | steps, CPU | m/s off | rad/s off | falls of 128 | feet slide | MuJoCo: m/s off | rad/s off | falls |",
        ],
    },
}  # fmt: skip
"""Tables with numbers that no claim covers, by why."""
