r"""Extraction of features from images or texts."""

from __future__ import annotations

import contextlib
import hashlib
import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Union

import torch
from torch import Tensor
from tqdm import tqdm

from pyg_mmkgc.errors import DataError, MMKGCError
from pyg_mmkgc.features import images
from pyg_mmkgc.features.batches import Batch, encode, load_batches
from pyg_mmkgc.features.encoder import Encoder, Function, as_encoder
from pyg_mmkgc.features.folder import (
    FEATURES,
    FORMAT,
    LABELS,
    MANIFEST,
    SCHEMA,
    SOURCE,
    VERSION,
    FeatureFolder,
    load_feature_folder,
    write_safetensors,
)
from pyg_mmkgc.features.items import Item, Matched, as_items, match_items
from pyg_mmkgc.features.partial import NAME as PARTIAL
from pyg_mmkgc.features.partial import PartialRows, remove_partial
from pyg_mmkgc.features.plan import as_json, check_plan
from pyg_mmkgc.features.pooling import mean_pool
from pyg_mmkgc.features.reading import content_digest
from pyg_mmkgc.io.atomic import PathLike, read_json, write_atomic, write_json
from pyg_mmkgc.io.schema import check_schema

DTYPES = {torch.float: 'float32', torch.half: 'float16',
          torch.bfloat16: 'bfloat16'}
# The number of values held in memory while rows are pooled.
BLOCK = 1 << 19


def extract(
    items: Iterable[Item] | Mapping[str, Any],
    encoder: Union[Encoder, Function],
    folder: PathLike,
    labels: Sequence[str] | None = None,
    match: str = 'label',
    pool: str = 'mean',
    dtype: torch.dtype = torch.float,
    batch_size: int = 32,
    num_workers: int = 2,
    progress: bool = True,
) -> FeatureFolder:
    r"""Encodes images or texts of entities and writes the vectors to a
    folder.

    .. code-block:: python

        items = read_folder('images')
        features = extract(items, make_encoder('clip'), 'clip_features',
                           labels=kg.node_names)
        features.x
        >>> tensor of shape [num_rows, 512]

    Unusable items, such as truncated images or texts that are not UTF-8, are
    left out and listed in the manifest with the reason. An entity without a
    usable item has no row.

    If the process is killed, the same call continues where it stopped. The
    result is equal bit for bit if the encoder is deterministic. If the folder
    is complete already, its features are returned. The required memory does
    not grow with the number of vectors.

    Args:
        items (list[Item] or dict): The images or texts, as returned by
            :func:`~pyg_mmkgc.features.read_folder` or
            :func:`~pyg_mmkgc.features.read_table`, or a dictionary from entity
            to one or several texts, image paths, Pillow images, or arrays of
            bytes :obj:`[height, width, channels]`.
        encoder (Encoder or callable): The encoder, as returned by
            :func:`~pyg_mmkgc.features.make_encoder`, or any function that maps
            a list of images or texts to their vectors.
        folder (str or os.PathLike): The folder to write.
        labels (list[str], optional): The label of each node of the graph,
            such as :obj:`kg.node_names`. If set to :obj:`None`, all entities
            are nodes. (default: :obj:`None`)
        match (str, optional): If set to :obj:`"label"`, entities are labels of
            nodes. If set to :obj:`"id"`, they are ids of nodes.
            (default: :obj:`"label"`)
        pool (str, optional): If set to :obj:`"mean"`, stores the mean vector
            of each entity (eq. (1) of the AdaMF-MAT paper). If set to
            :obj:`"all"`, stores all of its vectors. (default: :obj:`"mean"`)
        dtype (torch.dtype, optional): The type to store: single precision,
            half precision or :obj:`torch.bfloat16`.
            (default: :obj:`torch.float`)
        batch_size (int, optional): The number of items to encode at once. It
            is halved when memory runs out. (default: :obj:`32`)
        num_workers (int, optional): The number of processes that read and
            prepare items. (default: :obj:`2`)
        progress (bool, optional): If set to :obj:`False`, shows no progress
            bar. (default: :obj:`True`)

    Raises:
        DataError: If no item is usable, if no entity is in the graph, or if
            the folder holds features with another encoder, other inputs or
            options, or unrelated files with the same names.
        FormatError: If the folder's table has changed since it was written.
        MMKGCError: If a worker was killed. Repeat the call to continue.
    """
    if pool not in ('mean', 'all') or dtype not in DTYPES:
        raise DataError(f"Expected 'pool' to be 'mean' or 'all' and 'dtype' "
                        f'to be one of {list(DTYPES)} (got {pool!r} and '
                        f'{dtype})')
    if batch_size < 1 or num_workers < 0:
        raise DataError("Expected 'batch_size' to be positive and "
                        "'num_workers' not to be negative (got "
                        f'{batch_size} and {num_workers})')
    folder = Path(folder)
    items = (as_items(items) if isinstance(items, Mapping) else list(items))
    check_own(folder)
    encoder = as_encoder(encoder, items)
    # An encoder may encode parts of the items.
    expand = getattr(encoder, 'expand', None)
    matched = match_items(items if expand is None else expand(items), labels,
                          match)
    plan = as_json({
        'format': FORMAT,
        'version': VERSION,
        'encoder': {'kind': encoder.kind, **encoder.describe()},
        'reading': images.reading() if encoder.kind == 'image' else {},
        'options': {'pool': pool, 'dtype': DTYPES[dtype], 'match': match,
                    'batch_size': batch_size},
        'items_sha256': matched.digest(),
    })
    if (folder / MANIFEST).exists():
        check_complete(folder, plan, matched)
        features = load_feature_folder(folder)  # Verifies the table.
        remove_partial(folder)
        return features

    # Means are computed from the encoder's output, before it is converted to
    # the stored type.
    rows = PartialRows(folder, plan, torch.float if pool == 'mean' else dtype)
    try:
        _encode_all(rows, matched.items, encoder, batch_size, num_workers,
                    progress)
        if rows.num_rows == 0:
            record = next(rows.records())
            remove_partial(folder)
            raise DataError(f'Expected at least one usable item (got '
                            f'{len(matched.items)} unusable items, the first '
                            f'for this reason: {record["reasons"]["0"]})')
        _finish(rows, folder, plan, matched, pool, dtype)
    finally:
        rows.close()
    remove_partial(folder)
    return load_feature_folder(folder)


