r"""Evaluation, predictions and explanations for any model that scores
triples.
"""

from .compare import Comparison, compare
from .embeddings import (
    SimilarNodes,
    export_embeddings,
    most_similar,
    node_representations,
)
from .evaluate import evaluate
from .explain import Explanation, explain
from .predict import Prediction, predict
from .records import predict_records, read_queries, write_records
from .result import RankingResult, TieWarning
from .score import score

__all__ = [
    'evaluate',
    'predict',
    'predict_records',
    'read_queries',
    'write_records',
    'score',
    'explain',
    'compare',
    'most_similar',
    'node_representations',
    'export_embeddings',
    'RankingResult',
    'Prediction',
    'Explanation',
    'Comparison',
    'SimilarNodes',
    'TieWarning',
]
