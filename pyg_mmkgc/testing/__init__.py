r"""Checks for models, samplers and adversaries, including your own."""
from .accelerator import (
    Waits,
    count_waits,
    missing_accelerator,
    pretend_accelerator,
)
from .adversary import ADVERSARY_CHECKS, check_adversary
from .model import MODEL_CHECKS, PATH_CHECKS, check_model
from .sampler import SAMPLER_CHECKS, check_sampler

__all__ = [
    'check_model',
    'check_sampler',
    'check_adversary',
    'MODEL_CHECKS',
    'PATH_CHECKS',
    'SAMPLER_CHECKS',
    'ADVERSARY_CHECKS',
    'pretend_accelerator',
    'missing_accelerator',
    'count_waits',
    'Waits',
]
