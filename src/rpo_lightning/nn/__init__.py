"""Networks: actors, critics, observation normaliser, Gaussian policies."""

from rpo_lightning.nn.action_value import ActionValue, MinStdActor
from rpo_lightning.nn.actor import Actor, FreeStdActor, GRUActor
from rpo_lightning.nn.actor_critic import SharedActorCritic
from rpo_lightning.nn.critic import CriticEnsemble, side_by_side
from rpo_lightning.nn.gaussian import ClippedGaussian, Gaussian, SquashedGaussian, UniformAction
from rpo_lightning.nn.hl_gauss import HLGauss
from rpo_lightning.nn.mlp import MLP, Norm, orthogonal_linear
from rpo_lightning.nn.normalizer import RunningNormalizer
from rpo_lightning.nn.return_scaler import ReturnScaler

__all__ = [
    "MLP",
    "ActionValue",
    "Actor",
    "ClippedGaussian",
    "CriticEnsemble",
    "FreeStdActor",
    "GRUActor",
    "Gaussian",
    "HLGauss",
    "MinStdActor",
    "Norm",
    "ReturnScaler",
    "RunningNormalizer",
    "SharedActorCritic",
    "SquashedGaussian",
    "UniformAction",
    "orthogonal_linear",
    "side_by_side",
]
