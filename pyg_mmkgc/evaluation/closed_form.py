r"""The scores of :pyg:`PyG`'s own models, taken apart into a query and the
rows that it is compared with.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Optional

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn import Module
from torch_geometric.nn.kge import ComplEx, DistMult, RotatE, TransE

from pyg_mmkgc.nn.functional import complex_product, rotate


@dataclass(frozen=True)
class ClosedForm:
    r"""A score :math:`\langle \mathbf{q}, \mathbf{x} \rangle` or
    :math:`\gamma - \| \mathbf{q} - \mathbf{x} \|_p` of a query, made of one
    node and the relation, and of a row, made of the other node.

    Args:
        rows (callable): Maps nodes :obj:`[*]` to rows :obj:`[*, C]`.
        query (callable): Maps rows :obj:`[*, C]`, relations :obj:`[*]` and
            the side to predict (:obj:`"head"` or :obj:`"tail"`) to queries
            :obj:`[*, C]`.
        p (float, optional): The norm; :obj:`None` is the inner product.
        margin (float, optional): :math:`\gamma`. (default: :obj:`0.0`)
    """
    rows: Callable[[Tensor], Tensor]
    query: Callable[[Tensor, Tensor, str], Tensor]
    p: Optional[float] = None
    margin: float = 0.0

    def score(self, query: Tensor, rows: Tensor) -> Tensor:
        r"""The scores :obj:`[*]` of queries and rows :obj:`[*, C]`."""
        if self.p is None:
            return (query * rows).sum(dim=-1)
        return self.margin - torch.linalg.vector_norm(query - rows, ord=self.p,
                                                      dim=-1)


def closed_form(model: Module) -> Optional[ClosedForm]:
    r"""The closed form of a model whose :meth:`forward` is the one that
    :pyg:`PyG` wrote, :obj:`None` for any other.
    """
    for cls, make in _FORMS.items():
        # A subclass may share the closed form only with the formula, and an
        # instance may have been given a `forward` of its own.
        if isinstance(model, cls) and 'forward' not in vars(model) and (
                type(model).forward is cls.forward):
            return make(model)
    return None


def _transe(model: Any) -> ClosedForm:
    # |h + r - t| = |h - (t - r)|, with h and t (not r) on the p-norm sphere.
    def query(rows: Tensor, rel_type: Tensor, side: str) -> Tensor:
        rel = model.rel_emb(rel_type)
        return rows + (rel if side == 'tail' else -rel)

    return ClosedForm(
        lambda node: F.normalize(model.node_emb(node), p=model.p_norm,
                                 dim=-1), query, p=model.p_norm)


def _distmult(model: Any) -> ClosedForm:
    return ClosedForm(model.node_emb, lambda rows, rel_type, side:
                      rows * model.rel_emb(rel_type))


def _complex(model: Any) -> ClosedForm:
    # Re(h r conj(t)) is the real product of h r with t, and of t conj(r)
    # with h, over real and imaginary parts side by side.
    def query(rows: Tensor, rel_type: Tensor, side: str) -> Tensor:
        rel = torch.cat([model.rel_emb(rel_type), model.rel_emb_im(rel_type)],
                        dim=-1)
        return complex_product(rows, rel, conjugate=side == 'head')

    return ClosedForm(lambda node: _complex_rows(model, node), query)


def _rotate(model: Any) -> ClosedForm:
    # PyG takes one Euclidean norm over all complex channels (the paper sums
    # their moduli). |h r - t| = |h - t conj(r)| because of |r| = 1.
    def query(rows: Tensor, rel_type: Tensor, side: str) -> Tensor:
        return rotate(rows, model.rel_emb(rel_type), inverse=side == 'head')

    return ClosedForm(lambda node: _complex_rows(model, node), query, p=2.0,
                      margin=model.margin)


_FORMS: dict[type[Module], Callable[[Any], ClosedForm]] = {
    TransE: _transe,
    DistMult: _distmult,
    ComplEx: _complex,
    RotatE: _rotate,
}


def _complex_rows(model: Any, node: Tensor) -> Tensor:
    return torch.cat([model.node_emb(node), model.node_emb_im(node)], -1)
