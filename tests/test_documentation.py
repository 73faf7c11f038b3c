"""What README and docs print is run: Python blocks as they are, commands in a short form.

Commands run through the entry point in this process, but for those that start processes themselves.
"""

import contextlib
import functools
import io
import json
import re
import runpy
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from rpo_lightning.cli import main

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]

EPOCHS = {"ppo": "actor_epochs", "reppo": "epochs", "sac": "gradient_rounds"}

MINE = ("walker.", "push.", "gentle.", "reach.", "my_robot.")
"""The tasks and the algorithm that pages show, each in a folder of its own; here all are in one."""
FEW = ["--num_envs=8", "--horizon=4"]
STILL = ["--seconds=0.1", "--size=[32,32]"]
BRIEF = ["--data.num_envs=16", '--data.env={"name": "my_robot.MyRobot", "init_args": {"history": 3, "episode_length": 20}}']
SHORT = ["--model.init_args.total_env_steps=512", "--model.init_args.critic_epochs=1", "--data.num_envs=16"]


def short(words):
    """One window of 16 environments and episodes of 20 steps (60, where the shortest have 50), instead of hours."""
    length = 60 if any(re.search("shortest_episode|few_robots|napg/", word) for word in words) else 20
    algorithm, _, task = f"/{words[words.index('--config') + 1].removesuffix('.yaml')}".rpartition("/")
    algorithm, _, suite = algorithm.removeprefix("/").partition("/")
    if suite == "gymnasium":
        task = "".join(part.capitalize() for part in task.split("_")) + "-v5"
    task = words[words.index("--data.env") + 1] if "--data.env" in words else f"{suite}/{task}".removeprefix("/")
    return [
        "--model.init_args.total_env_steps=512",
        f"--model.init_args.{EPOCHS.get(algorithm, 'critic_epochs')}=1",
        "--data.num_envs=16",
        f"--data.env={json.dumps({'name': task, 'init_args': {'episode_length': length}})}",
    ]


def blocks(language):
    for page in PAGES:
        for number, text in enumerate(re.findall(rf"```{language}\n(.*?)```", page.read_text(), re.DOTALL)):
            yield pytest.param(text, id=f"{page.stem}-{number}")


def commands():
    for page in PAGES:
        for line in page.read_text().splitlines():
            line = line.strip().split(" #")[0].strip()
            if line.startswith("rpo-lightning ") and not line.startswith("rpo-lightning COMMAND"):
                yield line.replace("`", "")


def run(line, cwd):
    words = shlex.split(line)
    arguments = words[1:]
    if words[1] == "new-task":  # where the workplace has its files already
        arguments += ["--folder", "new"]
        shutil.rmtree(cwd / "new", ignore_errors=True)
    elif any(word.startswith(MINE) for word in words):
        arguments += SHORT if words[1] == "fit" else []
        if (
            words[1] == "fit" and "my_robot" in line and (cwd / "runs/my_robot").exists()
        ):  # the workplace's is not to be lost
            arguments += [f"--trainer.default_root_dir=again/{len(list(cwd.glob('again/*')))}"]
        if "my_robot" in line:
            arguments += {"check-env": FEW, "validate": BRIEF, "record": STILL, "play": ["--help"]}.get(words[1], [])
    elif words[1] in ("fit", "fabric") and "--print_config" not in words and "--model.help" not in words:
        arguments += short(words)
    elif words[1] in ("validate", "predict"):
        arguments += short(words)[3:]
    elif words[1] == "record":
        arguments += STILL
    elif words[1] == "play":  # nobody would end it
        arguments += ["--help"]
    if "2" in (following(words, "--trainer.devices"), following(words, "--fabric.devices")):
        command = [sys.executable, "-m", "rpo_lightning.cli", *arguments]
        return subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=300)
    return here(arguments, cwd)


def following(words, option):
    """The word after an option."""
    return words[words.index(option) + 1] if option in words else None


def here(arguments, cwd, call=main, name="rpo-lightning"):
    """Run a command in this process, as in one of its own whose working directory is `cwd`."""
    modules, out, err, code = set(sys.modules), io.StringIO(), io.StringIO(), 0
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        patch.chdir(cwd)
        patch.setattr(sys, "path", [str(ROOT / "scripts"), *sys.path])
        patch.setattr(sys, "argv", [name, *arguments])
        try:
            call()
        except SystemExit as end:
            code = end.code or 0
    for name in set(sys.modules) - modules:
        if cwd != ROOT and str(cwd) in str(getattr(sys.modules[name], "__file__", "")):
            del sys.modules[name]
    return subprocess.CompletedProcess(arguments, code, out.getvalue(), err.getvalue())


