r"""Names from version 0.1 that still work, but emit a warning."""
from __future__ import annotations

import warnings

from torch import Tensor

from pyg_mmkgc.errors import ModelError
from pyg_mmkgc.typing import Side


class DeprecatedQueries:
    r"""The two methods of version 0.1 that :meth:`query` replaces."""
    def query(self, x: Tensor, rel_type: Tensor, side: Side) -> Tensor:
        raise NotImplementedError

    def tail_query(self, head: Tensor, rel_type: Tensor) -> Tensor:
        r"""Returns :obj:`query(head, rel_type, 'tail')` (deprecated)."""
        _warn('tail_query(head, rel_type)', "query(head, rel_type, 'tail')")
        return self.query(head, rel_type, 'tail')

    def head_query(self, rel_type: Tensor, tail: Tensor) -> Tensor:
        r"""Returns :obj:`query(tail, rel_type, 'head')` (deprecated)."""
        _warn('head_query(rel_type, tail)', "query(tail, rel_type, 'head')")
        return self.query(tail, rel_type, 'head')


def check_queries(cls: type[DeprecatedQueries]) -> None:
    r"""Raises :class:`~pyg_mmkgc.errors.ModelError` if a class overrides
    :meth:`tail_query` or :meth:`head_query`, which are no longer called.
    """
    for name in ('tail_query', 'head_query'):
        if getattr(cls, name) is not getattr(DeprecatedQueries, name):
            raise ModelError(f"Expected '{cls.__name__}' to override "
                             f"'query(x, rel_type, side)' (got '{name}'). "
                             f"Rewrite '{name}', which is no longer called, "
                             "as 'query'.")


def _warn(old: str, new: str) -> None:
    warnings.warn(f"'{old}' is deprecated, use '{new}' instead",
                  DeprecationWarning, stacklevel=3)
