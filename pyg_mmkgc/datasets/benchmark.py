from __future__ import annotations

import os
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pyg_mmkgc.datasets.openke import (
    Features,
    OpenKEDataset,
    Triples,
    join_splits,
)
from pyg_mmkgc.errors import ConfigError

LEAKY = ('The published validation split of DB15K is unusable: its 9,904 '
         'triples repeat 6,584 training triples and 824 test triples, and '
         'only 80 of them are in neither split. Selecting a model on it '
         'rewards memorizing the training and test triples.')


class DB15K(OpenKEDataset):
    r"""The DB15K benchmark, a subset of DBpedia.

    It comes from the `"MMKG: Multi-Modal Knowledge Graphs"
    <https://arxiv.org/abs/1903.05485>`_ paper, with the split of the
    `"Unleashing the Power of Imbalanced Modality Information for
    Multi-modal Knowledge Graph Completion"
    <https://arxiv.org/abs/2402.15444>`_ paper.

    .. warning::

        The published validation split is unusable: it repeats 6,584
        training triples and 824 test triples. By default, a fixed tenth of
        the training triples is held out instead.

    See :class:`~pyg_mmkgc.datasets.openke.OpenKEDataset` for the layout of
    :obj:`root`.

    Args:
        root (str or os.PathLike): Root directory where the dataset is saved,
            or a folder that holds the files in :obj:`DB15K/`.
        valid (str, optional): The validation triples. If set to
            :obj:`"clean"`, uses a fixed tenth of the training triples, and
            uses the published validation triples only to filter ranks. If set
            to :obj:`"official"`, uses the published validation triples, and
            :obj:`selection_refused` of the graph explains why no model can be
            selected on them. (default: :obj:`"clean"`)
        features (str, list or dict, optional): The features of the nodes. If
            set to :obj:`None`, uses the features of every modality that has
            some next to the triples, such as the folder :obj:`caption` or the
            file :obj:`DB15K-visual.pth`. If set to a list, uses these
            modalities in this order. If set to a dictionary, it maps each
            modality to a path or a tensor. If set to :obj:`"none"`, there are
            no features. (default: :obj:`None`)
        transform (callable, optional): A function/transform that takes in a
            :class:`~pyg_mmkgc.data.KnowledgeGraph` and returns a transformed
            version. It is applied before every access.
            (default: :obj:`None`)
        pre_transform (callable, optional): A function/transform like
            :obj:`transform` that is applied once, before the graph is saved
            to disk. (default: :obj:`None`)
        force_reload (bool, optional): Whether to re-process the dataset.
            (default: :obj:`False`)
        download_features (bool, optional): Whether to download missing
            features from the authors' Google Drive, which requires
            :obj:`gdown`. (default: :obj:`False`)

    Raises:
        ConfigError: If :obj:`valid` is neither :obj:`"clean"` nor
            :obj:`"official"`.

    **STATS:**

    .. list-table::
        :widths: 10 10 10 10 10
        :header-rows: 1

        * - #nodes
          - #relations
          - #train
          - #val
          - #test
        * - 12,842
          - 279
          - 71,300 (79,222 if official)
          - 7,922 (9,904 if official)
          - 9,902
    """
    name = 'DB15K'
    sha256 = {
        'entity2id.txt':
        '8f8d070f1bb24d07ed3050e4e4e780cb7f2245d0b14db3346e8db4fa55981728',
        'relation2id.txt':
        '25e5a975ee079dbd5b8d22ffe23575a9e3135d263e0a3763224777bf526c1a74',
        'train2id.txt':
        'd41f9b9ab5c0e6eed393e0f93febb4258dc02e5e4a4e2a99c49410d167522804',
        'valid2id.txt':
        'dc7ed39aa14e35a2f7ac09a0ff046067ee0e0d7953f8a204f04e7c09776095b1',
        'test2id.txt':
        '15f28535d04f3711b739a49d824f2346167384283cde57123376392d418ad6de',
    }
    sizes = {
        'entity2id.txt': 674_491,
        'relation2id.txt': 12_591,
        'train2id.txt': 1_030_308,
        'valid2id.txt': 127_702,
        'test2id.txt': 128_692,
    }

    def __init__(
        self,
        root: str | os.PathLike[str],
        valid: str = 'clean',
        features: Features = None,
        transform: Callable[..., Any] | None = None,
        pre_transform: Callable[..., Any] | None = None,
        force_reload: bool = False,
        download_features: bool = False,
    ) -> None:
        if valid not in ('clean', 'official'):
            raise ConfigError(f"Expected 'valid' to be 'clean' or 'official' "
                              f'(got {valid!r})')
        self.valid = valid
        if valid == 'official':
            warnings.warn(f"{LEAKY} Pass valid='clean'.", stacklevel=2)
        super().__init__(root, features, transform, pre_transform,
                         force_reload, download_features)

    @property
    def variant(self) -> str:
        return self.valid

    def arrange(
        self,
        train: Triples,
        valid: Triples,
        test: Triples,
    ) -> dict[str, Any]:
        if self.valid == 'official':
            out = super().arrange(train, valid, test)
            return {**out, 'selection_refused': LEAKY}
        out = join_splits(train=train, test=test)
        out['val_mask'] = torch.zeros_like(out['train_mask'])
        out['val_mask'][:train[1].numel()] = fixed_tenth(*train)
        out['train_mask'] = out['train_mask'] & ~out['val_mask']
        return {
            **out,
            'filter_edge_index': valid[0],
            'filter_edge_type': valid[1],
        }


