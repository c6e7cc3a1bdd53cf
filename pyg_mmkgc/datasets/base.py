from __future__ import annotations

import contextlib
import os
import os.path as osp
import re
import warnings
from collections.abc import Callable, Sequence
from typing import Any

from torch_geometric.data import InMemoryDataset

from pyg_mmkgc.data.knowledge_graph import KnowledgeGraph
from pyg_mmkgc.io.atomic import read_json, write_json


class MMKGDataset(InMemoryDataset):
    r"""The base class of datasets with a single
    :class:`~pyg_mmkgc.data.KnowledgeGraph`.

    :pyg:`PyG` unpickles the processed graph and :obj:`pre_transform.pt`,
    which can run code. Instead, this class reads a verified
    :obj:`safetensors` file with the processed graph, and a JSON file next to
    it with a description of :obj:`pre_transform`.

    A subclass implements :meth:`read` and :obj:`processed_file_names` (one
    name that ends in :obj:`.safetensors`). If it has raw files, it also
    implements :obj:`download` and :obj:`raw_file_names`.

    Args:
        root (str or os.PathLike): Root directory where the dataset is saved.
        transform (callable, optional): A function/transform that takes in a
            :class:`~pyg_mmkgc.data.KnowledgeGraph` and returns a transformed
            version. It is applied before every access.
            (default: :obj:`None`)
        pre_transform (callable, optional): A function/transform like
            :obj:`transform` that is applied once, before the graph is saved
            to disk. (default: :obj:`None`)
        force_reload (bool, optional): Whether to re-process the dataset.
            (default: :obj:`False`)
    """
    def __init__(
        self,
        root: str | os.PathLike[str],
        transform: Callable[..., Any] | None = None,
        pre_transform: Callable[..., Any] | None = None,
        force_reload: bool = False,
    ) -> None:
        super().__init__(os.fspath(root), transform, pre_transform,
                         force_reload=force_reload)
        if self.keeps_processed:
            self.load(self.processed_paths[0])
        else:
            self.data = self._read()

    def read(self) -> KnowledgeGraph:
        r"""Reads the graph from the files in :obj:`self.raw_dir`."""
        raise NotImplementedError

    @property
    def keeps_processed(self) -> bool:
        r"""A flag that is :obj:`True` if the processed graph is saved."""
        return True

    def process(self) -> None:
        self.save([self._read()], self.processed_paths[0])

    def _read(self) -> KnowledgeGraph:
        data = self.read()
        return data if self.pre_transform is None else self.pre_transform(data)

    def _process(self) -> None:
        if not self.keeps_processed:
            return
        record = osp.splitext(self.processed_paths[0])[0] + '.json'
        applied = {'pre_transform': _describe(self.pre_transform)}
        # The record is written last. Without it, the graph may be outdated.
        if (not self.force_reload and osp.exists(record)
                and osp.exists(self.processed_paths[0])):
            if read_json(record) != applied:
                warnings.warn(
                    "Expected the same 'pre_transform' as for the processed "
                    f"graph '{self.processed_paths[0]}' (got another one). "
                    'Pass force_reload=True to process the dataset again.',
                    stacklevel=2)
            return
        with contextlib.suppress(FileNotFoundError):
            os.unlink(record)
        self.process()
        write_json(record, applied)

    @classmethod
    def save(cls, data_list: Sequence[Any], path: str) -> None:
        r"""Writes the only graph in :obj:`data_list`."""
        data, = data_list
        data.save(path)

    def load(self, path: str, data_cls: Any = KnowledgeGraph) -> None:
        r"""Reads the graph that :meth:`save` wrote."""
        self.data, self.slices = data_cls.load(path), None


def _describe(transform: Callable[..., Any] | None) -> str:
    # The memory address of a function changes from run to run.
    return re.sub(r' at 0x[0-9a-fA-F]+', '', repr(transform))