@pytest.mark.parametrize("code", blocks("python"))
def test_python_blocks_run(code, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = {}
    exec(code, names)
    gradients = [value for name, value in names.items() if name in ("action_grad", "gradient")]
    # those that step an environment of ours show its gradients
    assert bool(gradients) == getattr(names.get("env"), "differentiable", bool(gradients))
    assert all(g.isfinite().all() and g.abs().sum() > 0 for g in gradients)


def test_there_are_commands_to_run():
    assert len(set(commands())) >= 8


@pytest.fixture(scope="module")
def workplace(tmp_path_factory):
    """A directory with a finished short run, as one has after the first command."""
    path = tmp_path_factory.mktemp("workplace")
    done = run("rpo-lightning fit --config ant.yaml", path)
    assert done.returncode == 0, done.stderr
    (path / "results").symlink_to(ROOT / "results")
    for name in ("walker/walker", "push/push", "algorithm/gentle"):
        for file in (ROOT / "examples").glob(f"{name}.*"):
            shutil.copy(file, path)
    page = (ROOT / "docs/tutorial/your_robot.md").read_text()
    (path / "arm.xml").write_text(re.search(r'ARM = """\n(.+?)"""', page, re.DOTALL)[1])
    task = re.search(r"class Reach.+?\n\n\n", page, re.DOTALL)[0].replace("robot = file", 'robot = "arm.xml"')
    (path / "reach.py").write_text(f"import torch\nfrom rpo_lightning.envs.articulated import ArticulatedEnv\n\n\n{task}")
    for line in ("rpo-lightning new-task my_robot --robot quadruped.xml", "rpo-lightning fit --config my_robot.yaml"):
        done = run(line, path)
        assert done.returncode == 0, done.stderr
        for file in path.glob("new/*"):
            file.rename(path / file.name)
    return path


@pytest.mark.parametrize("line", sorted(set(commands())))
def test_commands_run(line, workplace):
    if line == "rpo-lightning fit --config ant.yaml":
        pytest.fail("this would start over the finished run; print it with --ckpt_path last")
    if line.endswith("--init_from flat.pt"):
        widen(workplace)
    done = run(line, workplace)
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr


def widen(cwd):
    """Make the policy that the page on legged robots makes in the line before it is begun with."""
    page = (ROOT / "docs/legged.md").read_text()
    script, *arguments = shlex.split(re.search(r"^python scripts/(wider_actions.py .+)", page, re.MULTILINE)[1])
    command = [sys.executable, ROOT / "scripts" / script, *arguments]
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def scripts():
    """Commands of the study pages that start a script."""
    lines = [line.strip().split(" #")[0].strip() for page in PAGES for line in page.read_text().splitlines()]
    return sorted({line for line in lines if line.startswith("python scripts/re")})


@pytest.mark.parametrize("line", scripts())
def test_scripts_run(line, tmp_path):
    words = shlex.split(line)
    arguments = words[2:]
    if "proposition1" in words:
        arguments += ["--results", str(tmp_path)]
    elif words[1].endswith("reproduce.py") and "--list" not in words:
        position = arguments.index("--") if "--" in arguments else len(arguments)
        arguments.insert(position, "--dry-run")
    elif words[1].endswith("report.py"):
        if (page := following(words, "--readme")) is not None:
            written = shutil.copy(ROOT / page, tmp_path)
            arguments[arguments.index(page)] = written
        arguments += ["--output", str(tmp_path / "report")]
    script = functools.partial(runpy.run_path, str(ROOT / words[1]), run_name="__main__")
    done = here(arguments, ROOT, script, words[1])
    assert done.returncode == 0, done.stderr
    assert done.stdout
    if words[1].endswith("report.py"):
        assert (tmp_path / "report/report.html").stat().st_size > 10_000
        assert page is None or Path(written).read_text() == (ROOT / page).read_text()


def test_make_train_starts_and_continues(tmp_path):
    """The command behind `make train`, twice: the second call finds the run complete and changes nothing."""
    target = re.search(r"^train:.*\n\t\$\(BIN\)/(.+) \$\(ARGUMENTS\)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert target
    assert target[1] in (ROOT / "README.md").read_text()
    folder = tmp_path / "runs" / "ant" / "rpo" / "seed_0"
    first = run(target[1], tmp_path)
    assert first.returncode == 0, first.stderr
    weights = torch.load(folder / "policy.pt", weights_only=True)
    second = run(target[1], tmp_path)
    assert second.returncode == 0, second.stderr
    assert "complete" in second.stderr
    again = torch.load(folder / "policy.pt", weights_only=True)
    assert str(weights) == str(again)


def test_make_train_installs_what_training_needs_and_nothing_else():
    makefile = (ROOT / "Makefile").read_text()
    assert re.search(r"^train: \.venv/ready$", makefile, re.MULTILINE)
    recipe = re.search(r"^\.venv/ready:.*\n((?:\t.*\n)+)", makefile, re.MULTILINE)[1]
    assert re.findall(r"--editable (.+)", recipe) == ["."]


def test_the_readme_counts_the_robots_of_others_that_load():
    table = json.loads((ROOT / "tests/data/corpus.json").read_text())
    others = [keys for package, each in table.items() if package != "rpo_lightning" for keys in each["robots"].values()]
    assert f"{others.count([])} of {len(others)} robots in" in (ROOT / "README.md").read_text()


def test_ci_calls_the_readmes_test_command():
    assert "make test" in (ROOT / "README.md").read_text()
    assert (ROOT / ".ci" / "run").read_text().rstrip().endswith("make test")
