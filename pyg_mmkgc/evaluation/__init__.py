r"""Evaluation and prediction for any model that scores triples."""

from .evaluate import evaluate
from .predict import Prediction, predict
from .result import RankingResult, TieWarning

__all__ = [
    'evaluate',
    'predict',
    'RankingResult',
    'Prediction',
    'TieWarning',
]
