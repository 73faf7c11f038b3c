"""Several seeds in one process: each run is what it would be alone."""

import shutil
from dataclasses import fields

import pytest
import torch
from lightning import Fabric
from torch import Tensor

from rpo_lightning.algorithms import NAPG, PPO, RPO, SAPO, SHAC
from rpo_lightning.algorithms.containment import NonFiniteError
from rpo_lightning.algorithms.stack import Stack
from rpo_lightning.algorithms.together import Together, check_modules
from rpo_lightning.callbacks import Curriculum, EffectiveSamples, Evaluation, Evidence, KLTuner, LastAndBest, NaNGuard
from rpo_lightning.envs.cartpole import Cartpole
from rpo_lightning.envs.together import TogetherEnv, check_env
from rpo_lightning.fabric import FabricDriver
from rpo_lightning.nn import GRUActor
from rpo_lightning.rollout import RolloutDataModule
from rpo_lightning.rollout.together import TogetherCollector
from rpo_lightning.seeds import SeedsDriver

SEEDS = (0, 1, 2)
SMALL = {"hidden": (8, 8), "critic_epochs": 2}


def make(seed, task="cartpole", algorithm=RPO, num_envs=6, horizon=8, total=10_000, **options):
    """A module and its data, as the run of a seed has them."""
    torch.manual_seed(seed)
    given = {"random_progress": True, "noise_correlation": 0.5}
    data = RolloutDataModule(task, num_envs, horizon, iterations_per_epoch=3, seed=seed, **given)
    dimensions = {"privileged_dim": data.privileged_dim, "total_env_steps": total}
    module = algorithm(data.obs_dim, data.action_dim, **{**dimensions, **SMALL, **options})
    data.attach(module).setup("fit")
    return module, data


def weights(module):
    return {name: each.detach().clone() for name, each in module.state_dict().items()}


def assert_close(ours, theirs, rtol=1e-4, atol=1e-6):
    torch.testing.assert_close(ours, theirs, rtol=rtol, atol=atol, equal_nan=True)


def assert_same_state(ours, theirs):
    """Compare the states of two collectors, random numbers included."""
    assert ours.keys() == theirs.keys()
    for name, value in ours.items():
        if isinstance(value, dict):
            assert_same_state(value, theirs[name])
        elif isinstance(value, Tensor):
            assert_close(value, theirs[name], 1e-4, 1e-4)


@pytest.mark.parametrize(
    "task",
    [
        {"name": "cartpole", "init_args": {"randomize": {"mass": {"scale": [0.8, 1.25]}}, "shortest_episode": 3}},
        {
            "name": "hopper",
            "init_args": {"history": 2, "action_delay": [0, 2]},
        },
        {"name": "quadruped", "init_args": {"command_seconds": 0.1, "push_seconds": 0.1}},
        {"name": "quadruped_rough", "init_args": {"terrain": ["rough", "stairs", "blocks", "slopes"]}},
    ],
    ids=["cartpole", "hopper", "quadruped", "quadruped_rough"],
)
def test_windows_and_states_are_those_of_each_seed_alone(task):
    task["init_args"]["episode_length"] = 10  # so that episodes end, and stores are filled anew
    alone, beside = ([make(seed, task) for seed in SEEDS] for _ in range(2))
    together = Together([module for module, _ in beside], stacked=False)
    collector = TogetherCollector([data.collector for _, data in beside])
    ended = 0
    for _ in range(5):
        ours = collector.collect_each(together)
        for (module, data), window in zip(alone, ours, strict=True):
            own = data.collector.collect(module)
            assert own.seed == window.seed
            ended += int(own.done.sum())
            for field in fields(own):
                if isinstance(value := getattr(own, field.name), Tensor):
                    assert_close(getattr(window, field.name), value, 1e-3, 1e-3)
    assert ended > 20
    for (_, one), (_, other) in zip(alone, beside, strict=True):
        assert_same_state(one.collector.state_dict(), other.collector.state_dict())


def test_a_task_that_draws_elsewhere_is_refused():
    class Shaky(Cartpole):
        def observe(self, q, qd, action):
            return super().observe(q, qd, action) + 0.01 * self.uniform(-1.0, 1.0, self.obs_dim)

    runs = [make(seed, Shaky) for seed in SEEDS]
    collector = TogetherCollector([data.collector for _, data in runs])
    with pytest.raises(ValueError, match="cartpole draws random numbers elsewhere than in random_start"):
        collector.collect_each(Together([module for module, _ in runs], stacked=False))