def check_own(folder: Path) -> None:
    r"""Raises a :class:`~pyg_mmkgc.errors.DataError` if a folder holds
    unrelated files with the names of files of features.
    """
    # Our own files come with a manifest, or with partial rows before that.
    if (folder / MANIFEST).exists() or (folder / PARTIAL).exists():
        return
    for name in (LABELS, FEATURES, SOURCE):
        if (folder / name).exists():
            raise DataError(f'Expected a separate folder for these features '
                            f"(got '{folder / name}', which exists without a "
                            f"'{MANIFEST}'). Choose another folder.")


def _encode_all(rows: PartialRows, items: list[Item], encoder: Encoder,
                batch_size: int, num_workers: int, progress: bool) -> None:
    size = batch_size
    for i, record in enumerate(rows.records()):
        size = record['size']
        done = items[i * batch_size:(i + 1) * batch_size]
        for item, digest in zip(done, record['digests'], strict=True):
            if content_digest(item) != digest:
                raise DataError(f'Expected {item.key!r} to be unchanged since '
                                f'its features were extracted to '
                                f"'{rows.folder.parent}' (got other content). "
                                f'Delete this folder to start over.')
    first = min(rows.num_batches * batch_size, len(items))
    batches = load_batches(items, encoder, first, batch_size, num_workers)
    with tqdm(total=len(items), initial=first, unit=encoder.kind,
              disable=not progress) as bar:
        try:
            for batch in batches:
                size = _append(rows, encoder, batch, size)
                bar.update(len(batch.reasons))
        except RuntimeError as error:
            # PyTorch has no class for this error, and raises it from a signal
            # handler, so it may occur anywhere in this loop.
            if not str(error).startswith('DataLoader worker (pid'):
                raise
            raise MMKGCError(
                f'Expected the workers that prepare items for '
                f"'{rows.folder.parent}' to finish (got {error}). A worker "
                f'was killed, perhaps because memory ran out. The same call '
                f'continues where it stopped, and fewer workers need less '
                f'memory.') from error


def _append(rows: PartialRows, encoder: Encoder, batch: Batch,
            size: int) -> int:
    x = torch.empty(0, rows.num_channels or 0)
    if len(batch.values) > 0:
        x, size = encode(encoder, batch.values, size)
    if rows.num_rows > 0 and x.size(1) != rows.num_channels:
        raise DataError(f'Expected the encoder to return '
                        f'{rows.num_channels} channels, as before (got '
                        f'{x.size(1)})')
    x, reasons = x.to(rows.dtype), list(batch.reasons)
    finite = x.isfinite().all(dim=1)
    used = [i for i, reason in enumerate(reasons) if reason == '']
    for i, good in zip(used, finite.tolist(), strict=True):
        if not good:
            reasons[i] = (f'the encoder returned values that are not finite '
                          f'in {DTYPES[rows.dtype]}')
    rows.append(x[finite], {
        'size': size,
        'digests': batch.digests,
        'reasons': {str(i): reason for i, reason in enumerate(reasons)
                    if reason != ''},
    })
    return size


