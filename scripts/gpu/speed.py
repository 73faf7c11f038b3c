"""How long things take on the device, and how much memory."""

from __future__ import annotations

import importlib.metadata
import platform
import resource
import time
from collections.abc import Iterator
from statistics import median

import torch

import rpo_lightning
from gpu.agreement import ALGORITHMS, SIMULATED, Outputs, fit
from gpu.part import Row, Settings
from rpo_lightning.provenance import machine
from rpo_lightning.rollout import RolloutDataModule

PACKAGES = ("torch", "lightning", "warp-lang", "mujoco", "mujoco-warp", "dm_control", "gymnasium", "tensorboard", "numpy")


def found(settings: Settings) -> Iterator[Row]:
    """The machine, and the packages that are there."""
    yield {"what": "machine", "is": machine(torch.device(settings.device))}
    yield {"what": "python", "is": platform.python_version()}
    for package in PACKAGES:
        try:
            yield {"what": package, "is": importlib.metadata.version(package)}
        except importlib.metadata.PackageNotFoundError:
            yield {"what": package, "is": "not there"}
    if settings.device == "cuda":
        properties = torch.cuda.get_device_properties(0)
        yield {"what": "CUDA of torch", "is": torch.version.cuda}
        yield {"what": "compute capability", "is": f"{properties.major}.{properties.minor}"}
        yield {"what": "memory", "is": f"{properties.total_memory / 2**30:.1f} GiB"}


def compiling(settings: Settings) -> Iterator[Row]:
    """Seconds until a task has run its first step and gradient, on CUDA from an empty cache, and once again."""
    for task in settings.choose(SIMULATED, ("cartpole",)):
        seconds = []
        for _ in range(2):
            started = time.perf_counter()
            env = rpo_lightning.make(task, 16, device=settings.device)
            action = torch.zeros(16, env.action_dim, device=settings.device, requires_grad=True)
            (env.step(action).obs.sum() + env.step(action).reward.sum()).backward()
            synchronize(settings)
            seconds.append(time.perf_counter() - started)
        yield {"task": task, "first_s": seconds[0], "again_s": seconds[1]}


def simulator(settings: Settings) -> Iterator[Row]:
    """Microseconds per environment step, forward and backward, engine alone and whole, and the memory taken."""
    from benchmark_sim import benchmark

    sizes = settings.choose([2**power for power in range(7, 15)], [16])
    for task in settings.choose(SIMULATED, ("cartpole",)):
        for num_envs in sizes:
            if settings.device == "cuda":
                torch.cuda.empty_cache()
                torch.cuda.reset_peak_memory_stats()
            row = benchmark(task, num_envs, 1, settings.device, settings.choose(3, 1))
            kept = {key: value for key, value in row.items() if key not in ("threads", "device", "gemm_gflops")}
            yield {**kept, "memory_mib": memory(settings)}


def iterations(settings: Settings) -> Iterator[Row]:
    """Seconds of a training iteration of every algorithm on Ant, at 128 and 4096 environments of 32 steps; medians."""
    warm_up, measured = settings.choose((3, 8), (0, 1))
    for num_envs in settings.choose((128, 4096), (16,)):
        for name in ALGORITHMS:
            outputs = Outputs()
            data = RolloutDataModule(settings.choose("ant", "cartpole"), num_envs, 32, warm_up + measured)
            fit(name, settings.device, data, 1, callbacks=[outputs])
            rows = outputs.rows[warm_up:]
            rollout, update = (median(row[f"time/{phase}"] for row in rows) for phase in ("rollout", "update"))
            rate = 32 * num_envs / (rollout + update)
            yield {"algorithm": name, "num_envs": num_envs, "rollout_s": rollout, "update_s": update, "steps_per_s": rate}


def choice(settings: Settings) -> Iterator[Row]:
    """Training steps per second on the CPU and on the device, by which `accelerator: auto` goes; medians."""
    tasks = ("cartpole", "hopper", "ant", "humanoid", "quadruped", "dmc/cheetah_run")
    for task in settings.choose(tasks, ("cartpole",)):
        for num_envs in settings.choose((128, 1024, 4096), (16,)):
            row: Row = {"task": task, "num_envs": num_envs}
            for label, device in (("cpu", "cpu"), ("cuda", settings.device)):
                outputs = Outputs()
                data = RolloutDataModule(task, num_envs, 32, settings.choose(3, 1))
                fit("REPPO" if task.startswith("dmc/") else "RPO", device, data, 1, callbacks=[outputs])
                rows = outputs.rows[settings.choose(1, 0) :]
                row[f"{label}_steps_per_s"] = median(each["time/steps_per_second"] for each in rows)
            yield row


def control(settings: Settings) -> Iterator[Row]:
    """Tasks dmc/... on mujoco_warp: first step against MuJoCo's own, environment steps per second, memory."""
    for task in settings.choose(("cheetah_run", "walker_run", "fish_swim", "humanoid_run"), ("cartpole_balance",)):
        started = time.perf_counter()
        ours, theirs = (rpo_lightning.make(f"dmc/{task}", 64, device=device) for device in (settings.device, "cpu"))
        ready = time.perf_counter() - started
        action = 2.0 * torch.rand(64, ours.action_dim, generator=torch.Generator().manual_seed(0)) - 1.0
        seen, right = ours.step(action.to(ours.device)), theirs.step(action)
        error = float(((seen.final_obs.cpu() - right.final_obs).abs() / (1.0 + right.final_obs.abs())).amax(1).median())
        for num_envs in settings.choose((1024, 4096), (16,)):
            env = rpo_lightning.make(f"dmc/{task}", num_envs, device=settings.device)
            actions = 2.0 * torch.rand(settings.choose(100, 5), num_envs, env.action_dim, device=settings.device) - 1.0
            synchronize(settings)
            started, broken = time.perf_counter(), 0
            for one in actions:
                env.step(one)
                broken += int(env.invalid.sum())
            synchronize(settings)
            rate = len(actions) * num_envs / (time.perf_counter() - started)
            row = {"task": task, "num_envs": num_envs, "ready_s": ready, "error": error, "steps_per_s": rate}
            yield {**row, "broken": broken, "memory_mib": memory(settings), "ok": error <= 1e-2 and broken == 0}


def synchronize(settings: Settings) -> None:
    """Wait for the device."""
    if settings.device == "cuda":
        torch.cuda.synchronize()


def memory(settings: Settings) -> float:
    """Return what is in use on the device [MiB]; on the CPU the most that this process has had."""
    if settings.device == "cpu":
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10
    free, total = torch.cuda.mem_get_info()
    return (total - free) / 2**20
