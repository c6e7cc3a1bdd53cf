r"""The command ``mmkgc features``.

The folder of the features also has the file ``source.json``, which tells
``inspect`` where the images and texts are.
"""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from pyg_mmkgc.config.build import build_graph, find_device
from pyg_mmkgc.config.components import read_options
from pyg_mmkgc.config.loader import load_config
from pyg_mmkgc.data.names import places
from pyg_mmkgc.data.text import read_lines
from pyg_mmkgc.errors import ConfigError, MMKGCError
from pyg_mmkgc.features import (
    Item,
    extract,
    extract_numbers,
    make_encoder,
    read_folder,
    read_numbers,
    read_table,
)
from pyg_mmkgc.features.extract import DTYPES as NAMES
from pyg_mmkgc.features.folder import SOURCE
from pyg_mmkgc.features.inspect import (
    Coverage,
    FeatureReport,
    inspect_features,
)
from pyg_mmkgc.features.items import match_items
from pyg_mmkgc.features.plot import check_picture, plot_report, read_samples
from pyg_mmkgc.io.atomic import read_json, write_json
from pyg_mmkgc.io.reading import user_path

DTYPES = {name: dtype for dtype, name in NAMES.items()}


@dataclass(frozen=True)
class FeatureSource:
    r"""Images, texts or numbers, and the nodes that they belong to.

    Args:
        kind (str): :obj:`"image"`, :obj:`"text"` or :obj:`"number"`.
        path (str): A folder with one subfolder of images per entity, or a
            table.
        root (str, optional): The folder that the paths in a table are
            relative to. (default: :obj:`None`, the folder of the table)
        header (bool, optional): If set to :obj:`False`, a table has no header.
            (default: :obj:`True`)
        graph (str, optional): The graph, either a configuration as for
            :func:`load_config`, or a file :obj:`.txt` with one label per line.
            (default: :obj:`None`, every entity is a node)
        data_root (str, optional): The folder of the dataset's files.
            (default: :obj:`None`, as in the configuration)
        match (str, optional): If set to :obj:`"label"`, entities are labels of
            nodes. If set to :obj:`"id"`, they are ids of nodes.
            (default: :obj:`"label"`)
    """
    kind: str
    path: str
    root: str | None = None
    header: bool = True
    graph: str | None = None
    data_root: str | None = None
    match: str = 'label'

    def items(self) -> list[Item]:
        r"""Lists the images, texts or numbers.

        Raises:
            ConfigError: If there is no such folder or table.
        """
        path = user_path(self.path)
        if self.kind == 'image' and path.is_dir():
            return read_folder(path)
        if not path.is_file():
            expected = ('a folder with one subfolder per entity, or a table'
                        if self.kind == 'image' else 'a table')
            raise ConfigError(f"Expected '{self.path}' to be {expected} (got "
                              'neither)')
        if self.kind == 'number':
            return read_numbers(path, self.header)
        return read_table(path, self.kind, self.root, self.header)

    def read(self) -> tuple[list[Item], list[str] | None]:
        r"""Returns the items, and the label of each node or :obj:`None`
        without a graph. If several nodes share a label, identifiers replace
        all labels.
        """
        items, (names, ids) = self.items(), self._names()
        if names is None or ids is None:
            return items, names
        labels = names if len(set(names)) == len(names) else ids
        if self.match == 'id':
            return items, labels
        place = places(names, ids)
        return [item if item.entity not in place else item._replace(
            entity=labels[place[item.entity]]) for item in items], labels

    def _names(self) -> tuple[list[str] | None, list[str] | None]:
        if self.graph is None:
            return None, None
        if _is_list(self.graph):
            return read_lines(user_path(self.graph)), None
        config = load_config(self.graph)
        # The features of the graph may not be extracted yet.
        options = dict(config.dataset.options)
        if 'features' in options:
            options['features'] = (None if config.dataset.name == 'TSV' else
                                   'none')
        options |= {'modalities': None, 'drop_features': None}
        graph = build_graph(dataclasses.replace(
            config, dataset=dataclasses.replace(
                config.dataset, options=options)), self.data_root)
        return graph.get('node_names'), graph.get('node_ids')

    def absolute(self) -> FeatureSource:
        r"""Returns the source with absolute paths."""
        graph, root, data_root = self.graph, self.root, self.data_root
        if graph is not None and not _is_list(graph):
            dataset = load_config(graph).dataset
            data_root = data_root or dataset.options['root'] or (
                '.' if dataset.name == 'TSV' else None)
        if graph is not None and graph.lower().endswith(
                ('.txt', '.yaml', '.yml')):  # Otherwise, a name.
            graph = _absolute(graph)
        return dataclasses.replace(
            self, path=_absolute(self.path), graph=graph,
            root=None if root is None else _absolute(root),
            data_root=None if data_root is None else _absolute(data_root))


