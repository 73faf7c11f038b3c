"""The algorithms, each a LightningModule with manual optimization."""

from rpo_lightning.algorithms.base import RLModule
from rpo_lightning.algorithms.first_order import FirstOrder
from rpo_lightning.algorithms.gippo import GIPPO
from rpo_lightning.algorithms.napg import NAPG
from rpo_lightning.algorithms.ppo import PPO
from rpo_lightning.algorithms.reppo import REPPO
from rpo_lightning.algorithms.reppo_ablations import REPPOAblation
from rpo_lightning.algorithms.rpo import RPO
from rpo_lightning.algorithms.sac import SAC
from rpo_lightning.algorithms.sapo import SAPO
from rpo_lightning.algorithms.shac import SHAC

__all__ = ["GIPPO", "NAPG", "PPO", "REPPO", "RPO", "SAC", "SAPO", "SHAC", "FirstOrder", "REPPOAblation", "RLModule"]