def test_environments_that_cannot_step_together_are_refused():
    from rpo_lightning import make as make_env

    with pytest.raises(ValueError, match="only environments of the same task, options and number"):
        TogetherEnv([make_env("cartpole", 2), make_env("cartpole", 3)])
    with pytest.raises(ValueError, match="hand_reorient: with these options the end of an episode touches other"):
        check_env(make_env("hand_reorient", 1))
    check_env(make_env("hand_reorient", 1, cut_together=False))

    class Listed(Cartpole):
        def prepare(self):
            self.seen = [torch.zeros(self.num_envs)]

    with pytest.raises(ValueError, match="seen keeps tensors of all environments in a list"):
        TogetherEnv([Listed(2), Listed(2)])


def learn(runs, stacked, windows=3):
    """Train without a driver; return the last metrics."""
    together = Together([module for module, _ in runs], stacked)
    collector = TogetherCollector([data.collector for _, data in runs])
    for _ in range(windows):
        batches = collector.collect_each(together)
        checked = [module.check(batch) for (module, _), batch in zip(runs, batches, strict=True)]
        metrics = together.update(batches, [each.skipped for each in checked])
        rows = zip(runs, batches, checked, metrics, strict=True)
        outputs = [module.conclude(*rest) for (module, _), *rest in rows]
    return outputs


def learn_alone(runs, windows=3):
    """The same with each run by itself."""
    return [[module.training_step(data.collector.collect(module), 0) for _ in range(windows)][-1] for module, data in runs]


CASES = {
    "rpo": (RPO, "cartpole", {}),
    "rpo, privileged": (RPO, "quadruped", {}),
    "rpo, other options": (RPO, "cartpole", {"discounted_regularizers": True, "shuffle": True, "lr_schedule": "kl",
                                             "target_smoothing": 0.5, "bootstrap_state": "current"}),
    "rpo, limits": (RPO, "cartpole", {"kl_limit": 1e-3, "gradient_limit": 1.5}),
    "napg": (NAPG, "cartpole", {"radius": 0.05, "iterations": 4}),
    "shac": (SHAC, "hopper", {}),
    "sapo": (SAPO, "cartpole", {}),
}  # fmt: skip


@pytest.mark.parametrize("stacked", [False, True], ids=["in turn", "stacked"])
@pytest.mark.parametrize("case", CASES)
def test_learning_is_that_of_each_seed_alone(case, stacked):
    algorithm, task, options = CASES[case]
    alone, beside = ([make(seed, task, algorithm, **options) for seed in SEEDS] for _ in range(2))
    theirs, ours = learn_alone(alone), learn(beside, stacked)
    for (one, _), (other, _), metrics, expected in zip(alone, beside, ours, theirs, strict=True):
        timeless = {name: value for name, value in expected.items() if not name.startswith("time/")}
        assert_close({name: metrics[name] for name in timeless}, timeless, 1e-3, 1e-5)
        assert_close(weights(other), weights(one), 1e-4, 1e-5)
    assert not torch.equal(
        weights(beside[0][0])["critics.ensemble.0.0.weight"], weights(make(0)[0])["critics.ensemble.0.0.weight"]
    )


@pytest.mark.parametrize(("name", "value"), [("horizon", 9), ("noise_correlation", 0.25)])
def test_windows_of_different_kinds_are_refused(name, value):
    (_, first), (_, second) = make(0), make(1)
    setattr(second.collector, name, value)
    with pytest.raises(ValueError, match=f"Runs whose {name} is .*{value}.* cannot train in one process"):
        TogetherCollector([first.collector, second.collector])