def extract_features(source: FeatureSource, encoder: str, folder: str,
                     pool: str = 'mean', dtype: str = 'float32',
                     batch_size: int = 32, num_workers: int = 2,
                     device: str | None = None, revision: str | None = None,
                     progress: bool = True) -> Coverage:
    r"""Encodes images or texts and writes the vectors to a folder, or
    continues an interrupted extraction.

    Args:
        source (FeatureSource): The images or texts.
        encoder (str): A name as for
            :func:`~pyg_mmkgc.features.make_encoder`.
        folder (str): The folder of the result.
        pool (str, optional): As for :func:`~pyg_mmkgc.features.extract`.
        dtype (str, optional): The data type to store.
            (default: :obj:`"float32"`)
        batch_size (int, optional): The number of images or texts per batch.
            (default: :obj:`32`)
        num_workers (int, optional): The number of processes that read and
            prepare items. (default: :obj:`2`)
        device (str, optional): The name of a :class:`torch.device`.
            (default: :obj:`None`, a GPU if there is one)
        revision (str, optional): The version of the weights.
            (default: :obj:`None`)
        progress (bool, optional): If set to :obj:`False`, shows no progress
            bar. (default: :obj:`True`)

    Raises:
        ConfigError: If the encoder is for another kind of inputs.
    """
    kind = _dtype(dtype)
    items, labels = source.read()
    made = make_encoder(encoder, revision=revision,
                        device=find_device(device, '--device'))
    if made.kind != source.kind:
        raise ConfigError(f'Expected an encoder for {source.kind}s (got '
                          f"'{encoder}', which encodes {made.kind}s)")
    path = user_path(folder)
    out = extract(items, made, path, labels, source.match, pool,
                  kind, batch_size, num_workers, progress)
    write_json(path / SOURCE, dataclasses.asdict(source.absolute()))
    return Coverage.from_manifest(out.manifest)


def extract_number_features(source: FeatureSource, folder: str,
                            dtype: str = 'float32') -> Coverage:
    r"""Standardizes the numbers and dates of a table and writes them to a
    folder.

    Args:
        source (FeatureSource): The table.
        folder (str): The folder of the result.
        dtype (str, optional): The data type to store.
            (default: :obj:`"float32"`)
    """
    path, kind = user_path(folder), _dtype(dtype)
    items, labels = source.read()
    out = extract_numbers(items, path, labels, source.match, kind)
    write_json(path / SOURCE, dataclasses.asdict(source.absolute()))
    return Coverage.from_manifest(out.manifest)


def _dtype(name: str) -> torch.dtype:
    if name not in DTYPES:
        raise ConfigError(f"Expected 'dtype' to be one of {list(DTYPES)} (got "
                          f'{name!r})')
    return DTYPES[name]


def table_folder(table: str) -> str:
    r"""Returns the default folder of features: the path of the table without
    its suffix, where the benchmarks look for a modality of this name.

    Args:
        table (str): The path of the table.

    Raises:
        ConfigError: If the path has no suffix of a table.
    """
    path = pathlib.PurePath(table)
    if path.suffix not in ('.tsv', '.csv', '.jsonl'):
        raise ConfigError('Expected --out DIR, or a table with the suffix '
                          f".tsv, .csv or .jsonl (got '{table}')")
    return str(path.with_suffix(''))


def inspect_folder(folder: str, entities: Sequence[str] | None = None,
                   output: str | None = None,
                   source: str | None = None) -> FeatureReport:
    r"""Inspects a folder of features and plots the results.

    Args:
        folder (str): The folder.
        entities (list[str], optional): As for
            :func:`~pyg_mmkgc.features.inspect_features`.
        output (str, optional): The picture to write.
            (default: :obj:`inspect.png` in the folder)
        source (str, optional): The current path of the images or texts.
            (default: :obj:`None`, the path at extraction time)

    Raises:
        ConfigError: If the ending of the picture is unknown.
        DataError: If the folder has no complete features.
    """
    if output is not None:  # A bad ending is an error, unlike a missing plot.
        check_picture(output)
    path = user_path(folder)
    report = inspect_features(path, entities)
    try:
        samples = _samples(report, path, source)
    except (MMKGCError, OSError) as error:  # The files may have moved.
        print(f'no {report.coverage.kind}s in the picture: {error}')
        samples = {}
    try:
        plot_report(report, output or path / 'inspect.png', samples)
    except MMKGCError as error:  # The numbers need no matplotlib.
        print(f'no picture: {error}')
    return report


def _samples(report: FeatureReport, path: pathlib.Path,
             moved: str | None) -> dict[str, Any]:
    file = path / SOURCE
    if file.is_file():
        source = FeatureSource(**read_options(SOURCE, read_json(file),
                                              FeatureSource))
        source = dataclasses.replace(source, path=moved or source.path)
    elif moved is not None:  # The features were extracted in Python.
        source = FeatureSource(report.coverage.kind, moved)
    else:
        raise ConfigError(f"Expected '{file}' (got none). Pass --source to "
                          f'locate the {report.coverage.kind}s.')
    matched = match_items(*source.read(), source.match)
    return read_samples(matched, {*report.neighbours, *(
        label for row in report.neighbours.values() for label, _ in row)},
        source.kind)


def _is_list(graph: str) -> bool:
    return graph.lower().endswith('.txt')


def _absolute(path: str) -> str:
    return str(user_path(path).absolute())
