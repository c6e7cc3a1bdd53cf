from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from pyg_mmkgc.config.build import build_graph, build_trainer
from pyg_mmkgc.config.loader import load_config
from pyg_mmkgc.training.profile import Profile, profile


def profile_config(name: str, overrides: Sequence[str] = (), steps: int = 10,
                   data_root: str | None = None,
                   device: str | None = None) -> Profile:
    r"""Measures the time and the memory of the training steps of a
    configuration without writing files.

    Args:
        name (str): As for :func:`~pyg_mmkgc.config.load_config`.
        overrides (list, optional): As for
            :func:`~pyg_mmkgc.config.load_config`.
        steps (int, optional): The number of steps. (default: :obj:`10`)
        data_root (str, optional): The folder of the dataset's files.
            (default: :obj:`None`, as in the configuration)
        device (str, optional): The name of a :class:`torch.device`.
            (default: :obj:`None`, as in the configuration)
    """
    config = load_config(name, overrides)
    config = dataclasses.replace(config, training=dataclasses.replace(
        config.training, device=device or config.training.device))
    return profile(build_trainer(config, build_graph(config, data_root)),
                   steps)
