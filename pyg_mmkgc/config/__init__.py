r"""Runs from YAML files."""

from .build import build_graph, build_model, build_trainer
from .catalogue import Entry, catalogue
from .components import Component
from .features import (
    DTYPES,
    FeatureSource,
    encoder_help,
    extract_features,
    inspect_folder,
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
from .run import Run
from .schema import Config, EvaluationConfig, TrainingConfig

__all__ = [
    'Component',
    'Config',
    'TrainingConfig',
    'EvaluationConfig',
    'Run',
    'PretrainedRun',
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
    'inspect_folder',
    'DTYPES',
    'encoder_help',
]
