from __future__ import annotations

import hashlib
import json
import os
import os.path as osp
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, Union

import torch
from torch import Tensor

from pyg_mmkgc.data.alignment import align_features, encoder_of, find_table
from pyg_mmkgc.data.knowledge_graph import KnowledgeGraph
from pyg_mmkgc.datasets.base import MMKGDataset
from pyg_mmkgc.datasets.feature_files import (
    fetch_features,
    find_features,
    no_features,
    pick_features,
)
from pyg_mmkgc.errors import ConfigError, DataError
from pyg_mmkgc.io.atomic import PathLike, sweep
from pyg_mmkgc.io.download import download, verify_sha256
from pyg_mmkgc.io.features import load_features
from pyg_mmkgc.io.openke import read_labels, read_names, read_triples
from pyg_mmkgc.io.tensors import digest

Features = Union[str, Sequence[str], Mapping[str, Union[PathLike, Tensor]],
                 None]
Triples = tuple[Tensor, Tensor]
RawFiles = tuple[list[str], list[str], tuple[Triples, Triples, Triples]]

LABELS = 'labels.txt'


class OpenKEDataset(MMKGDataset):
    r"""The base class of the benchmarks. The benchmarks of the AdaMF-MAT
    release are in the format of OpenKE, and others override
    :meth:`read_files`.

    A subclass sets :obj:`name`, :obj:`sha256` and :obj:`sizes`.

    The folder :obj:`root` has one of two layouts:

    * If the training triples are in :obj:`{root}/{name}`, all files are read
      directly from there. The folder may be read-only, since nothing is
      written.
    * Otherwise, raw files are downloaded to :obj:`{root}/{name}/raw`, and the
      processed graph is written to :obj:`{root}/{name}/processed`.

    In both layouts, the triples are verified by their SHA-256. The names of
    the nodes are the lines of :obj:`labels.txt`, if this file exists, and the
    entities of :obj:`entity2id.txt` are then their :obj:`node_ids`. Otherwise,
    the names come from :obj:`entity2id.txt`.

    The features of a modality are a file or folder with its name next to the
    triples, see :func:`~pyg_mmkgc.datasets.feature_files.find_features`, or
    are given as a path. They have one of two forms:

    * Other tables have one row per node, in the order of the ids.
    * Rows are labelled with names or identifiers of entities in a folder
      written by :obj:`mmkgc features`, in an :obj:`.npz` file with one array
      per entity, and in a :obj:`.safetensors` file with its own
      :obj:`labels.txt` outside of the folder of the raw files. Nodes without a
      row are masked.
    """
    name: ClassVar[str]
    #: The file that shows that a folder holds the raw files.
    marker: ClassVar[str] = 'train2id.txt'
    #: If :obj:`True`, the authors of AdaMF-MAT publish features.
    has_published_features: ClassVar[bool] = True
    sha256: ClassVar[Mapping[str, str]]
    sizes: ClassVar[Mapping[str, int]] = {}
    url = 'https://raw.githubusercontent.com/zjukg/AdaMF-MAT/main/benchmarks'

    def __init__(
        self,
        root: str | os.PathLike[str],
        features: Features = None,
        transform: Callable[..., Any] | None = None,
        pre_transform: Callable[..., Any] | None = None,
        force_reload: bool = False,
        download_features: bool = False,
    ) -> None:
        if isinstance(features, str) and features != 'none':
            raise ConfigError(f"Expected 'features' to be None, 'none', a "
                              f'list of modalities or a dictionary from '
                              f'modality to path or tensor (got {features!r})')
        self._features = features
        self._download_features = download_features
        self._sources: dict[str, PathLike | Tensor] = {}
        super().__init__(root, transform, pre_transform, force_reload)

    @property
    def in_place(self) -> bool:
        r"""A flag that is :obj:`True` if the files are in
        :obj:`{root}/{name}`.
        """
        return osp.isfile(osp.join(self.root, self.name, self.marker))

    @property
    def raw_dir(self) -> str:
        parts = [] if self.in_place else ['raw']
        return osp.join(self.root, self.name, *parts)

    @property
    def processed_dir(self) -> str:
        return osp.join(self.root, self.name, 'processed')

    @property
    def raw_file_names(self) -> list[str]:
        return list(self.sha256)

    @property
    def variant(self) -> str:
        r"""The name of the graph among all graphs from the same files."""
        return 'graph'

    @property
    def processed_file_names(self) -> str:
        stamps = [[key, _stamp(source)]
                  for key, source in self._sources.items()]
        labels = pathlib.Path(self.raw_dir, LABELS)
        if labels.is_file():
            stamps.append([LABELS, 'entity2id.txt', _stamp(labels)])
        if not stamps:
            return f'{self.variant}-none.safetensors'
        stamp = json.dumps(stamps)
        stamp = hashlib.sha256(stamp.encode()).hexdigest()[:12]
        return f'{self.variant}-{stamp}.safetensors'

    @property
    def keeps_processed(self) -> bool:
        if self.in_place:
            return False
        path = pathlib.Path(self.processed_dir).absolute()
        while not path.exists():
            path = path.parent
        return os.access(path, os.W_OK)

    def download(self) -> None:
        for file, sha256 in self.sha256.items():
            path = osp.join(self.raw_dir, file)
            if not osp.exists(path):
                download(f'{self.url}/{self.name}/{file}', path, sha256,
                         size=self.sizes.get(file))

    def _download(self) -> None:
        if not self.in_place and osp.isdir(self.raw_dir):
            sweep(self.raw_dir)  # Leftovers of a killed download.
        missing = [path for path in self.raw_paths if not osp.exists(path)]
        if missing and self.in_place:
            raise DataError(f"Expected '{missing[0]}' next to {self.marker} "
                            f'(got no such file). Put all of '
                            f'{", ".join(self.raw_file_names)} there.')
        if missing:
            self.download()
        for path, sha256 in zip(self.raw_paths, self.sha256.values(),
                                strict=True):
            verify_sha256(path, sha256)
        self._sources = self._find_features()

    def _find_features(self) -> dict[str, PathLike | Tensor]:
        if isinstance(self._features, Mapping):
            for key, source in self._features.items():
                if not isinstance(source, (str, os.PathLike, Tensor)):
                    raise DataError('Expected a path or a tensor as the '
                                    f"features of modality '{key}' (got "
                                    f'{type(source).__name__})')
            return dict(self._features)
        if self._features == 'none':
            return {}
        folder = pathlib.Path(self.raw_dir)
        if self._download_features:
            fetch_features(folder, self.name, len(self.read_files(folder)[0]))
        found = find_features(folder, self.name)
        if self._features is not None:
            return dict(pick_features(found, self._features, folder))
        if not found:
            raise no_features(folder, self.name, self.has_published_features)
        return dict(found)

    def read_files(self, folder: pathlib.Path) -> RawFiles:
        r"""Reads the raw files of the graph.

        Args:
            folder (pathlib.Path): The folder of the files.

        Returns:
            The entities and the relations in the order of their ids, and the
            triples of the training, validation and test file.
        """
        entities = read_names(folder / 'entity2id.txt')
        relations = read_names(folder / 'relation2id.txt')
        sizes = len(entities), len(relations)
        train, valid, test = (read_triples(folder / f'{split}2id.txt', *sizes)
                              for split in ('train', 'valid', 'test'))
        return entities, relations, (train, valid, test)

    def read(self) -> KnowledgeGraph:
        folder = pathlib.Path(self.raw_dir)
        node_names, relation_names, splits = self.read_files(folder)
        node_ids: list[str] | None = None
        if (folder / LABELS).is_file():
            node_ids = node_names
            node_names = read_labels(folder / LABELS, len(node_ids))
        features: dict[str, Any] = {}
        encoders: dict[str, Any] = {}
        for key, source in self._sources.items():
            features |= _load(key, source, node_names, node_ids, folder)
            encoder = encoder_of(source)
            if encoder is not None:
                encoders[key] = encoder
        data = KnowledgeGraph(
            num_nodes=len(node_names),
            num_relations=len(relation_names),
            node_names=node_names,
            node_ids=node_ids,
            feature_encoders=encoders or None,
            relation_names=relation_names,
            **self.arrange(*splits),
            **features,
        )
        data.validate()
        return data

    def arrange(
        self,
        train: Triples,
        valid: Triples,
        test: Triples,
    ) -> dict[str, Any]:
        r"""Combines the triples of the three files.

        Args:
            train (tuple): The :obj:`(edge_index, edge_type)` of the training
                file.
            valid (tuple): The :obj:`(edge_index, edge_type)` of the
                validation file.
            test (tuple): The :obj:`(edge_index, edge_type)` of the test file.

        Returns:
            The edges and masks of the graph.
        """
        return join_splits(train=train, val=valid, test=test)


