"""Tasks of the DeepMind Control suite in torch, with MuJoCo's own physics: names and class paths, nothing imported."""

from __future__ import annotations

__all__ = ["TASKS"]

TASKS = {
    "dmc/acrobot_swingup": "rpo_lightning.envs.dmc.acrobot.AcrobotSwingup",
    "dmc/acrobot_swingup_sparse": "rpo_lightning.envs.dmc.acrobot.AcrobotSwingupSparse",
    "dmc/ball_in_cup_catch": "rpo_lightning.envs.dmc.ball_in_cup.BallInCupCatch",
    "dmc/cartpole_balance": "rpo_lightning.envs.dmc.cartpole.CartpoleBalance",
    "dmc/cartpole_balance_sparse": "rpo_lightning.envs.dmc.cartpole.CartpoleBalanceSparse",
    "dmc/cartpole_swingup": "rpo_lightning.envs.dmc.cartpole.CartpoleSwingup",
    "dmc/cartpole_swingup_sparse": "rpo_lightning.envs.dmc.cartpole.CartpoleSwingupSparse",
    "dmc/cheetah_run": "rpo_lightning.envs.dmc.cheetah.CheetahRun",
    "dmc/finger_spin": "rpo_lightning.envs.dmc.finger.FingerSpin",
    "dmc/finger_turn_easy": "rpo_lightning.envs.dmc.finger.FingerTurnEasy",
    "dmc/finger_turn_hard": "rpo_lightning.envs.dmc.finger.FingerTurnHard",
    "dmc/fish_swim": "rpo_lightning.envs.dmc.fish.FishSwim",
    "dmc/hopper_hop": "rpo_lightning.envs.dmc.hopper.HopperHop",
    "dmc/hopper_stand": "rpo_lightning.envs.dmc.hopper.HopperStand",
    "dmc/humanoid_run": "rpo_lightning.envs.dmc.humanoid.HumanoidRun",
    "dmc/humanoid_stand": "rpo_lightning.envs.dmc.humanoid.HumanoidStand",
    "dmc/humanoid_walk": "rpo_lightning.envs.dmc.humanoid.HumanoidWalk",
    "dmc/pendulum_swingup": "rpo_lightning.envs.dmc.pendulum.PendulumSwingup",
    "dmc/reacher_easy": "rpo_lightning.envs.dmc.reacher.ReacherEasy",
    "dmc/reacher_hard": "rpo_lightning.envs.dmc.reacher.ReacherHard",
    "dmc/walker_run": "rpo_lightning.envs.dmc.walker.WalkerRun",
    "dmc/walker_stand": "rpo_lightning.envs.dmc.walker.WalkerStand",
    "dmc/walker_walk": "rpo_lightning.envs.dmc.walker.WalkerWalk",
}