class MKGW(OpenKEDataset):
    r"""The MKG-W benchmark, a subset of Wikidata.

    It comes from the `"Relation-enhanced Negative Sampling for Multimodal
    Knowledge Graph Completion"
    <https://dl.acm.org/doi/10.1145/3503161.3548388>`_ paper.

    See :class:`~pyg_mmkgc.datasets.openke.OpenKEDataset` for the layout of
    :obj:`root`.

    Args:
        root (str or os.PathLike): Root directory where the dataset is saved,
            or a folder that holds the files in :obj:`MKG-W/`.
        features (str, list or dict, optional): The features of the nodes. If
            set to :obj:`None`, uses the features of every modality that has
            some next to the triples, such as the folder :obj:`caption` or the
            file :obj:`MKG-W-visual.pth`. If set to a list, uses these
            modalities in this order. If set to a dictionary, it maps each
            modality to a path or a tensor. If set to :obj:`"none"`, there are
            no features. (default: :obj:`None`)
        transform (callable, optional): A function/transform that takes in a
            :class:`~pyg_mmkgc.data.KnowledgeGraph` and returns a transformed
            version. It is applied before every access.
            (default: :obj:`None`)
        pre_transform (callable, optional): A function/transform like
            :obj:`transform` that is applied once, before the graph is saved
            to disk. (default: :obj:`None`)
        force_reload (bool, optional): Whether to re-process the dataset.
            (default: :obj:`False`)
        download_features (bool, optional): Whether to download missing
            features from the authors' Google Drive, which requires
            :obj:`gdown`. (default: :obj:`False`)

    **STATS:**

    .. list-table::
        :widths: 10 10 10 10 10
        :header-rows: 1

        * - #nodes
          - #relations
          - #train
          - #val
          - #test
        * - 15,000
          - 169
          - 34,196
          - 4,276
          - 4,274
    """
    name = 'MKG-W'
    sha256 = {
        'entity2id.txt':
        'd94b546efcb535d8253821626dd32f3ee876b2f263b727a4a446bc74697785df',
        'relation2id.txt':
        '204203e03a92d4f973ee815449695bcfaae1b6917fcb08b65f3b0fb071a47f61',
        'train2id.txt':
        'a9f316506a20a7b5bef7de3ceaaa1e82de554b8e92e6aa26e7cb54bcd8ada53d',
        'valid2id.txt':
        '34dd556893b8e4832600298864dbd18012529a1f172793c21e45ad7bdee9d189',
        'test2id.txt':
        '0e1294b1f95c8ef80ad422aeefafea321d16c1d127570e6bb566882b2e053989',
    }
    sizes = {
        'entity2id.txt': 672_264,
        'relation2id.txt': 6_656,
        'train2id.txt': 416_832,
        'valid2id.txt': 52_959,
        'test2id.txt': 52_754,
    }