def join_splits(**splits: Triples) -> dict[str, Tensor]:
    r"""Joins the triples of splits, with a mask for each split.

    Args:
        **splits (tuple): The :obj:`(edge_index, edge_type)` of each split.
    """
    which = torch.cat([torch.full_like(edge_type, i) for i, (_, edge_type)
                       in enumerate(splits.values())])
    masks = {f'{name}_mask': which == i for i, name in enumerate(splits)}
    return {
        'edge_index': torch.cat([i for i, _ in splits.values()], dim=1),
        'edge_type': torch.cat([t for _, t in splits.values()]),
        **masks,
    }


def _stamp(source: PathLike | Tensor) -> list[Any]:
    if isinstance(source, Tensor):
        return [digest({'x': source.detach().cpu()}, '')]
    path = find_table(source) or pathlib.Path(source)
    if not path.is_file():
        raise DataError(f"Expected features in '{path.absolute()}' (got no "
                        'such file or folder)')
    # The path distinguishes copies of equal size and modification time.
    out: list[Any] = [str(path.absolute())]
    # Labels determine the order of the rows, so they count as well.
    for file in dict.fromkeys([path, path.with_name(LABELS)]):
        if file.is_file():
            stat = file.stat()
            out += [stat.st_size, stat.st_mtime_ns]
    return out


def _is_labelled(path: PathLike, raw: pathlib.Path) -> bool:
    if find_table(path):
        return True
    path = pathlib.Path(path)
    return path.suffix == '.npz' or (
        path.suffix == '.safetensors' and path.with_name(LABELS).is_file()
        and not path.parent.samefile(raw))


def _load(key: str, source: PathLike | Tensor, node_names: list[str],
          node_ids: list[str] | None, raw: pathlib.Path) -> dict[str, Tensor]:
    if not isinstance(source, Tensor) and _is_labelled(source, raw):
        x, mask = align_features(key, source, node_names, node_ids)
        return {f'x_{key}': x, f'mask_{key}': mask}
    given = isinstance(source, Tensor)
    x = source if isinstance(source, Tensor) else load_features(source)
    if x.dim() != 2 or x.size(0) != len(node_names):
        where = 'the given tensor' if given else f"'{source}'"
        raise DataError(f"Expected {where} for modality '{key}' to have shape "
                        f'[{len(node_names)}, num_channels], one row for '
                        f'every node (got {list(x.shape)})')
    return {f'x_{key}': x}
