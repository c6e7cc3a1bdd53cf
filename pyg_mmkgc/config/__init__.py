r"""Configurations in YAML, and their runs."""

from pyg_mmkgc.training.termination import catch_signals
from pyg_mmkgc.visualization import plot_explanation

from .answers import Answers
from .build import build_graph, build_model, build_trainer
from .catalogue import Entry, catalogue
from .compare import compare_paths
from .components import Component
from .features import (
    DTYPES,
    FeatureSource,
    encoder_help,
    extract_features,
    extract_number_features,
    inspect_folder,
    table_folder,
)
from .loader import (
    DEFAULT_MODEL,
    dump_config,
    load_config,
    save_config,
    shipped_configs,
)
from .pretrained import PretrainedRun
from .profile import profile_config
from .run import Run, open_answers
from .schema import Config, EvaluationConfig, TrainingConfig

__all__ = [
    'Component',
    'Config',
    'TrainingConfig',
    'EvaluationConfig',
    'Run',
    'PretrainedRun',
    'Answers',
    'open_answers',
    'compare_paths',
    'plot_explanation',
    'load_config',
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
    'DTYPES',
    'encoder_help',
    'catch_signals',
]
