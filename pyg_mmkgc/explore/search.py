r"""Search of labels by any part of them."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence

import numpy as np
from torch import Tensor

# Longer queries are cut, since nobody types them.
LONGEST = 200


class LabelIndex:
    r"""Finds nodes by a part of their label, without regard to case, accents,
    underscores or repeated blanks.

    All labels form one text, in the order of their weights. A search reads it
    once and stops at the last requested result.

    .. code-block:: python

        >>> import torch
        >>> from pyg_mmkgc.explore.search import LabelIndex
        >>> index = LabelIndex(['Linz', 'São Tomé', 'Berlin'],
        ...                    torch.tensor([1, 5, 9]))
        >>> index.search('tome')
        [1]
        >>> index.search('LIN')  # The beginning of a label comes first.
        [0, 2]

    Args:
        labels (list[str]): The label of each node.
        weight (torch.Tensor): The weight of each node, :obj:`[N]`. Heavier
            nodes come first among equally good matches.
    """
    def __init__(self, labels: Sequence[str], weight: Tensor) -> None:
        self._order = weight.argsort(descending=True, stable=True).numpy()
        rows = [_fold(labels[i]).encode('utf-8', 'replace')
                for i in self._order.tolist()]
        # A label follows a line break, which no folded label contains.
        size = np.fromiter(map(len, rows), np.int64, len(rows))
        self._start = np.cumsum(size + 1) - size
        self._text = b'\n' + b'\n'.join(rows) + b'\n'

    def search(self, query: str, limit: int = 10) -> list[int]:
        r"""Returns up to :obj:`limit` nodes. Labels that equal the query come
        first, followed by labels that begin with it, labels with a word that
        begins with it, and labels that contain it anywhere.

        Args:
            query (str): Any part of a label.
            limit (int, optional): The number of nodes. (default: :obj:`10`)
        """
        text = _fold(query[:LONGEST]).encode('utf-8', 'replace')
        out: dict[int, None] = {}
        if text == b'':
            return []
        for pattern, shift in ((b'\n' + text + b'\n', 1), (b'\n' + text, 1),
                               (b' ' + text, 1), (text, 0)):
            at = self._text.find(pattern)
            while at >= 0 and len(out) < limit:
                row = int(np.searchsorted(self._start, at + shift, 'right'))
                out.setdefault(int(self._order[row - 1]))
                # Continues with the next label.
                at = self._text.find(pattern, self._text.index(
                    b'\n', at + shift))
        return list(out)


def _fold(text: str) -> str:
    if not text.isascii():
        text = ''.join(char for char in unicodedata.normalize('NFKD', text)
                       if not unicodedata.combining(char)).casefold()
    return ' '.join(text.lower().replace('_', ' ').split())
