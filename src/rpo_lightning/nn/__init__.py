"""Networks: actor, critic ensemble, observation normaliser, squashed Gaussian."""

from rpo_lightning.nn.actor import Actor
from rpo_lightning.nn.critic import CriticEnsemble
from rpo_lightning.nn.gaussian import SquashedGaussian
from rpo_lightning.nn.mlp import MLP, orthogonal_linear
from rpo_lightning.nn.normalizer import RunningNormalizer

__all__ = ["MLP", "Actor", "CriticEnsemble", "RunningNormalizer", "SquashedGaussian", "orthogonal_linear"]
