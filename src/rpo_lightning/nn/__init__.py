"""Networks: actors, critics, observation normaliser, Gaussian policies."""

from rpo_lightning.nn.action_value import ActionValue, MinStdActor, Norm
from rpo_lightning.nn.actor import Actor
from rpo_lightning.nn.critic import CriticEnsemble
from rpo_lightning.nn.gaussian import ClippedGaussian, Gaussian, SquashedGaussian, UniformAction
from rpo_lightning.nn.hl_gauss import HLGauss
from rpo_lightning.nn.mlp import MLP, orthogonal_linear
from rpo_lightning.nn.normalizer import RunningNormalizer
from rpo_lightning.nn.original import OriginalActor, original_critic
from rpo_lightning.nn.return_scaler import ReturnScaler
from rpo_lightning.nn.shared import SharedActorCritic

__all__ = [
    "MLP",
    "ActionValue",
    "Actor",
    "ClippedGaussian",
    "CriticEnsemble",
    "Gaussian",
    "HLGauss",
    "MinStdActor",
    "Norm",
    "OriginalActor",
    "ReturnScaler",
    "RunningNormalizer",
    "SharedActorCritic",
    "SquashedGaussian",
    "UniformAction",
    "original_critic",
    "orthogonal_linear",
]
