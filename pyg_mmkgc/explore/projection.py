r"""Embeddings in two dimensions."""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec

import torch
from torch import Tensor

from pyg_mmkgc.errors import ConfigError, MMKGCError

# The number of rows from which the axes of a PCA are computed.
ROWS = 1 << 15


def available() -> list[str]:
    r"""Returns the names of the available projections, the fastest first:
    :obj:`"pca"`, :obj:`"t-sne"` if scikit-learn is installed, and
    :obj:`"umap"` if umap-learn is installed.
    """
    out = ['pca']
    if find_spec('sklearn') is not None:
        out.append('t-sne')
    if find_spec('umap') is not None:
        out.append('umap')
    return out


def project(table: Tensor, nodes: Tensor, method: str = 'pca') -> Tensor:
    r"""Returns the positions :obj:`[P, 2]` of some nodes in two dimensions,
    both coordinates in :obj:`[0, 1]`.

    Args:
        table (torch.Tensor): The representations of all nodes,
            :obj:`[N, C]`.
        nodes (torch.Tensor): The nodes to project, :obj:`[P]`.
        method (str, optional): One of :func:`available`.
            (default: :obj:`"pca"`)

    Raises:
        ConfigError: If the method is unknown.
        MMKGCError: If the method is not installed.
    """
    methods: dict[str, Callable[[Tensor], Tensor]] = {
        'pca': lambda x: _pca(table, x), 't-sne': _tsne, 'umap': _umap}
    if method not in methods:
        raise ConfigError("Expected the projection to be one of "
                          f"{', '.join(map(repr, methods))} (got {method!r})")
    if method not in available():
        name = {'t-sne': 'scikit-learn', 'umap': 'umap-learn'}[method]
        raise MMKGCError(f"Expected '{name}' to be installed for {method}. "
                         f'Run: pip install {name}')
    out = methods[method](table[nodes].float())
    low, high = out.aminmax(dim=0)
    # Points without any spread are drawn in the middle.
    flat = high <= low
    return torch.where(flat, torch.full_like(out, 0.5),
                       (out - low) / (high - low).masked_fill(flat, 1.0))


def _pca(table: Tensor, x: Tensor) -> Tensor:
    # Taking every n-th row needs no random numbers.
    some = table[::max(1, -(-table.size(0) // ROWS))].double()
    mean = some.mean(dim=0)
    some = some - mean
    axes = torch.linalg.eigh(some.t() @ some).eigenvectors[:, -2:].flip(1)
    if axes.size(1) < 2:  # Of a single channel.
        axes = torch.cat([axes, torch.zeros_like(axes)], dim=1)
    # The sign of an axis is arbitrary, so its largest entry is made positive.
    largest = axes.gather(0, axes.abs().argmax(dim=0, keepdim=True))
    axes = axes * torch.where(largest < 0, -1.0, 1.0)
    return ((x.double() - mean) @ axes).float()


def _tsne(x: Tensor) -> Tensor:
    from sklearn.manifold import TSNE

    perplexity = min(30.0, max(1.0, (x.size(0) - 1) / 3))
    return torch.from_numpy(TSNE(
        perplexity=perplexity, init='pca', metric='cosine',
        random_state=0).fit_transform(x.numpy())).float()


def _umap(x: Tensor) -> Tensor:
    from umap import UMAP

    return torch.tensor(UMAP(
        n_neighbors=min(15, x.size(0) - 1), metric='cosine',
        random_state=0).fit_transform(x.numpy())).float()
