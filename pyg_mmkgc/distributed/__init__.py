r"""Training and ranking in several processes, on :mod:`torch.distributed`.

The :class:`~pyg_mmkgc.training.Trainer`,
:func:`~pyg_mmkgc.evaluation.evaluate` and
:func:`~pyg_mmkgc.evaluation.predict` use these functions if a process group
is initialized. A process group of one process changes nothing.
"""
from .build import build
from .group import (
    is_main,
    on_main,
    process_group,
    rank,
    restarted,
    world_size,
)
from .table import (
    ShardedEmbedding,
    num_parameters,
    save_over_ranks,
    shard,
    whole_state,
)

__all__ = classes = [
    'process_group',
    'rank',
    'world_size',
    'is_main',
    'on_main',
    'restarted',
    'build',
    'shard',
    'whole_state',
    'num_parameters',
    'save_over_ranks',
    'ShardedEmbedding',
]