def _finish(rows: PartialRows, folder: Path, plan: dict[str, Any],
            matched: Matched, pool: str, dtype: torch.dtype) -> None:
    entities, count, digest = _status(rows, matched)
    ptr = torch.cat([count.new_zeros(1), count[count > 0].cumsum(0)])
    num_rows, num_channels = ptr.numel() - 1, rows.num_channels
    assert num_channels is not None
    block = max(BLOCK // num_channels, 1)
    # Integers come first, since they are the widest type.
    layout: dict[str, tuple[torch.dtype, Sequence[int]]] = {}
    blocks: Iterable[Tensor]
    if pool == 'all':
        layout['ptr'] = (torch.long, ptr.size())
        layout['x'] = (dtype, (rows.num_rows, num_channels))
        sizes = [min(block, rows.num_rows - start)
                 for start in range(0, rows.num_rows, block)]
        blocks = itertools.chain([ptr], rows.blocks(sizes))
    else:
        layout['x'] = (dtype, (num_rows, num_channels))
        blocks = _means(rows, ptr, block, dtype)
    features_sha256 = write_safetensors(folder / FEATURES, layout, blocks)

    there = [label for label, n in zip(matched.labels, count.tolist(),
                                       strict=True) if n > 0]
    write_manifest(folder, matched, there, {
        **plan,
        'input_sha256': digest,
        'features_sha256': features_sha256,
        'versions': {'torch': torch.__version__, **_versions()},
        'num_used': rows.num_rows,
        'num_rows': num_rows,
        'num_channels': num_channels,
        'entities': entities,
    })


def write_manifest(folder: Path, matched: Matched, there: Sequence[str],
                   values: dict[str, Any]) -> None:
    r"""Writes the labels of a folder and then its manifest, which marks all
    other files as complete.

    Args:
        folder (pathlib.Path): The folder.
        matched (Matched): The items and the labels of all nodes.
        there (list[str]): The label of each row.
        values (dict): The part of the manifest that depends on the features.
    """
    text = ''.join(f'{label}\n' for label in there)
    write_atomic(folder / LABELS, text)
    write_json(folder / MANIFEST, {
        **values,
        'labels_sha256': hashlib.sha256(text.encode()).hexdigest(),
        'num_items': len(matched.items),
        'without': sorted(set(matched.labels) - set(there)),
        'unknown': matched.unknown,
    })


def _status(rows: PartialRows,
            matched: Matched) -> tuple[dict[str, Any], Tensor, str]:
    entities: dict[str, Any] = {}
    count = torch.zeros(len(matched.labels), dtype=torch.long)
    pairs = iter(zip(matched.nodes, matched.items, strict=True))
    digests = (digest for record in rows.records()
               for digest in record['digests'])
    for record in rows.records():
        for i in range(len(record['digests'])):
            node, item = next(pairs)
            entity = entities.setdefault(matched.labels[node],
                                         {'used': 0, 'unusable': []})
            reason = record['reasons'].get(str(i))
            if reason is None:
                entity['used'] += 1
                count[node] += 1
            else:
                entity['unusable'].append({'key': item.key,
                                           'reason': reason})
    return entities, count, input_sha256(matched, digests)


def _means(rows: PartialRows, ptr: Tensor, block: int,
           dtype: torch.dtype) -> Iterator[Tensor]:
    # Group whole entities into blocks of about `block` rows.
    ends = [0]
    for i in range(1, ptr.numel()):
        if i == ptr.numel() - 1 or int(ptr[i + 1] - ptr[ends[-1]]) > block:
            ends.append(i)
    parts = [ptr[start:end + 1] for start, end in itertools.pairwise(ends)]
    sizes = [int(part[-1] - part[0]) for part in parts]
    for x, part in zip(rows.blocks(sizes), parts, strict=True):
        mean = mean_pool(x, part - part[0]).to(dtype)
        if not mean.isfinite().all():
            raise DataError(f'Expected finite means in {DTYPES[dtype]} (got '
                            f'an infinite or NaN value). Choose a wider type.')
        yield mean


def check_complete(folder: Path, plan: dict[str, Any],
                   matched: Matched) -> None:
    r"""Raises a :class:`~pyg_mmkgc.errors.DataError` if complete features were
    extracted by another plan or from other content.
    """
    manifest = read_json(folder / MANIFEST)
    check_plan(folder, manifest, plan)
    check_schema(manifest, SCHEMA, f"'{folder / MANIFEST}'")
    digests = (content_digest(item) for item in matched.items)
    if manifest.get('input_sha256') != input_sha256(matched, digests):
        raise DataError(f"Expected '{folder}' to hold features of the same "
                        f'content (got items that have changed since). Delete '
                        f'this folder to start over.')


def input_sha256(matched: Matched, digests: Iterable[str]) -> str:
    r"""Returns a SHA-256 of all items, given the digest of the content of
    each item.
    """
    out = hashlib.sha256(matched.digest().encode())
    for digest in digests:
        out.update(f'{digest}\n'.encode())
    return out.hexdigest()


def _versions() -> dict[str, str]:
    found = {}
    for name in ('pillow', 'timm', 'transformers', 'sentence-transformers'):
        with contextlib.suppress(PackageNotFoundError):
            found[name] = version(name)
    return found
