"""The reciprocal rank of every test query: what a paired test needs."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import torch

from pyg_mmkgc.io import load_tensors, save_tensors
from study.cells import Cell
from study.report import path_of
from study.runner import folder_of
from study.stats import paired_bootstrap


def _file(study: str, args: argparse.Namespace) -> Path:
    path = path_of(study, args)
    return path.with_name(path.name + '_queries.safetensors')


def write_queries(study: str, results: list[dict[str, Any]],
                  cells: list[Cell], args: argparse.Namespace) -> None:
    """Keeps, for each row, one number per query: the mean over seeds."""
    folders = {cell.digest: folder_of(cell, args) for cell in cells}
    triples: torch.Tensor | None = None
    values: dict[str, list[torch.Tensor]] = {}
    for result in results:
        if 'test' not in result:
            continue
        folder = folders[result['digest']]
        found, _ = load_tensors(folder / 'ranks.safetensors')
        asked = torch.stack([found[name] for name in (
            'head_index', 'rel_type', 'tail_index')])
        triples = asked if triples is None else triples
        if not torch.equal(asked, triples):
            raise SystemExit(f'{folder}: other queries than in the first '
                             'training')
        values.setdefault(result['row'], []).append(1 / found['rank'].float())
    rows = {row: torch.stack(x).mean(dim=0) for row, x in values.items()}
    file = _file(study, args)
    if args.add and file.is_file():
        rows = load_tensors(file)[0] | rows
        if len({x.numel() for x in rows.values()}) != 1:
            raise SystemExit(f'{file}: other queries than those of '
                             f'{", ".join(values)}; give another --results')
    save_tensors(file, rows, {})


def read_queries(study: str, args: argparse.Namespace
                 ) -> dict[str, np.ndarray]:
    """What :func:`write_queries` kept."""
    return {row: x.numpy() for row, x
            in load_tensors(_file(study, args))[0].items()}


def difference(queries: dict[str, np.ndarray], row: str,
               reference: str) -> str:
    """The MRR of a row less that of another, in points, with its interval."""
    if row == reference or reference not in queries:
        return ''
    mean, low, high, p = paired_bootstrap(queries[row], queries[reference])
    return (f'{100 * mean:+.2f} [{100 * low:+.2f}, {100 * high:+.2f}], p '
            f'{"< 0.001" if p < 0.001 else f"= {p:.3f}"}')


#: What a caption says of :func:`difference`.
BOOTSTRAP = (
    'Difference: MRR less that of {}, with the 95 % interval of a paired '
    'bootstrap over the test queries (10,000 draws, reciprocal ranks averaged '
    'over seeds): it says what other queries, not other seeds, would do.')
