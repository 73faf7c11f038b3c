"""Policies in Python: from a policy.pt, a checkpoint or a name, built from what the file says and nothing else."""

import sys
import textwrap
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

import rpo_lightning
from rpo_lightning import policies, pretrained, runs
from rpo_lightning.algorithms import RPO
from rpo_lightning.cli import main
from rpo_lightning.nn import GRUActor
from rpo_lightning.trained_policy import load_policy
from tests.algorithms.drivers import ALGORITHMS, make_algorithm
from tests.command_line import LAST, RUN, call, refused


def written(folder, module):
    policies.write_policy(folder / "policy.pt", module, runs.Run(folder, "toy", module.name, 3, "", ""))
    return folder / "policy.pt"


@pytest.mark.parametrize("name", ALGORITHMS)
def test_every_algorithm_is_built_from_its_file(name, tmp_path):
    module, obs = make_algorithm(name), torch.randn(5, 3)
    module.normalizer.update(torch.randn(50, 3) + 4.0)
    path = written(tmp_path, module)
    torch.manual_seed(7)
    drawn = torch.rand(3)
    torch.manual_seed(7)
    policy = rpo_lightning.load_policy(path)
    assert torch.equal(torch.rand(3), drawn), "loading draws from the caller's random numbers"
    assert torch.equal(policy.act(obs), module.act(obs, deterministic=True))
    first, again = (policy.act(obs, deterministic=False, generator=torch.Generator().manual_seed(1)) for _ in range(2))
    assert torch.equal(first, again)
    assert not torch.equal(first, policy.act(obs))
    assert policy.metadata["model"]["init_args"]["obs_dim"] == policy.obs_dim == 3
    assert (policy.metadata["algorithm"], policy.metadata["task"], policy.metadata["seed"]) == (name, "toy", 3)
    assert path.stat().st_size < 1_000_000


def test_one_robot_or_many_tensors_or_arrays(tmp_path):
    policy = load_policy(written(tmp_path, make_algorithm("rpo")))
    obs = torch.randn(4, 3)
    action = policy.act(obs)
    assert torch.equal(policy.act(obs[2]), policy.act(obs[2:3])[0])
    assert policy.act(obs[2]).shape == (1,)
    assert policy.act(obs.numpy()).dtype == np.float32
    np.testing.assert_array_equal(policy.act(obs.double().numpy()), action.numpy())
    np.testing.assert_allclose(policy.act(obs[2].tolist()), action[2].numpy(), atol=1e-6)
    for wrong in (torch.zeros(4), torch.zeros(2, 4), torch.zeros(1, 1, 3)):
        with pytest.raises(ValueError, match=r"obs must have shape \(N, 3\) or \(3,\), not"):
            policy.act(wrong)


def test_what_remembers_is_reset(tmp_path):
    module = RPO(3, 1, 1000, hidden=(8,), actor=partial(GRUActor, hidden=(8,), state_size=6))
    policy, obs = load_policy(written(tmp_path, module)), torch.randn(3, 4, 3)
    play = module.player(4, deterministic=True)
    expected = [play(each) for each in obs]
    assert all(torch.equal(policy.act(each), action) for each, action in zip(obs, expected, strict=True))
    with pytest.raises(ValueError, match=r"remembers 4 episodes, obs is of 2: call reset\(\) between"):
        policy.act(obs[0, :2])
    policy.reset(np.array([True, False, False, False]))
    mixed = policy.act(obs[0])
    policy.reset()
    first = policy.act(obs[0])
    assert torch.equal(first, expected[0])
    torch.testing.assert_close(mixed[0], first[0])
    assert (mixed[1:] != first[1:]).all()


def test_a_run_leaves_checkpoints_and_a_policy_that_say_the_same(folder):
    call("fit", "--trainer.max_steps=4", "--data.env=tests.toy.PointMass")
    from_policy, from_checkpoint = load_policy(RUN / "policy.pt"), load_policy(RUN / LAST)
    obs = torch.randn(6, 3)
    assert torch.equal(from_policy.act(obs), from_checkpoint.act(obs))
    assert from_policy.metadata == from_checkpoint.metadata
    told = from_policy.metadata
    assert told["env"] == {"name": "tests.toy.PointMass", "init_args": {}}
    assert told["model"]["class_path"] == "rpo_lightning.algorithms.rpo.RPO"
    assert (told["task"], told["env_steps"], told["obs_dim"]) == ("point_mass", 256, 3)
    assert told["commit"]


