r"""Negative samplers, one per file."""
from .base import Choice, Negatives, NegativeSampler
from .bernoulli import BernoulliSampler
from .pooled import PooledSampler
from .uniform import UniformSampler

__all__ = classes = [
    'Negatives',
    'Choice',
    'NegativeSampler',
    'UniformSampler',
    'BernoulliSampler',
    'PooledSampler',
]
