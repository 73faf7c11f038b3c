"""A run that begins with the weights of another."""

import json

import pytest
import torch
import yaml

import rpo_lightning
from rpo_lightning import fine_tuning, policies, pretrained, runs
from rpo_lightning.algorithms import GIPPO, RPO, SAPO
from rpo_lightning.cli import main
from rpo_lightning.nn import FreeStdActor
from tests.algorithms.drivers import make_algorithm
from tests.command_line import LAST, RUN, call, refused


def trained(name, **options):
    """A module whose weights and statistics are not those it has at first."""
    module = make_algorithm(name, **options)
    module.normalizer.update(torch.randn(50, module.obs_dim) + 2.0)
    with torch.no_grad():
        for weight in module.parameters():
            weight.add_(0.1 * torch.randn_like(weight))
    return module


def written(folder, module):
    policies.write_policy(folder / "policy.pt", module, runs.Run(folder, "toy", module.name, 0, "", ""))
    return folder / "policy.pt"


def test_a_policy_gives_actor_and_normaliser_and_the_rest_is_named(tmp_path):
    source, module = trained("rpo"), make_algorithm("rpo")
    source.env_steps = 500
    critic = module.critics.state_dict()
    said = rpo_lightning.init_from(module, written(tmp_path, source))
    obs = torch.randn(4, 3)
    assert torch.equal(module.act(obs, deterministic=True), source.act(obs, deterministic=True))
    assert torch.equal(module.normalizer.var, source.normalizer.var)
    assert all(torch.equal(value, module.critics.state_dict()[name]) for name, value in critic.items())
    assert (module.env_steps, module.iteration) == (0, 0)
    assert said == (
        f"beginning with actor, normalizer of {tmp_path}/policy.pt (rpo on toy); new, for it has nothing that fits: critics."
    )
    assert module.source == {"path": f"{tmp_path}/policy.pt", "task": "toy", "algorithm": "rpo", "env_steps": 500}


def test_another_algorithm_takes_an_actor_that_fits_and_says_if_it_acts_otherwise(tmp_path):
    path = written(tmp_path, trained("rpo"))
    sapo = make_algorithm("sapo")
    assert "give other" not in rpo_lightning.init_from(sapo, path)
    assert "; its weights give other exploration here." in rpo_lightning.init_from(make_algorithm("reppo"), path)
    elu = RPO(3, 1, 1000, hidden=(16, 16), actor=lambda *sizes: rpo_lightning.nn.Actor(*sizes, (16, 16), activation="elu"))
    assert "; its weights give other actions and other exploration here." in rpo_lightning.init_from(elu, path)


@pytest.mark.parametrize(
    ("module", "words"),
    [
        (lambda: RPO(4, 1, 1000), "it was trained with 3 observations, and this task has 4"),
        (lambda: RPO(3, 2, 1000), "it was trained with 1 actions, and this task has 2"),
        (lambda: RPO(3, 1, 1000, hidden=(8,)), "its actor is another one, actor.mlp.0.weight is (16, 3) in it and (8, 3)"),
        (
            lambda: SAPO(3, 1, 1000, actor=FreeStdActor),
            "its actor is another one, actor.log_std is only in the configured one",
        ),
    ],
)
def test_what_does_not_fit_is_refused_in_a_line(module, words, tmp_path):
    module = module()
    before = {name: value.clone() for name, value in module.state_dict().items()}
    with pytest.raises(ValueError, match="cannot be where to begin") as error:
        rpo_lightning.init_from(module, written(tmp_path, trained("rpo")))
    assert words in str(error.value)
    assert "\n" not in str(error.value)
    assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items())


def test_what_training_moves_begins_as_configured(tmp_path, folder):
    call("fit", "--trainer.max_steps=2", "--model.kl_coef=0.5")
    module = RPO(3, 1, 1000, hidden=(8,), kl_coef=0.1)
    said = fine_tuning.init_from(module, RUN / LAST)
    assert float(module.kl_coef) == pytest.approx(0.1)
    assert "nothing that fits" not in said
    last = torch.load(RUN / LAST, weights_only=True)["state_dict"]
    assert all(torch.equal(value, last[name]) for name, value in module.state_dict().items() if name != "kl_coef")