class MKGY(OpenKEDataset):
    r"""The MKG-Y benchmark, a subset of YAGO.

    It comes from the `"Relation-enhanced Negative Sampling for Multimodal
    Knowledge Graph Completion"
    <https://dl.acm.org/doi/10.1145/3503161.3548388>`_ paper.

    See :class:`~pyg_mmkgc.datasets.openke.OpenKEDataset` for the layout of
    :obj:`root`.

    Args:
        root (str or os.PathLike): Root directory where the dataset is saved,
            or a folder that holds the files in :obj:`MKG-Y/`.
        features (str, list or dict, optional): The features of the nodes. If
            set to :obj:`None`, uses the features of every modality that has
            some next to the triples, such as the folder :obj:`caption` or the
            file :obj:`MKG-Y-visual.pth`. If set to a list, uses these
            modalities in this order. If set to a dictionary, it maps each
            modality to a path or a tensor. If set to :obj:`"none"`, there are
            no features. (default: :obj:`None`)
        transform (callable, optional): A function/transform that takes in a
            :class:`~pyg_mmkgc.data.KnowledgeGraph` and returns a transformed
            version. It is applied before every access.
            (default: :obj:`None`)
        pre_transform (callable, optional): A function/transform like
            :obj:`transform` that is applied once, before the graph is saved
            to disk. (default: :obj:`None`)
        force_reload (bool, optional): Whether to re-process the dataset.
            (default: :obj:`False`)
        download_features (bool, optional): Whether to download missing
            features from the authors' Google Drive, which requires
            :obj:`gdown`. (default: :obj:`False`)

    **STATS:**

    .. list-table::
        :widths: 10 10 10 10 10
        :header-rows: 1

        * - #nodes
          - #relations
          - #train
          - #val
          - #test
        * - 15,000
          - 28
          - 21,310
          - 2,665
          - 2,663
    """
    name = 'MKG-Y'
    sha256 = {
        'entity2id.txt':
        '416f6f77c13d0cf0c5cae9625a62b9f7d26320c27ae408f5ce4e7eae3206b8d9',
        'relation2id.txt':
        '78d468edc02688f742c9b5a1030a071789ab24784dd2e48897643fe108ff4e4d',
        'train2id.txt':
        '71310c2c274e5ba2ce550433ef5c8496920bd03f50fd6057e64fc9c34e1e1aac',
        'valid2id.txt':
        '6c82db2d2b809aabf72f94bc19be3080b53ffba1caec12b81510354a7fe3470e',
        'test2id.txt':
        '8602cbbe7e3aef2c857df66eec5f7e4a2d6b02b19f58feff085688fb28980158',
    }
    sizes = {
        'entity2id.txt': 348_207,
        'relation2id.txt': 391,
        'train2id.txt': 259_293,
        'valid2id.txt': 33_252,
        'test2id.txt': 33_300,
    }


def fixed_tenth(edge_index: Tensor, edge_type: Tensor) -> Tensor:
    r"""Selects a tenth of distinct triples, which is the same on every
    machine.

    It takes the triples with the smallest hashes. The hash is the finalizer
    of SplitMix64 of an integer that holds the three ids. It only uses integer
    arithmetic, which does not depend on the version of a library.

    Args:
        edge_index (torch.Tensor): The heads and tails, less than
            :math:`2^{24}`, with shape :obj:`[2, num_edges]`.
        edge_type (torch.Tensor): The relations, less than :math:`2^{16}`,
            with shape :obj:`[num_edges]`.

    Returns:
        The mask of the selected triples with shape :obj:`[num_edges]`.
    """
    head, tail = edge_index.cpu().numpy().astype(np.uint64)
    relation = edge_type.cpu().numpy().astype(np.uint64)
    z = (head << np.uint64(40)) | (tail << np.uint64(16)) | relation
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xbf58476d1ce4e5b9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94d049bb133111eb)
    z = z ^ (z >> np.uint64(31))
    # There are no ties, since the hash is a bijection.
    mask = np.zeros(z.size, dtype=bool)
    mask[np.argsort(z, kind='stable')[:z.size // 10]] = True
    return torch.from_numpy(mask)