def test_numbers_may_differ_between_stacked_runs():
    swept = {
        "kl_coef": [0.1, 0.2, 0.9],
        "actor_lr": [1e-4, 5e-4, 2e-3],
        "entropy_coef": [0.0, 0.1, 0.4],
        "discount": [0.9, 0.95, 1.0],
        "kl_limit": [1e-3, torch.inf, 1e-2],
        "gradient_limit": [1.5, 3.0, torch.inf],
    }
    alone, beside = (
        [make(seed, **{name: values[seed] for name, values in swept.items()}) for seed in SEEDS] for _ in range(2)
    )
    learn_alone(alone)
    learn(beside, stacked=True)
    for (one, _), (other, _) in zip(alone, beside, strict=True):
        assert_close(weights(other), weights(one), 1e-4, 1e-5)
    with pytest.raises(ValueError, match="actor_epochs 2 and 3 cannot train stacked; what can differ: actor_lr"):
        Stack([make(seed, actor_epochs=seed + 2)[0] for seed in SEEDS])


def test_radii_and_weights_may_differ_between_stacked_runs():
    swept = {"radius": [0.3, 0.05, 0.02], "final_radius": [0.01, 0.02, 0.02], "kl_coef": [0.0, 0.25, 5.0]}
    alone, beside = (
        [
            make(seed, algorithm=NAPG, iterations=4, damping=1.0, **{name: values[seed] for name, values in swept.items()})
            for seed in SEEDS
        ]
        for _ in range(2)
    )
    learn_alone(alone)
    learn(beside, stacked=True)
    for (one, _), (other, _) in zip(alone, beside, strict=True):
        assert_close(weights(other), weights(one), 1e-3, 1e-4)


def test_a_gradient_that_is_not_finite_is_refused_for_its_seed_alone():
    runs = [make(seed) for seed in SEEDS]
    stack = Together([module for module, _ in runs], stacked=True)
    batches = TogetherCollector([data.collector for _, data in runs]).collect_each(stack)
    batches[1].action_grad.fill_(torch.inf)
    before = [weights(module) for module, _ in runs]
    stack.update(batches, [False] * 3)
    assert [int(module.nonfinite_updates) for module, _ in runs] == [0, runs[1][0].actor_epochs, 0]
    moved = [
        not torch.equal(weights(m)["actor.mlp.0.weight"], b["actor.mlp.0.weight"])
        for (m, _), b in zip(runs, before, strict=True)
    ]
    assert moved == [True, False, True]


def test_a_window_that_is_skipped_leaves_the_others_learning():
    runs = [make(seed) for seed in SEEDS]
    stack = Together([module for module, _ in runs], stacked=True)
    batches = TogetherCollector([data.collector for _, data in runs]).collect_each(stack)
    before = [weights(module) for module, _ in runs]
    metrics = stack.update(batches, [True, False, False])
    assert [len(each) > 0 for each in metrics] == [False, True, True]
    assert all("actor/effective_samples" in each for each in metrics[1:])
    assert_close(weights(runs[0][0]), before[0], 0.0, 0.0)
    assert not torch.equal(weights(runs[2][0])["actor.mlp.0.weight"], before[2]["actor.mlp.0.weight"])


def test_other_algorithms_and_remembering_actors_are_refused():
    with pytest.raises(ValueError, match="PPO: several runs in one process are for RPO, NAPG, SHAC, SAPO only"):
        check_modules([PPO(4, 1, 1000)])
    with pytest.raises(ValueError, match="RPO and SHAC cannot train in one process"):
        check_modules([RPO(4, 1, 1000), SHAC(4, 1, 1000)])
    with pytest.raises(ValueError, match="GRUActor has a hidden state"):
        check_modules([RPO(4, 1, 1000, actor=GRUActor)])


# ---- the driver ------------------------------------------------------------------------------------------------------


class Vain(RPO):
    """Gives up in its third iteration with seed 1."""

    def conclude(self, *args):
        if self.iteration == 2 and self.facts["seed"] == 1:
            raise NonFiniteError("seed 1 gave up")
        return super().conclude(*args)


SHORT = {"name": "cartpole", "init_args": {"episode_length": 20}}


def driver(seed, root, max_steps=-1, algorithm=RPO, task=SHORT, more=(), **options):
    module, data = make(seed, task, algorithm, total=9 * 48, **options)
    callbacks = [EffectiveSamples(), Evaluation(episodes=2), NaNGuard(), Evidence(), *more, LastAndBest()]
    fabric = Fabric(accelerator="cpu", callbacks=callbacks)
    return FabricDriver(fabric, module, data, callbacks, root / f"seed_{seed}", max_steps=max_steps)


