from __future__ import annotations

import os
import pathlib
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from pyg_mmkgc.data import KnowledgeGraph
from pyg_mmkgc.data.text import read_lines
from pyg_mmkgc.datasets.base import MMKGDataset
from pyg_mmkgc.errors import FormatError
from pyg_mmkgc.io.tensors import read_safetensors

ENCODERS = {
    'text': {'kind': 'text', 'name': 'sentence-transformers:'
             'sentence-transformers/all-MiniLM-L6-v2'},
    'visual': {'kind': 'image', 'name': 'descriptor', 'revision': 1},
}
FILES = {'train': 'train.tsv', 'val': 'valid.tsv', 'test': 'test.tsv'}


class Countries(MMKGDataset):
    r"""The Countries knowledge graph, a small real dataset that ships with
    the package.

    It connects countries, cities, languages, scripts, currencies and time
    zones from `GeoNames <https://www.geonames.org>`_ and
    `CLDR <https://cldr.unicode.org>`_. It is loaded offline, without writing
    any file. Its two modalities are imbalanced, as in real graphs:

    * :obj:`x_text` with shape :obj:`[num_nodes, 384]`: The sentence embedding
      of a one-line description, such as *Graz, a city of 222 thousand people
      at 47.1 degrees north and 15.4 degrees east.* It only mentions other
      nodes that are part of the name of the node. UTC offsets, and languages
      without an English name, have no description.
    * :obj:`x_visual` with shape :obj:`[num_nodes, 304]`: The color layout,
      gradients and color histogram of the flag. Only countries have a flag.

    No relation is the inverse of another one, and all triples between the
    same two nodes, in either direction, are in the same split.
    The file :obj:`LICENSES.md` next to the data lists the sources and their
    licenses, and :obj:`examples/build_countries.py` builds the data.

    Args:
        root (str or os.PathLike, optional): The folder of your own build of
            the data. (default: :obj:`None`, the data of the package)
        transform (callable, optional): A function/transform that takes in a
            :class:`~pyg_mmkgc.data.KnowledgeGraph` and returns a transformed
            version. It is applied before every access.
            (default: :obj:`None`)

    **STATS:**

    .. list-table::
        :widths: 10 10 10 10 10
        :header-rows: 1

        * - #nodes
          - #relations
          - #train
          - #val
          - #test
        * - 3,706
          - 16
          - 9,901
          - 1,238
          - 1,236
    """
    def __init__(
        self,
        root: str | os.PathLike[str] | None = None,
        transform: Callable[..., Any] | None = None,
    ) -> None:
        if root is None:
            root = pathlib.Path(__file__).parent / 'countries_data'
        super().__init__(root, transform)

    @property
    def keeps_processed(self) -> bool:
        return False

    def read(self) -> KnowledgeGraph:
        nodes = self._nodes
        ids = {node[0]: i for i, node in enumerate(nodes)}
        relations: dict[str, int] = {}
        triples: list[tuple[int, int, int]] = []
        sizes: list[int] = []
        for name in FILES.values():
            rows = self._rows(name, 3)
            try:
                triples += [(ids[h], relations.setdefault(r, len(relations)),
                             ids[t]) for h, r, t in rows]
            except KeyError as error:
                raise FormatError(
                    f'Expected labels of nodes.tsv in '
                    f"'{self._path(name)}' (got {error})") from None
            sizes.append(len(rows))
        head, edge_type, tail = torch.tensor(triples).t().contiguous()
        split = torch.arange(3).repeat_interleave(torch.tensor(sizes))

        tables = self._tables
        # The scale of a row without a description is zero.
        text_scale = tables['text_scale'].float()
        visual = tables['visual'].float()
        num_flags = visual.size(0)  # Countries are the first nodes.
        x_visual = visual.new_zeros(len(nodes), visual.size(1))
        x_visual[:num_flags] = visual
        masks: dict[str, Any] = {f'{name}_mask': split == i
                                 for i, name in enumerate(FILES)}
        return KnowledgeGraph(
            edge_index=torch.stack([head, tail]),
            edge_type=edge_type,
            num_nodes=len(nodes),
            num_relations=len(relations),
            node_names=list(ids),
            relation_names=list(relations),
            x_text=tables['text'].float() * text_scale.view(-1, 1),
            mask_text=text_scale > 0,
            x_visual=x_visual,
            mask_visual=torch.arange(len(nodes)) < num_flags,
            feature_encoders=ENCODERS,
            **masks,
        )

    @property
    def descriptions(self) -> list[str]:
        r"""The description of each node, which may be empty."""
        return [node[3] for node in self._nodes]

    @property
    def kinds(self) -> list[str]:
        r"""The kind of each node, one of :obj:`"country"`, :obj:`"city"`,
        :obj:`"region"`, :obj:`"currency"`, :obj:`"language"`,
        :obj:`"script"`, :obj:`"time zone"`, :obj:`"clock"` and
        :obj:`"utc offset"`.
        """
        return [node[1] for node in self._nodes]

    @property
    def thumbnails(self) -> Tensor:
        r"""The flags with shape :obj:`[num_flags, height, width, 3]` and type
        :obj:`torch.uint8`. Flag :obj:`i` belongs to node :obj:`i`.
        """
        return self._tables['thumbnails']

    @property
    def _nodes(self) -> list[list[str]]:
        return self._rows('nodes.tsv', 4)[1:]

    @property
    def _tables(self) -> dict[str, Tensor]:
        return read_safetensors(self._path('features.safetensors'))[1]

    def _rows(self, name: str, num_columns: int) -> list[list[str]]:
        rows = [line.split('\t') for line in read_lines(self._path(name))]
        for i, row in enumerate(rows, start=1):
            if len(row) != num_columns:
                raise FormatError(f'Expected {num_columns} columns in '
                                  f"'{self._path(name)}', row {i} (got "
                                  f'{len(row)})')
        return rows

    def _path(self, name: str) -> pathlib.Path:
        return pathlib.Path(self.root) / name
