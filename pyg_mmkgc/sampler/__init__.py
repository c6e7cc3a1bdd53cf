r"""Negative samplers, one per file."""
from .base import Negatives, NegativeSampler
from .bernoulli import BernoulliSampler
from .pooled import PooledSampler
from .uniform import UniformSampler

__all__ = classes = [
    'Negatives',
    'NegativeSampler',
    'UniformSampler',
    'BernoulliSampler',
    'PooledSampler',
]
