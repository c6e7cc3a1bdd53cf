r"""Negative samplers, one per file."""
from .base import Choice, Negatives, NegativeSampler
from .bernoulli import BernoulliSampler
from .candidate import CandidateSampler
from .mans import MANSSampler
from .pooled import PooledSampler
from .twins import TwinsSampler
from .uniform import UniformSampler

__all__ = classes = [
    'Negatives',
    'Choice',
    'NegativeSampler',
    'UniformSampler',
    'BernoulliSampler',
    'PooledSampler',
    'CandidateSampler',
    'MANSSampler',
    'TwinsSampler',
]
