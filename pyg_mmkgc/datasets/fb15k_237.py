from __future__ import annotations

import os
import pathlib
from collections.abc import Callable
from typing import Any

from pyg_mmkgc.data.tsv import from_tsv
from pyg_mmkgc.datasets.openke import Features, OpenKEDataset, RawFiles


class FB15k237(OpenKEDataset):
    r"""The FB15k-237 benchmark, a subset of Freebase, with features.

    It comes from the `"Observed versus latent features for knowledge base and
    text inference" <https://aclanthology.org/W15-4007>`_ paper. The triples
    and their numbering are the same as in
    :class:`torch_geometric.datasets.FB15k_237`. Entities are named by their
    Freebase identifiers, or by the lines of :obj:`labels.txt`. No features
    are published with the triples.

    See :class:`~pyg_mmkgc.datasets.openke.OpenKEDataset` for the layout of
    :obj:`root`, with :obj:`train.txt`, :obj:`valid.txt` and :obj:`test.txt`
    as the raw files.

    Args:
        root (str or os.PathLike): Root directory where the dataset is saved,
            or a folder that holds the files in :obj:`FB15k-237/`.
        features (str, list or dict, optional): The features of the nodes, as
            for :class:`~pyg_mmkgc.datasets.MKGW`. (default: :obj:`None`)
        transform (callable, optional): A function/transform that takes in a
            :class:`~pyg_mmkgc.data.KnowledgeGraph` and returns a transformed
            version. It is applied before every access.
            (default: :obj:`None`)
        pre_transform (callable, optional): A function/transform like
            :obj:`transform` that is applied once, before the graph is saved
            to disk. (default: :obj:`None`)
        force_reload (bool, optional): Whether to re-process the dataset.
            (default: :obj:`False`)

    **STATS:**

    .. list-table::
        :widths: 10 10 10 10 10
        :header-rows: 1

        * - #nodes
          - #relations
          - #train
          - #val
          - #test
        * - 14,541
          - 237
          - 272,115
          - 17,535
          - 20,466
    """
    name = 'FB15k-237'
    has_published_features = False
    marker = 'train.txt'
    url = ('https://raw.githubusercontent.com/villmow/'
           'datasets_knowledge_embedding/master')
    sha256 = {
        'train.txt':
        '61099230e4439f90885ca9767739e31e8e32f54736fa1c35952b27997bc7c08a',
        'valid.txt':
        '749cbe9d923bac7b9354da5614ecfed2e0220256d442c3e04a6b303db1f273d9',
        'test.txt':
        'e2e35e8e6113de220140b6f44dc71a5207b0fc6872d575e874aefe13259b655b',
    }
    sizes = {
        'train.txt': 21_005_177,
        'valid.txt': 1_285_566,
        'test.txt': 1_499_033,
    }

    def __init__(
        self,
        root: str | os.PathLike[str],
        features: Features = None,
        transform: Callable[..., Any] | None = None,
        pre_transform: Callable[..., Any] | None = None,
        force_reload: bool = False,
    ) -> None:
        super().__init__(root, features, transform, pre_transform,
                         force_reload)

    def read_files(self, folder: pathlib.Path) -> RawFiles:
        kg = from_tsv(*(folder / name for name in self.sha256))
        train, valid, test = (
            (kg.edge_index[:, kg[f'{split}_mask']].contiguous(),
             kg.edge_type[kg[f'{split}_mask']])
            for split in ('train', 'val', 'test'))
        return kg.node_names, kg.relation_names, (train, valid, test)
