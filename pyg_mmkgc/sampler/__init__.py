r"""Negative samplers."""
from .attention import CrossModalAttention
from .base import Choice, Negatives, NegativeSampler
from .bernoulli import BernoulliSampler
from .candidate import CandidateSampler
from .mans import MANSSampler
from .mmrns import MMRNSSampler
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
    'MMRNSSampler',
    'CrossModalAttention',
]
