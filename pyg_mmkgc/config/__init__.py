r"""Configurations in YAML, and their runs."""
from typing import TYPE_CHECKING

from pyg_mmkgc.lazy import lazy_names

if TYPE_CHECKING:
    from pyg_mmkgc.config.answers import Answers
    from pyg_mmkgc.config.build import (
        build_graph,
        build_model,
        build_trainer,
    )
    from pyg_mmkgc.config.compare import compare_paths
    from pyg_mmkgc.config.components import Component
    from pyg_mmkgc.config.features import (
        FeatureSource,
        extract_features,
        extract_number_features,
        inspect_folder,
        table_folder,
    )
    from pyg_mmkgc.config.listing import Entry, catalogue
    from pyg_mmkgc.config.loader import (
        DEFAULT_MODEL,
        check_config,
        check_search,
        dump_config,
        load_config,
        load_space,
        save_config,
        shipped_configs,
    )
    from pyg_mmkgc.config.pretrained import PretrainedRun
    from pyg_mmkgc.config.profile import profile_config
    from pyg_mmkgc.config.run import Run, open_answers
    from pyg_mmkgc.config.schema import (
        Config,
        EvaluationConfig,
        TrainingConfig,
    )
    from pyg_mmkgc.config.search import Search, SearchResult
    from pyg_mmkgc.config.seeds import SeedResult, SeedRuns, is_seeds
    from pyg_mmkgc.visualization import plot_explanation

__all__ = [
    'Component',
    'Config',
    'TrainingConfig',
    'EvaluationConfig',
    'Run',
    'Search',
    'SearchResult',
    'SeedRuns',
    'SeedResult',
    'is_seeds',
    'PretrainedRun',
    'Answers',
    'open_answers',
    'compare_paths',
    'plot_explanation',
    'load_config',
    'check_config',
    'check_search',
    'load_space',
    'save_config',
    'dump_config',
    'shipped_configs',
    'build_graph',
    'build_model',
    'build_trainer',
    'profile_config',
    'catalogue',
    'Entry',
    'DEFAULT_MODEL',
    'FeatureSource',
    'extract_features',
    'extract_number_features',
    'inspect_folder',
    'table_folder',
]

if not TYPE_CHECKING:  # A checker would take any name for one of these.
    # The first ones import neither torch nor PyG.
    __getattr__ = lazy_names(__name__, __all__, [
        *(f'{__name__}.{module}' for module in (
            'loader', 'schema', 'components', 'build', 'answers', 'run',
            'seeds', 'search', 'pretrained', 'compare', 'profile', 'features',
            'listing')),
        'pyg_mmkgc.visualization'])