def policies(root):
    return [torch.load(root / f"seed_{seed}/checkpoints/last.ckpt", weights_only=True) for seed in SEEDS]


@pytest.mark.parametrize("done", [(6, 4, 4), (4, 6, 6)], ids=["two behind", "one behind"])
def test_runs_are_resumed_together_and_alone_also_from_different_steps(tmp_path, done):
    for seed in SEEDS:
        driver(seed, tmp_path / "alone", more=[KLTuner()]).fit()
    root = tmp_path / "beside"
    SeedsDriver([driver(s, root, done[s], more=[KLTuner()]) for s in SEEDS], stacked=True).fit()
    assert [each["rpo_lightning"]["iteration"] for each in policies(root)] == list(done)
    shutil.copytree(root, tmp_path / "one")
    last = [root / f"seed_{seed}/checkpoints/last.ckpt" for seed in SEEDS]
    SeedsDriver([driver(seed, root, more=[KLTuner()]) for seed in SEEDS], stacked=True).fit(last)
    driver(1, tmp_path / "one", more=[KLTuner()]).fit(tmp_path / "one/seed_1/checkpoints/last.ckpt")
    expected = policies(tmp_path / "alone")
    for seed, ours in enumerate(policies(root)):
        assert_close(ours["state_dict"], expected[seed]["state_dict"], 1e-3, 1e-5)
        assert {path.name for path in (root / f"seed_{seed}").iterdir()} >= {
            "config.yaml",
            "curve.csv",
            "summary.json",
            "policy.pt",
        }
    one = torch.load(tmp_path / "one/seed_1/checkpoints/last.ckpt", weights_only=True)
    assert_close(one["state_dict"], expected[1]["state_dict"], 1e-3, 1e-5)


def test_what_cannot_be_stacked_is_refused_before_training(tmp_path):
    with pytest.raises(ValueError, match="actor_epochs 2 and 3 cannot train stacked"):
        SeedsDriver([driver(seed, tmp_path, actor_epochs=seed + 2) for seed in SEEDS], stacked=True)


def test_the_environments_of_training_are_those_that_must_step_together(tmp_path):
    task = {"name": "hand_reorient", "init_args": {"cut_together": False}}
    run = driver(0, tmp_path, task=task)
    run.data.training = {"cut_together": True}
    with pytest.raises(ValueError, match="touches other environments"):
        SeedsDriver([run])


def test_noise_goes_on_for_each_run_and_begins_where_there_was_none():
    alone, beside = ([make(seed) for seed in (0, 1)] for _ in range(2))
    for runs in (alone, beside):
        for module, data in runs:
            data.collector.collect(module)
        runs[1][1].collector._last_noise.fill_(torch.nan)  # as after a checkpoint of before
    expected = [data.collector.collect(module) for module, data in alone]
    found = TogetherCollector([data.collector for _, data in beside]).collect_each(
        Together([module for module, _ in beside], stacked=False)
    )
    for one, other in zip(expected, found, strict=True):
        assert_close(other.sample, one.sample, 1e-4, 1e-4)


def test_a_run_that_gives_up_leaves_the_others_to_go_on(tmp_path):
    several = SeedsDriver([driver(seed, tmp_path, algorithm=Vain) for seed in SEEDS])
    with pytest.raises(NonFiniteError, match="seed 1 gave up"):
        several.fit()
    assert [(tmp_path / f"seed_{seed}/summary.json").exists() for seed in SEEDS] == [True, False, True]


def test_a_curriculum_moves_the_environments_of_its_seed(tmp_path):
    task = {"name": "quadruped_rough", "init_args": {"episode_length": 5}}
    options = {"task": task, "max_steps": 3}
    runs = [driver(seed, tmp_path, more=[Curriculum(up=-1e9, down=-1e9, step=0.2)], **options) for seed in SEEDS[:2]]
    before = [run.data.collector.env.difficulty.clone() for run in runs]
    several = SeedsDriver(runs)
    several.fit()
    states = [torch.load(tmp_path / f"seed_{s}/checkpoints/last.ckpt", weights_only=True) for s in SEEDS[:2]]
    for state, difficulty in zip(states, before, strict=True):
        now = state["RolloutDataModule"]["ranks"][0]["env"]["difficulty"]
        assert (now >= difficulty).all()
        assert now.mean() > difficulty.mean()