def test_networks_of_ones_own_are_imported_or_named(folder, capsys):
    (folder / "mine.py").write_text(
        textwrap.dedent("""
            from rpo_lightning.nn import Actor

            class Slim(Actor):
                def __init__(self, obs_dim, action_dim, width=4):
                    super().__init__(obs_dim, action_dim, [width])
        """)
    )
    sys.path.insert(0, str(folder))
    call("fit", "--trainer.max_steps=1", "--model.actor=mine.Slim", "--model.actor.width=5")
    obs = torch.randn(2, 3)
    for name in ("policy.pt", LAST):
        policy = load_policy(RUN / name)
        assert policy.metadata["model"]["init_args"]["actor"] == {"class_path": "mine.Slim", "init_args": {"width": 5}}
        assert policy.act(obs).shape == (2, 1)
    (folder / "mine.py").unlink()
    sys.modules.pop("mine")
    line = refused(capsys, "export", "--ckpt_path", str(RUN / "policy.pt"))
    assert "policy.pt was trained with mine.Slim, which cannot be imported here: No module named 'mine'" in line
    assert "PYTHONPATH" in line


def test_a_file_that_does_not_say_how_it_is_built_is_refused_in_a_sentence(folder, capsys):
    call("fit", "--trainer.max_steps=1")
    for path, part in ((RUN / "policy.pt", "model"), (RUN / LAST, "class_path")):
        content = torch.load(path, weights_only=True)
        (content if part == "model" else content["rpo_lightning"]).pop(part)
        torch.save(content, path)
        with pytest.raises(ValueError, match="older version of rpo-lightning and does not say how its network is built"):
            load_policy(path)
        assert "does not say how" in refused(capsys, "validate", "--ckpt_path", str(path))
    other = written(folder, make_algorithm("rpo"))
    content = torch.load(other, weights_only=True)
    content["model"]["init_args"]["hidden"] = [4]
    torch.save(content, other)
    with pytest.raises(ValueError, match="does not fit its own network: size mismatch for actor"):
        load_policy(other)


def test_a_configuration_beside_it_that_is_older_is_named_with_the_way_out(folder, capsys):
    call("fit", "--trainer.max_steps=1", "--data.env=tests.toy.PointMass")
    policy, config = RUN / "policy.pt", RUN / "config.yaml"
    whole = config.read_text()
    config.write_text(whole.replace("kl_coef:", "kl_control: true\n    kl_coef:", 1))
    line = refused(capsys, "validate", "--ckpt_path", str(policy))
    assert line.startswith(f"rpo-lightning: error: {config}, which lies with the checkpoint, cannot be read by this version")
    assert "there is no option 'kl_control'. The checkpoint says by itself how it was made" in line
    policy.rename("alone.pt")
    main(["predict", "--ckpt_path", "alone.pt", "--episodes=2", "--output=alone.npz"])
    # what the user has written is not the file's fault
    Path("alone.pt").rename(policy)
    config.write_text(whole)
    assert str(config) not in refused(capsys, "validate", "--ckpt_path", str(policy), "--model.init_args.kl_contrl=1")


def test_a_file_alone_says_infinity_so_that_the_command_line_reads_it(folder):
    call("fit", "--trainer.max_steps=1", "--data.env=tests.toy.PointMass", "--model.init_args.clip_high=.inf")
    (RUN / "policy.pt").rename("alone.pt")
    (RUN / "config.yaml").unlink()
    assert load_policy("alone.pt").metadata["model"]["init_args"]["clip_high"] == float("inf")
    main(["predict", "--ckpt_path", "alone.pt", "--episodes=2", "--output=alone.npz"])
    assert Path("alone.npz").is_file()


@pytest.mark.parametrize("name", pretrained.names())
def test_pretrained_policies_act_in_their_tasks(name):
    policy = load_policy(name)
    told = policy.metadata
    found = rpo_lightning.envs.env_class(told["env"]["name"])
    assert (found.name, found.obs_dim * policy.history, found.action_dim) == (name, policy.obs_dim, policy.action_dim)
    assert len(told["observations"]) == policy.obs_dim
    assert len(told["actions"]) == policy.action_dim == len(told["control"]["scale"])
    assert told["dt"] == pytest.approx(found.dt)
    action = policy.act(torch.randn(8, policy.obs_dim))
    assert action.std() > 0.01


def test_there_is_a_policy_for_every_task_with_a_record():
    assert pretrained.names() == list(pretrained.FILES)
    with pytest.raises(ValueError, match="No policy at ant/none.pt"):
        pretrained.find("ant/none.pt")


def test_the_list_shows_them(capsys):
    main(["list"])
    shown = capsys.readouterr().out
    section = shown.partition("Policies (--ckpt_path, --init_from, load_policy)")[2].partition("\n\n")[0]
    assert all(f"  {name} " in section for name in pretrained.FILES)
