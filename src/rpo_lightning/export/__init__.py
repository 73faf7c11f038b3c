"""A trained policy as one file for a robot's computer: ONNX, TorchScript or torch.export."""

from rpo_lightning.export.formats import SUFFIXES, export
from rpo_lightning.export.network import DeployedPolicy

__all__ = ["SUFFIXES", "DeployedPolicy", "export"]
