r"""Pooling of the vectors of an entity's images."""

from __future__ import annotations

from torch import Tensor
from torch_geometric.utils import segment


def mean_pool(x: Tensor, ptr: Tensor) -> Tensor:
    r"""Computes the mean over an entity's images, eq. (1) of the AdaMF-MAT
    paper.

    .. math::

        f_v = \frac{1}{|\mathcal{V}_e|} \sum_{img_i \in \mathcal{V}_e}
        \mathrm{PVE}(img_i)

    Args:
        x (torch.Tensor): The vectors :math:`\mathrm{PVE}(img_i)` with shape
            :obj:`[num_items, num_channels]`, ordered by entity.
        ptr (torch.Tensor): The boundaries of the entities in :obj:`x` with
            shape :obj:`[num_rows + 1]`. Every entity needs at least one
            vector.

    Returns:
        The means with shape :obj:`[num_rows, num_channels]`. Sums are computed
        in double precision, so the order of images hardly matters.
    """
    return segment(x.double(), ptr, reduce='mean').to(x.dtype)