def test_steps_found_by_training_begin_as_configured(tmp_path, folder):
    call(
        "fit",
        "--trainer.max_steps=2",
        "--model=GIPPO",
        "--model.init_args.total_env_steps=1000",
        "--model.init_args.hidden=[8]",
    )
    (last,) = folder.glob("runs/point_mass/gippo/seed_0/checkpoints/last.ckpt")
    module = GIPPO(3, 1, 1000, hidden=(8,))
    before = {name: value.clone() for name, value in module.state_dict().items() if "." not in name}
    assert not all(torch.equal(value, torch.load(last)["state_dict"][name]) for name, value in before.items())
    fine_tuning.init_from(module, last)
    assert all(torch.equal(value, module.state_dict()[name]) for name, value in before.items())


@pytest.mark.parametrize("command", ["fit", "fabric"])
def test_a_run_begins_at_the_level_of_its_source_and_goes_on_by_itself(command, folder, capsys):
    call("fit", "--model.actor_lr=0.01")
    level = json.loads((RUN / "summary.json").read_text())["eval"]["sampled"]["mean"]
    options = ("--init_from", str(RUN / "policy.pt"), "--trainer.default_root_dir=tuned", "--model.actor_lr=1e-9")
    more = ("--trainer.max_steps=4", "--trainer.check_val_every_n_epoch=1", "--trainer.callbacks+=Evidence")
    capsys.readouterr()
    call(command, *options, *more)
    assert f"beginning with actor, normalizer of {RUN}/policy.pt (rpo on point_mass)" in capsys.readouterr().err
    summary = json.loads((folder / "tuned/summary.json").read_text())
    assert summary["env_steps"] == 256
    assert summary["init_from"] == {
        "path": str(RUN / "policy.pt"), "task": "point_mass", "algorithm": "rpo", "env_steps": 768,
    }  # fmt: skip
    assert summary["eval"]["sampled"]["mean"] == pytest.approx(level, rel=0.05)
    call("fit", "--trainer.default_root_dir=fresh", "--model.actor_lr=1e-9", *more)
    fresh = json.loads((folder / "fresh/summary.json").read_text())
    assert "init_from" not in fresh
    assert fresh["eval"]["sampled"]["mean"] < level - 0.2 * abs(level)
    assert yaml.safe_load((folder / "tuned/config.yaml").read_text())["init_from"] == str(RUN / "policy.pt")
    assert "init_from" not in yaml.safe_load((folder / "fresh/config.yaml").read_text())
    capsys.readouterr()
    main(["validate", "--ckpt_path", "tuned/policy.pt"])  # whose config.yaml names where it began
    assert json.loads(capsys.readouterr().out) == summary["eval"]
    (folder / RUN / "policy.pt").unlink()  # a job that is started again needs it no more
    call(command, *options, "--ckpt_path=last")
    assert (
        f"init_from {RUN}/policy.pt is left alone: the run goes on from tuned/checkpoints/last.ckpt"
        in capsys.readouterr().err
    )
    assert json.loads((folder / "tuned/summary.json").read_text())["init_from"] == summary["init_from"]


def test_mistakes_are_told_in_a_line(folder, capsys):
    assert "No policy at none.pt." in refused(capsys, "fit", "--config", "tiny.yaml", "--init_from=none.pt")
    for command, policy in (("fit", "ant"), ("fabric", str(pretrained.find("ant")))):
        line = refused(capsys, command, "--config", "tiny.yaml", f"--ckpt_path={policy}")
        assert f"error: {policy} is a policy: it has no state of training" in line
        assert f"--init_from {policy} begins a new run with its weights" in line
    line = refused(capsys, "fit", "--config", "tiny.yaml", "--init_from=ant")
    assert "it was trained with 37 observations, and this task has 3" in line
    assert not (folder / "runs").exists()
