r"""Configurations in YAML, and the objects that they describe."""
from typing import TYPE_CHECKING, Any

from pyg_mmkgc.lazy import lazy_names

if TYPE_CHECKING:
    from pyg_mmkgc.config.build import (
        build_graph,
        build_model,
        build_trainer,
    )
    from pyg_mmkgc.config.components import Component
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
    from pyg_mmkgc.config.schema import (
        Config,
        EvaluationConfig,
        TrainingConfig,
    )

__all__ = [
    'Component',
    'Config',
    'TrainingConfig',
    'EvaluationConfig',
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
    'catalogue',
    'Entry',
    'DEFAULT_MODEL',
]

# Names of version 0.1 that are in pyg_mmkgc.runs now.
MOVED = ('Run', 'profile_config', 'FeatureSource', 'extract_features',
         'inspect_folder')

if not TYPE_CHECKING:  # A checker would take any name for one of these.
    # The first ones import neither torch nor PyG.
    _own_name = lazy_names(__name__, __all__, [
        f'{__name__}.{module}' for module in (
            'loader', 'schema', 'components', 'build', 'listing')])

    def __getattr__(name: str) -> Any:
        if name not in MOVED:
            return _own_name(name)
        import warnings
        from importlib import import_module
        warnings.warn(f"'pyg_mmkgc.config.{name}' is deprecated, use "
                      f"'pyg_mmkgc.runs.{name}' instead", DeprecationWarning,
                      stacklevel=2)
        return getattr(import_module('pyg_mmkgc.runs'), name)
