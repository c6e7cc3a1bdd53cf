r"""The plan of an extraction: everything that determines its features."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from pyg_mmkgc.errors import DataError
from pyg_mmkgc.io.reading import PathLike
from pyg_mmkgc.io.schema import check_schema


def as_json(plan: Mapping[str, Any]) -> dict[str, Any]:
    r"""Returns a plan after a round trip via JSON, which turns tuples into
    lists.
    """
    try:
        return json.loads(json.dumps(dict(plan), allow_nan=False))
    except (TypeError, ValueError) as error:
        raise DataError('Expected describe() of the encoder to return values '
                        f'that JSON can hold (got an error: {error})'
                        ) from error


def check_plan(folder: PathLike, found: Mapping[str, Any],
               plan: Mapping[str, Any]) -> None:
    r"""Checks that a folder holds the features of a given plan.

    Args:
        folder (str or os.PathLike): The folder, for the message.
        found (dict): The plan in the folder. It may have more keys than
            :obj:`plan`.
        plan (dict): The plan to continue, see :func:`as_json`.

    Raises:
        DataError: If the plans differ. The message lists the differences.
    """
    check_schema(found, {...: object}, f"the plan in '{folder}'")
    found = {key: found.get(key) for key in plan}
    lines = list(_differences('', found, plan))
    if lines:
        raise DataError(
            f"Expected '{folder}' to hold features of the same encoder, "
            f'inputs and options (got other ones: '
            f'{"; ".join(lines[:5])}{"; ..." if len(lines) > 5 else ""}). '
            f'Choose another folder or delete this one.')


def _differences(name: str, found: Any, now: Any) -> Iterator[str]:
    if isinstance(found, Mapping) and isinstance(now, Mapping):
        for key in sorted({*found, *now}):
            yield from _differences(f'{name}.{key}' if name else key,
                                    found.get(key), now.get(key))
    elif found != now:
        yield f'{name} is {_short(found)} there, {_short(now)} now'


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 40 else f'{text[:37]}...'
