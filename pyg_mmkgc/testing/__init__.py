r"""Checks for models, samplers and adversaries, one's own included."""
from .model import MODEL_CHECKS, check_model

__all__ = [
    'check_model',
    'MODEL_CHECKS',
]
