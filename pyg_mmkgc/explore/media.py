r"""Pictures and texts of nodes to show on the pages."""

from __future__ import annotations

import io
import pathlib
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

from pyg_mmkgc.config.components import read_options
from pyg_mmkgc.config.schema import Config
from pyg_mmkgc.datasets import Countries
from pyg_mmkgc.errors import MMKGCError
from pyg_mmkgc.features.folder import SOURCE
from pyg_mmkgc.features.items import Item, match_items
from pyg_mmkgc.features.reading import read_item
from pyg_mmkgc.io.atomic import read_json
from pyg_mmkgc.runs.features import FeatureSource

# The largest width and height of a thumbnail, twice the size on the page for
# screens of high density.
SIZE = 240
KEPT = 512  # The number of thumbnails in memory.


class Media:
    r"""The first picture and the first text of each node.

    Args:
        pictures (dict, optional): The picture of a node: an array
            :obj:`[height, width, 3]` of bytes, or an item that is read on
            demand. (default: :obj:`None`)
        texts (dict, optional): The text of a node, or an item that is read on
            demand. (default: :obj:`None`)
    """
    def __init__(self, pictures: Mapping[int, Any] | None = None,
                 texts: Mapping[int, str | Item] | None = None) -> None:
        self._pictures = dict(pictures or {})
        self._texts = dict(texts or {})
        self._thumbnail = lru_cache(KEPT)(self._make_thumbnail)

    def has_picture(self, node: int) -> bool:
        r"""Returns :obj:`True` if a node has a picture, which may be
        unreadable.
        """
        return node in self._pictures

    def thumbnail(self, node: int) -> bytes | None:
        r"""Returns the picture of a node as a small PNG, or :obj:`None` if it
        is missing or cannot be read.
        """
        return self._thumbnail(node)

    def text(self, node: int) -> str | None:
        r"""Returns the text of a node, or :obj:`None` if it is missing or
        cannot be read.
        """
        value = self._texts.get(node)
        if isinstance(value, Item):
            value = read_item(value, 'text').value
        return value or None

    def _make_thumbnail(self, node: int) -> bytes | None:
        from PIL import Image

        value = self._pictures.get(node)
        if value is None:
            return None
        image = (read_item(value, 'image').value if isinstance(value, Item)
                 else Image.fromarray(value))
        if image is None:
            return None
        scale = SIZE / max(image.size)
        # Sharper filters draw lines next to the edges of enlarged flags.
        image = image.resize([max(1, round(scale * x)) for x in image.size],
                             Image.Resampling.BILINEAR if scale > 1 else
                             Image.Resampling.LANCZOS)
        out = io.BytesIO()
        image.save(out, 'PNG', optimize=False)
        return out.getvalue()


def media_of(config: Config | None, labels: Sequence[str] | None,
             images: str | None = None, texts: str | None = None) -> Media:
    r"""Returns the pictures and texts of a graph. By default, these are the
    inputs that its features were extracted from, or the flags and descriptions
    of :class:`~pyg_mmkgc.datasets.Countries`.

    Args:
        config (Config or None): The configuration of the graph.
        labels (list[str] or None): The label of each node.
        images (str, optional): As for :class:`FeatureSource`.
            (default: :obj:`None`)
        texts (str, optional): As for :class:`FeatureSource`.
            (default: :obj:`None`)
    """
    found: dict[str, dict[int, Any]] = {'image': {}, 'text': {}}
    if labels is None:
        return Media()
    if config is not None and config.dataset.name == 'Countries':
        found = _countries(config, labels)
    features = {} if config is None else config.dataset.options.get('features')
    if isinstance(features, Mapping):
        root = config.dataset.options.get('root') if config else None
        for path in features.values():
            if isinstance(path, str):
                _add_source(found, pathlib.Path(root or '.', path), labels)
    for kind, path in (('image', images), ('text', texts)):
        if path is not None:
            found[kind] = _items(FeatureSource(kind, path), labels)
    return Media(found['image'], found['text'])


def _countries(config: Config,
               labels: Sequence[str]) -> dict[str, dict[int, Any]]:
    dataset = Countries(config.dataset.options.get('root'))
    # The graph of a run is numbered like its model.
    place = {label: i for i, label in enumerate(labels)}
    nodes = [place.get(label) for label in dataset[0].node_names]
    flags = dataset.thumbnails.numpy()
    return {
        'image': {i: flag for i, flag in zip(nodes, flags, strict=False)
                  if i is not None},
        'text': {i: text for i, text in zip(nodes, dataset.descriptions,
                                            strict=True)
                 if i is not None and text}}


def _add_source(found: dict[str, dict[int, Any]], folder: pathlib.Path,
                labels: Sequence[str]) -> None:
    file = folder / SOURCE
    if not file.is_file():
        return
    source = FeatureSource(**read_options(SOURCE, read_json(file),
                                          FeatureSource))
    if source.kind not in found:  # Numbers are not shown.
        return
    try:
        found[source.kind] = _items(source, labels)
    except (MMKGCError, OSError) as error:  # The files may have moved.
        print(f'no {source.kind}s: {error}')


def _items(source: FeatureSource, labels: Sequence[str]) -> dict[int, Item]:
    items, names = source.read()
    items = [item for item in items if not item.problem]
    names = names if source.match == 'id' else None
    if names is not None:  # Ids refer to the order of that graph.
        items = [item._replace(entity=names[int(item.entity)])
                 for item in items if item.entity.isdecimal()
                 and int(item.entity) < len(names)]
    matched = match_items(items, labels)
    out: dict[int, Item] = {}
    for node, item in zip(matched.nodes, matched.items, strict=True):
        out.setdefault(node, item)
    return out
