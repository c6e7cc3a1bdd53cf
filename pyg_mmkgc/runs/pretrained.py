r"""Trained models on the graph of a configuration."""

from __future__ import annotations

import pathlib
from typing import Any

from pyg_mmkgc.config.build import build_graph, find_device
from pyg_mmkgc.config.loader import read_values
from pyg_mmkgc.config.schema import Config
from pyg_mmkgc.data import KnowledgeGraph
from pyg_mmkgc.errors import ConfigError
from pyg_mmkgc.evaluation import RankingResult, evaluate
from pyg_mmkgc.io.pretrained import load_pretrained
from pyg_mmkgc.nn.neighbor import NeighborBaseline
from pyg_mmkgc.nn.path.ultra import CHECKPOINTS, ULTRA
from pyg_mmkgc.runs.answers import Answers


class PretrainedRun:
    r"""A trained model on a graph that it was not trained on.

    .. code-block:: python

        run = PretrainedRun('my.yaml', 'ultra_3g')
        print(run.answers().predict('Alice', 'worksFor'))

    Args:
        name (str): The configuration of the graph, either :obj:`dataset`,
            :obj:`model/dataset` or a YAML file. Only its sections
            :obj:`dataset` and :obj:`evaluation` are used.
        model (str): The name or file of a model as for
            :meth:`~pyg_mmkgc.nn.path.ULTRA.from_pretrained`, the folder of a
            saved model, or :obj:`"neighbors"` for
            :class:`~pyg_mmkgc.nn.NeighborBaseline`.
        data_root (str, optional): The folder of the dataset's files.
            (default: :obj:`None`, as in the configuration)
        device (str, optional): The name of a :class:`torch.device`.
            (default: :obj:`None`, a GPU if there is one)

    Raises:
        ConfigError: If the configuration or the model is unknown.
    """
    def __init__(self, name: str, model: str, data_root: str | None = None,
                 device: str | None = None) -> None:
        values = read_values(name)
        if isinstance(values, dict):
            values = {key: values[key] for key in ('dataset', 'evaluation')
                      if key in values} | {'model': {'name': 'ULTRA'}}
        try:
            self.config = Config.from_dict(values)
        except ConfigError as error:
            raise ConfigError(f"{error} (in '{name}')") from None
        # Loaded before the graph, so that a missing model fails early.
        self.model: Any = load_model(model).to(find_device(device, 'device'))
        self.graph: KnowledgeGraph = build_graph(self.config, data_root)
        attach: Any = getattr(self.model, 'attach', None)
        if attach is not None:  # Attached once for all queries.
            attach(self.graph)

    def evaluate(self, split: str = 'test') -> RankingResult:
        r"""Ranks the triples of a split."""
        options = self.config.evaluation
        return evaluate(self.model, self.graph, split, ties=options.ties,
                        batch_size=options.batch_size)

    def answers(self) -> Answers:
        r"""Returns the model with the graph for queries."""
        return Answers(self.model, self.graph)


def load_model(name: str) -> Any:
    r"""Loads a model that needs no training, as for
    :class:`PretrainedRun`.
    """
    if name == 'neighbors':
        return NeighborBaseline()
    path = pathlib.Path(name).expanduser()
    if name in CHECKPOINTS or path.suffix == '.pth' or not path.is_dir():
        return ULTRA.from_pretrained(name if name in CHECKPOINTS else path)
    return load_pretrained(path)
