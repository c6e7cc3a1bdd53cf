r"""Tables of numbers and dates as features."""

from __future__ import annotations

import calendar
import math
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pyg_mmkgc.errors import DataError, FormatError
from pyg_mmkgc.features.extract import (
    DTYPES,
    check_complete,
    check_own,
    input_sha256,
    write_manifest,
)
from pyg_mmkgc.features.folder import (
    FEATURES,
    FORMAT,
    MANIFEST,
    VERSION,
    FeatureFolder,
    load_feature_folder,
    write_safetensors,
)
from pyg_mmkgc.features.items import Item, Matched, match_items
from pyg_mmkgc.features.partial import NAME as PARTIAL
from pyg_mmkgc.features.partial import remove_partial
from pyg_mmkgc.features.plan import as_json
from pyg_mmkgc.features.reading import content_digest
from pyg_mmkgc.features.sources import table_rows
from pyg_mmkgc.io.atomic import PathLike
from pyg_mmkgc.io.reading import as_path

_NUMBER = re.compile(r'[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?', re.ASCII)
_DATE = re.compile(r'([+-]?\d{1,9})-(\d{1,2})(?:-(\d{1,2}))?'
                   r'(?:T[\d:.]+)?(?:Z|[+-]\d\d:\d\d)?', re.ASCII)


def read_numbers(path: PathLike, header: bool = True) -> list[Item]:
    r"""Lists the values of a table with the columns :obj:`entity`,
    :obj:`attribute` and :obj:`value`.

    The formats are the same as for :func:`~pyg_mmkgc.features.read_table`.
    The content of an item is the attribute and the value, separated by a tab.

    Args:
        path (str or os.PathLike): The file.
        header (bool, optional): If set to :obj:`False`, a :obj:`.tsv` or
            :obj:`.csv` file has no header and only these three columns.
            (default: :obj:`True`)

    Raises:
        FormatError: If the file is not such a table. The message names the
            row.
    """
    path = as_path(path)
    out = []
    for row, (entity, attribute, value) in table_rows(
            path, ['attribute', 'value'], header):
        problem = '' if attribute.strip() else 'no attribute'
        if '\t' in attribute.strip():
            attribute, problem = '', 'the attribute contains a tab'
        try:
            attribute.encode('utf-8')
        except UnicodeEncodeError:
            problem = 'the attribute is not UTF-8'
        out.append(Item(entity, f'{attribute.strip()}\t{value.strip()}',
                        f'row {row}', problem))
    if not out:
        raise FormatError(f"Expected rows in '{path}' (got none)")
    return out


def parse_number(text: str) -> float:
    r"""Returns a number, or a date as a year with its fraction: 2 July 1998 is
    1998.4986. Dates have the form :obj:`1998-07-02`, where the day is
    optional. A time and a time zone may follow, but are ignored. Negative
    years are astronomical.

    Args:
        text (str): The text.

    Raises:
        FormatError: If the text is neither a finite number nor a date.
    """
    if _NUMBER.fullmatch(text):
        value = float(text)
        if math.isfinite(value):
            return value
    match = _DATE.fullmatch(text)
    if match:
        year, month = int(match[1]), int(match[2])
        day = 1 if match[3] is None else int(match[3])
        days = [31, 28 + calendar.isleap(year), 31, 30, 31, 30, 31, 31, 30,
                31, 30, 31]
        if 1 <= month <= 12 and 1 <= day <= days[month - 1]:
            return year + (sum(days[:month - 1]) + day - 1) / sum(days)
    raise FormatError(f'Expected a finite number or a date (got '
                      f'{text[:40]!r})')


