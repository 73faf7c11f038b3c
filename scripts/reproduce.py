"""Train the runs of a study, one `rpo-lightning fit` per variant, task and seed; called again, it goes on.

    python scripts/reproduce.py --list
    python scripts/reproduce.py fig4 --tasks ant,hopper --seeds 3 --budget 0.5
    python scripts/reproduce.py table1 --launcher joblib --jobs 4 -- --trainer.accelerator=cpu
    python scripts/reproduce.py fig4 --status                       # what is done, running, missing, and what it will cost

A finished run is skipped, one with a checkpoint continues, one that another process or machine trains is left to it; studies
that need the same run share it.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import shlex
import shutil
import signal
import sys
import time
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

from study.cell import ELSEWHERE, LOG, Cell
from study.measured import write_record
from study.status import status
from study.studies import BUDGET, STUDIES, Variant, find_study, find_variants

LAUNCHERS = {"basic": "basic", "joblib": "joblib", "slurm": "submitit_slurm"}
PACKAGES = {"joblib": "hydra_joblib_launcher", "slurm": "hydra_submitit_launcher"}


@dataclass(frozen=True)
class Grid:
    """All runs of a call; `Cell` says what the fields are."""

    variants: tuple[Variant, ...]
    tasks: tuple[str, ...]
    seeds: range
    budget: float
    runs: Path
    results: Path
    threads: int | None
    extra: tuple[str, ...]

    def cells(self) -> list[Cell]:
        """Return the runs in the order in which they start: a seed of everything before the next."""
        return [
            Cell(variant, task, seed, self.budget, self.runs, self.results, self.extra)
            for seed, task, variant in product(self.seeds, self.tasks, self.variants)
        ]

    def train(self, seed: int, task: str, variant: str) -> str | None:
        """Train one cell unless it is finished, and say so; return what went wrong, if anything did."""
        cells = self.cells()
        cell = next(cell for cell in cells if (cell.seed, cell.task, cell.variant.name) == (seed, task, variant))
        head = f"[{cells.index(cell) + 1}/{len(cells)}] {cell}:"
        if cell.finished:
            say(f"{head} finished before, {final_return(cell)}")
            return None
        say(f"{head} {'continues' if cell.started else 'starts'}, {millions(cell.env_steps)} steps")
        began = time.perf_counter()
        # A process of its own: with several devices it starts itself again, and what Warp and a GPU hold ends with it.
        try:
            problem = cell.train(self.threads)
        except OSError as error:
            problem = str(error)
        if problem == ELSEWHERE:
            say(f"{head} {problem}")
            return None
        minutes = (time.perf_counter() - began) / 60
        left = [cell.env_steps for cell in cells if not cell.finished]
        end = f"FAILED, {problem}" if problem else final_return(cell)
        say(f"{head} {end}; {minutes:.1f} min; left: {len(left)} runs, {millions(sum(left))} steps")
        return f"{cell}: {problem}; see {cell.folder / LOG}" if problem else None


def say(line: str) -> None:
    print(line, flush=True)


def millions(steps: int) -> str:
    return f"{steps / 1e6:.4g} M"


def final_return(cell: Cell) -> str:
    sampled = cell.summary().get("eval", {}).get("sampled")
    return f"return {sampled['mean']:.5g}" if sampled else "no evaluation"


def launch_grid(grid: Grid, launcher: str, jobs: int | None, options: dict[str, str]) -> list[str]:
    """Train every cell as a job of Hydra; return what went wrong.

    Raises:
        ValueError: if Hydra refuses its options.
    """
    from hydra.errors import HydraException
    from hydra_zen import launch, make_config, multirun, zen

    folder = str(grid.runs / "hydra").replace("'", r"\'")
    overrides: dict[str, Any] = {
        "seed": multirun(grid.seeds),
        "task": multirun(grid.tasks),
        "variant": multirun([variant.name for variant in grid.variants]),
        "hydra/launcher": LAUNCHERS[launcher],
        # No logs, and no file but the sweep's own configuration.
        "hydra/hydra_logging": "none",
        "hydra/job_logging": "none",
        "hydra.output_subdir": None,
        "hydra.sweep.dir": f"'{folder}'",
        "hydra.sweep.subdir": ".",
    }
    if launcher == "joblib":
        # In a batch a long run would wait for another although there are free workers.
        overrides |= {"hydra.launcher.n_jobs": jobs, "hydra.launcher.batch_size": 1}
    if launcher == "slurm":
        overrides |= {"hydra.launcher.timeout_min": 24 * 60} | ({"hydra.launcher.array_parallelism": jobs} if jobs else {})
        # A job looks for the modules of this folder where SLURM starts it.
        paths = [str(Path(__file__).resolve().parent), os.environ.get("PYTHONPATH", "")]
        os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, paths))
        say(f"what the jobs say is in {grid.runs / 'hydra' / '.submitit'}")
    try:
        (done,) = launch(
            make_config("seed", "task", "variant"),
            zen(grid.train),
            overrides=overrides | options,
            multirun=True,
            version_base="1.3",
            job_name="reproduce",
            to_dictconfig=True,
        )
    except HydraException as error:
        raise ValueError(f"--hydra: {str(error).splitlines()[0]}") from error
    return [job.return_value for job in done if job.return_value is not None]


def check_launcher(launcher: str, jobs: int | None) -> None:
    """Check that all it needs is there.

    Raises:
        ValueError: if something is missing, with what to do.
    """
    if jobs is not None and launcher == "basic":
        raise ValueError("--jobs: the basic launcher trains one run after the other; add --launcher joblib.")
    needed = ["hydra_zen"] if launcher == "basic" else ["hydra_zen", "hydra_plugins", f"hydra_plugins.{PACKAGES[launcher]}"]
    # in this order: where there is no package, asking for a module in it is an error
    if not all(importlib.util.find_spec(name) for name in needed):
        extra = "study" if launcher == "basic" else launcher
        raise ValueError(f'--launcher {launcher} needs what `pip install "rpo-lightning[{extra}]"` installs.')
    if launcher == "slurm" and shutil.which("srun") is None:
        raise ValueError("--launcher slurm: there is no srun here; call this where jobs can be submitted.")


def listing() -> str:
    lines = []
    for name, study in STUDIES.items():
        lines.append(f"{name:16}{study.title}")
        if study.variants:
            lines.append(f"{'':16}{', '.join(study.tasks)}: {', '.join(variant.name for variant in study.variants)}")
    return "\n".join(lines)


def assignment(text: str) -> tuple[str, str]:
    key, value = text.split("=", 1)
    return key, value


def parse(arguments: list[str]) -> tuple[argparse.Namespace, tuple[str, ...]]:
    """Return our options, and after `--` those of `rpo-lightning fit`."""
    end = arguments.index("--") if "--" in arguments else len(arguments)
    parser = argparse.ArgumentParser(
        prog="reproduce.py",
        usage="%(prog)s STUDY [options] [-- options of rpo-lightning fit]",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("study", nargs="?", metavar="STUDY", help="see --list")
    add("--list", action="store_true", help="show the studies")
    add("--dry-run", action="store_true", help="print the commands")
    add("--status", action="store_true", help="say what is done, running and missing, with the cost to go; train nothing")
    add("--seeds", type=int, default=2, help="number of seeds, from 0 on (default: %(default)s)")
    add("--budget", type=float, default=0.2, help="share of the paper's environment steps (default: %(default)s)")
    add("--tasks", help="separated by commas (default: the study's)")
    add("--variants", help="likewise; names as --list shows them")
    add("--runs", type=Path, default=Path("runs/studies"), help="folder of the run folders (default: %(default)s)")
    add(
        "--results",
        type=Path,
        default=Path("results/studies"),
        help="folder of summaries, curves and policies; what is finished there is not trained again (default: %(default)s)",
    )
    add("--launcher", choices=LAUNCHERS, default="basic", help="of Hydra: one by one, in parallel, on a cluster")
    add("--jobs", type=int, help="runs at a time (default with joblib: as many as cores)")
    add("--threads", type=int, help="OMP_NUM_THREADS of a run (default with joblib: the cores divided)")
    add(
        "--hydra",
        type=assignment,
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="e.g. hydra.launcher.partition=gpu",
    )
    return parser.parse_args(arguments[:end]), tuple(arguments[end + 1 :])


def make_grid(options: argparse.Namespace, extra: tuple[str, ...]) -> Grid:
    """Return the runs that the options ask for; divide the cores among them.

    Raises:
        ValueError: if they ask for something that is not there.
    """
    study = find_study(options.study)
    tasks = tuple(options.tasks.split(",")) if options.tasks else study.tasks
    if unknown := [task for task in tasks if task not in BUDGET]:
        raise ValueError(f"{unknown[0]}: there is no such task; tasks: {', '.join(BUDGET)}.")
    variants = find_variants(study, options.variants.split(",")) if options.variants else study.variants
    for name in ("seeds", "budget", "jobs", "threads"):
        value = getattr(options, name)
        if value is not None and not value > 0:
            raise ValueError(f"--{name} must be above 0, not {value}.")
    threads = options.threads
    if options.launcher == "joblib":
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        options.jobs = options.jobs or cores
        threads = threads or max(1, cores // options.jobs)
    return Grid(variants, tasks, range(options.seeds), options.budget, options.runs, options.results, threads, extra)


def main(arguments: list[str] | None = None) -> int:
    """Run the script and return its exit code: 1 after failed runs, 2 after an error of the user's making."""
    options, extra = parse(list(sys.argv[1:] if arguments is None else arguments))
    if options.list:
        print(listing())
        return 0
    try:
        if options.study is None:
            raise ValueError(f"name a study: {', '.join(STUDIES)}.")
        grid = make_grid(options, extra)
        if options.dry_run:
            if not grid.variants:
                print(f"# {options.study} trains nothing; its numbers are computed in this process")
            for cell in grid.cells():
                print(f"{'# finished: ' if cell.finished else ''}{shlex.join(cell.command())}")
            return 0
        if not grid.variants:
            path, lines = write_record(options.study, options.results)
            say("\n".join([*lines, f"numbers in {path}"]))
            return 0
        if options.status:
            print("\n".join(status(grid.cells(), options.results)))
            return 0
        check_launcher(options.launcher, options.jobs)
        problems = launch_grid(grid, options.launcher, options.jobs, dict(options.hydra))
    except ValueError as error:
        print(f"reproduce.py: error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        cluster = " SLURM's jobs go on; scancel ends them." if options.launcher == "slurm" else ""
        print(f"stopped; the same command continues.{cluster}", file=sys.stderr)
        return 130
    if problems:
        print(f"{len(problems)} of {len(grid.cells())} runs failed:", *problems, sep="\n  ", file=sys.stderr)
    return 1 if problems else 0


if __name__ == "__main__":
    for ending in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(ending) is not signal.SIG_IGN:  # nohup
            signal.signal(ending, signal.default_int_handler)
    sys.exit(main())
