r"""Trainings, searches and answers of configurations, in folders."""
from typing import TYPE_CHECKING

from pyg_mmkgc.lazy import lazy_names

if TYPE_CHECKING:
    from pyg_mmkgc.runs.answers import Answers
    from pyg_mmkgc.runs.compare import compare_paths
    from pyg_mmkgc.runs.ensemble import EnsembleRun
    from pyg_mmkgc.runs.features import (
        FeatureSource,
        extract_features,
        extract_number_features,
        inspect_folder,
        table_folder,
    )
    from pyg_mmkgc.runs.pretrained import PretrainedRun
    from pyg_mmkgc.runs.profile import profile_config
    from pyg_mmkgc.runs.run import Run, open_answers
    from pyg_mmkgc.runs.search import Search, SearchResult
    from pyg_mmkgc.runs.seeds import SeedResult, SeedRuns, is_seeds

__all__ = [
    'Run',
    'Search',
    'SearchResult',
    'SeedRuns',
    'SeedResult',
    'is_seeds',
    'PretrainedRun',
    'EnsembleRun',
    'Answers',
    'open_answers',
    'compare_paths',
    'profile_config',
    'FeatureSource',
    'extract_features',
    'extract_number_features',
    'inspect_folder',
    'table_folder',
]

if not TYPE_CHECKING:  # A checker would take any name for one of these.
    __getattr__ = lazy_names(__name__, __all__, [
        f'{__name__}.{module}' for module in (
            'answers', 'run', 'seeds', 'search', 'pretrained', 'compare',
            'ensemble', 'profile', 'features')])