def extract_numbers(
    items: Iterable[Item],
    folder: PathLike,
    labels: Sequence[str] | None = None,
    match: str = 'label',
    dtype: torch.dtype = torch.float,
) -> FeatureFolder:
    r"""Standardizes the values of entities and writes them to a folder.

    .. code-block:: python

        items = read_numbers('numeric.tsv')
        features = extract_numbers(items, 'numeric', labels=kg.node_names)
        features.x
        >>> tensor of shape [num_rows, 2 * num_attributes]

    The first half of the channels are values, and the second half is their
    mask:

    .. math::
        x_{e,a} = \frac{f_a(v_{e,a}) - \mu_a}{\sigma_a}, \qquad
        x_{e,A+a} = 1

    where :math:`v_{e,a}` is the mean of all values of attribute :math:`a` of
    entity :math:`e`, and the mean :math:`\mu_a` and the standard deviation
    :math:`\sigma_a` are over all entities with the attribute. Both channels
    are zero if an entity lacks the attribute. If all values of an attribute
    are positive and their standard deviation is larger than their mean, as
    for populations, :math:`f_a` is the logarithm, and otherwise the identity.
    The manifest lists the attributes in the order of their channels.

    Values that are neither numbers nor dates are left out and listed in the
    manifest with the reason. An entity without a usable value has no row.

    Args:
        items (list[Item]): The values, as returned by :func:`read_numbers`.
        folder (str or os.PathLike): The folder to write.
        labels (list[str], optional): The label of each node of the graph,
            such as :obj:`kg.node_names`. If set to :obj:`None`, all entities
            are nodes. (default: :obj:`None`)
        match (str, optional): If set to :obj:`"label"`, entities are labels of
            nodes. If set to :obj:`"id"`, they are ids of nodes.
            (default: :obj:`"label"`)
        dtype (torch.dtype, optional): The type to store: single precision,
            half precision or :obj:`torch.bfloat16`.
            (default: :obj:`torch.float`)

    Raises:
        DataError: If no value is usable, if no entity is in the graph, or if
            the folder holds other features or unrelated files with the same
            names.
        FormatError: If the folder's table has changed since it was written.
    """
    if dtype not in DTYPES:
        raise DataError(f"Expected 'dtype' to be one of {list(DTYPES)} (got "
                        f'{dtype})')
    folder = Path(folder)
    check_own(folder)
    matched = match_items(items, labels, match)
    plan = as_json({
        'format': FORMAT,
        'version': VERSION,
        'encoder': {'kind': 'number', 'name': 'standardized', 'revision': 1},
        'options': {'dtype': DTYPES[dtype], 'match': match},
        'items_sha256': matched.digest(),
    })
    if (folder / MANIFEST).exists():
        check_complete(folder, plan, matched)
        remove_partial(folder)
        return load_feature_folder(folder)
    values, entities = _parse(matched)
    num_used = sum(entity['used'] for entity in entities.values())
    if num_used == 0:
        reasons = [item['reason'] for entity in entities.values()
                   for item in entity['unusable']]
        raise DataError(f'Expected at least one usable value (got '
                        f'{len(reasons)} unusable values, the first for this '
                        f'reason: {reasons[0]})')
    x, attributes = _standardize(values, dtype)
    # Marks the files as ours until the manifest does.
    (folder / PARTIAL).mkdir(parents=True, exist_ok=True)
    features_sha256 = write_safetensors(folder / FEATURES, {
        'x': (dtype, x.size())}, [x])
    there = [matched.labels[node] for node in values]
    write_manifest(folder, matched, there, {
        **plan,
        'input_sha256': input_sha256(
            matched, map(content_digest, matched.items)),
        'features_sha256': features_sha256,
        'versions': {'torch': torch.__version__},
        'num_used': num_used,
        'num_rows': x.size(0),
        'num_channels': x.size(1),
        'attributes': attributes,
        'entities': entities,
    })
    remove_partial(folder)
    return load_feature_folder(folder)


Values = dict[int, dict[str, list[float]]]


def _parse(matched: Matched) -> tuple[Values, dict[str, Any]]:
    r"""Returns the values of each attribute of each node, and the outcome of
    each item for the manifest.
    """
    values: Values = {}
    entities: dict[str, Any] = {}
    for node, item in zip(matched.nodes, matched.items, strict=True):
        entity = entities.setdefault(matched.labels[node],
                                     {'used': 0, 'unusable': []})
        attribute, _, text = str(item.content).partition('\t')
        reason = item.problem
        try:
            number = parse_number(text)
        except FormatError as error:
            reason = reason or str(error)
        if reason != '':
            entity['unusable'].append({'key': item.key, 'reason': reason})
            continue
        entity['used'] += 1
        values.setdefault(node, {}).setdefault(attribute, []).append(number)
    return values, entities


def _standardize(values: Values, dtype: torch.dtype
                 ) -> tuple[Tensor, list[dict[str, Any]]]:
    r"""Returns the table, and a description of the scale of each attribute."""
    names = sorted({name for row in values.values() for name in row})
    column = {name: i for i, name in enumerate(names)}
    num = len(names)
    x = torch.zeros(len(values), num, dtype=torch.double)
    mask = torch.zeros(len(values), num, dtype=torch.bool)
    for i, row in enumerate(values.values()):
        for name, numbers in row.items():
            x[i, column[name]] = sum(numbers) / len(numbers)
            mask[i, column[name]] = True
    attributes = []
    for i, name in enumerate(names):
        present = x[mask[:, i], i]
        std, mean = torch.std_mean(present, correction=0)
        scale = 'linear'
        if bool((present > 0).all()) and std > mean:
            scale, present = 'log', present.log()
            std, mean = torch.std_mean(present, correction=0)
        # Rounding may leave equal values with a tiny deviation.
        constant = bool((present == present[0]).all())
        if not math.isfinite(mean + std) or (std == 0 and not constant):
            raise DataError(f'Expected values of attribute {name!r} whose '
                            'variance fits in double precision (got values '
                            f'from {float(present.min()):.3g} to '
                            f'{float(present.max()):.3g})')
        x[mask[:, i], i] = (0.0 * present if constant else
                            (present - mean) / std)
        attributes.append({'name': name, 'num': present.numel(),
                           'scale': scale, 'mean': float(mean),
                           'std': 0.0 if constant else float(std)})
    return torch.cat([x, mask.to(x)], dim=1).to(dtype), attributes
