from __future__ import annotations

from pathlib import Path
from typing import Any, Optional, Union

import torch
from torch import Tensor
from torch.nn import Embedding, Linear, ReLU, Sequential

from pyg_mmkgc.errors import (
    CheckpointError,
    FormatError,
    ModelError,
    check_whole,
)
from pyg_mmkgc.io.arguments import arguments_of
from pyg_mmkgc.io.download import download, verify_sha256
from pyg_mmkgc.io.torch_file import StoredTensor, open_torch
from pyg_mmkgc.kernels.backend import BLOCK
from pyg_mmkgc.kernels.host import distinct_values
from pyg_mmkgc.kernels.relational import RelationalGraph
from pyg_mmkgc.nn.path.base import PathModel, iterate, widths_of
from pyg_mmkgc.nn.path.conv import RelationalConv

# The links of the authors' checkpoints, and their SHA-256.
URL = 'https://raw.githubusercontent.com/DeepGraphLearning/ULTRA'
CHECKPOINTS = {
    'ultra_3g': (
        f'{URL}/68433c19a465735ae59f7f947e6dd062bab7b445/ckpts/ultra_3g.pth',
        'fdedc01b0045fc089d2ad5da08569466b7b221691fe978a18e91082bbb133c18'),
    'ultra_4g': (
        f'{URL}/68433c19a465735ae59f7f947e6dd062bab7b445/ckpts/ultra_4g.pth',
        '48a046e708adf5632d87c30eacae01f5f51466b2301effdc2cb42358d22854e0'),
    'ultra_50g': (
        f'{URL}/33c6e6b8e522aed3d33f6ce5d3a1883ca9284718/ckpts/ultra_50g.pth',
        'f1c5377b2cf547aaa67520ffb6fce27b75b6eb3417b86dc9cf9dba89964ed10f'),
}


class ULTRA(PathModel):
    r"""The ULTRA model from the `"Towards Foundation Models for Knowledge
    Graph Reasoning" <https://arxiv.org/abs/2310.04562>`_ paper, which applies
    to graphs with any nodes and relations.

    The representations of relations depend on the relation :math:`q` of the
    query (section 4.2). They result from Bellman-Ford iterations over the
    graph of relations, see :func:`relation_graph`, starting with ones at
    :math:`q`:

    .. math::
        \mathbf{R}_q = \mathrm{GNN}_r(\mathbf{1}_q, \mathcal{G}_r)

    With these, iterations over the graph itself start at the node :math:`h`
    of the query. The representations of nodes after the last iteration
    determine their scores (section 4.3):

    .. math::
        \mathbf{x}^{(0)}_v &= [v = h]\, \mathbf{R}_q[q], \quad
        \mathbf{w}^{(l)}_r = \mathrm{MLP}_l(\mathbf{R}_q[r])

        s(v) &= \mathrm{MLP}([\mathbf{x}^{(L)}_v ; \mathbf{R}_q[q]])

    Both parts consist of :class:`~pyg_mmkgc.nn.path.RelationalConv` layers
    with products and sums. The weights have the same names as in the authors'
    checkpoints.

    Args:
        hidden_channels (int, optional): The number of channels of nodes and
            relations. (default: :obj:`64`)
        num_layers (int, optional): The number of iterations of each part.
            (default: :obj:`6`)
        num_negatives (int, optional): See
            :class:`~pyg_mmkgc.nn.path.PathModel`. (default: :obj:`None`)
        remove_one_hop (bool, optional): See
            :class:`~pyg_mmkgc.nn.path.PathModel`. (default: :obj:`False`)
        modalities (dict, optional): See
            :class:`~pyg_mmkgc.nn.path.PathModel`. (default: :obj:`None`)
        structure_dropout (float, optional): See
            :class:`~pyg_mmkgc.nn.path.PathModel`. (default: :obj:`0.0`)

    Raises:
        ModelError: If an argument is out of range.
    """
    any_relations = True

    def __init__(self, hidden_channels: int = 64, num_layers: int = 6,
                 num_negatives: Optional[int] = None,
                 remove_one_hop: bool = False,
                 modalities: Optional[dict[str, int]] = None,
                 structure_dropout: float = 0.0) -> None:
        check_whole(num_layers=num_layers)
        super().__init__(hidden_channels, num_negatives, remove_one_hop,
                         modalities, structure_dropout)
        self.num_layers = num_layers
        self.relation_model = _RelationModel(hidden_channels, num_layers)
        self.entity_model = _EntityModel(hidden_channels, num_layers)
        self._relations_of: Optional[RelationalGraph] = None
        self._relation_graph: Optional[RelationalGraph] = None

    @classmethod
    def from_pretrained(cls, folder: Union[str, Path]) -> ULTRA:
        r"""Loads a trained model in evaluation mode.

        Args:
            folder (str or pathlib.Path): The name of a checkpoint of the
                authors, a folder that :meth:`save_pretrained` wrote, or a file
                :obj:`.pth` of the authors' code. The checkpoints are
                :obj:`"ultra_3g"`, trained on FB15k-237, WN18RR and
                CoDEx-Medium, :obj:`"ultra_4g"`, trained on NELL-995 as well,
                and :obj:`"ultra_50g"`, trained on 50 graphs. They are
                downloaded once and checked against their SHA-256.

        Raises:
            CheckpointError: If there is no such model, or its weights do not
                fit.
            DownloadError: If a checkpoint could not be downloaded.
            FormatError: If a file is damaged or not a checkpoint.
        """
        if str(folder) in CHECKPOINTS:
            return _released(download_checkpoint(str(folder)))
        if Path(folder).suffix == '.pth':
            return _released(Path(folder))
        if not Path(folder).is_dir():
            raise CheckpointError(
                f'Expected one of {", ".join(CHECKPOINTS)}, a folder or a '
                f"file '.pth' (got '{folder}')")
        return super().from_pretrained(folder)

    @classmethod
    def from_data(cls, data: Any, hidden_channels: int = 64,
                  pretrained: Optional[str] = None, **kwargs: Any) -> ULTRA:
        r"""Builds a model for a :class:`~pyg_mmkgc.data.KnowledgeGraph` with
        all modalities of the graph, and attaches it. If pretrained weights
        have no modalities, the gates of the modalities are initially zero, so
        the scores equal the scores of the pretrained model.

        Args:
            data (KnowledgeGraph): The graph.
            hidden_channels (int, optional): The number of channels of nodes
                and relations. (default: :obj:`64`)
            pretrained (str, optional): The initial weights, as for
                :meth:`from_pretrained`. (default: :obj:`None`)
            **kwargs (Any): Further arguments of the constructor.

        Raises:
            ModelError: If :obj:`data` is not a knowledge graph, or the
                weights have other channels or layers.
        """
        if pretrained is None:
            return super().from_data(data, hidden_channels, **kwargs)
        for name in kwargs:
            if name not in arguments_of(cls):
                raise TypeError(f'{cls.__name__}.from_data() got an '
                                f'unexpected keyword argument {name!r}')
        model = cls.from_pretrained(pretrained)
        modalities = kwargs.pop('modalities', None)
        if modalities is None:
            modalities = widths_of(data)
        if not model.modalities and modalities:
            model._add_modalities(modalities)
            assert model.features is not None
            model.features.close()
            model.feature_encoders = data.get('feature_encoders')
        elif model.modalities != modalities:
            raise ModelError(f"Expected the modalities {model.modalities}, as "
                             f"in '{pretrained}' (got {modalities})")
        for name, value in {'hidden_channels': hidden_channels,
                            **kwargs}.items():
            if name in ('hidden_channels', 'num_layers') and value != (
                    getattr(model, name)):
                raise ModelError(
                    f"Expected '{name}' to be {getattr(model, name)}, as in "
                    f"'{pretrained}' (got {value})")
            setattr(model, name, value)
        model._check_loss()
        return model.attach(data)

    def reset_parameters(self) -> None:
        r"""Resets all learnable parameters of the module."""
        for module in self.modules():
            if isinstance(module, (Linear, Embedding, torch.nn.LayerNorm)):
                module.reset_parameters()
        if self.features is not None:
            self.features.reset_parameters()

    @property
    def relation_graph(self) -> RelationalGraph:
        r"""The graph of relations of :attr:`graph`."""
        graph = self.graph
        if self._relations_of is not graph:
            found = relation_graph(graph.on_host)
            self._relation_graph = (found if graph.device.type == 'cpu' else
                                    found.to(graph.device))
            self._relations_of = graph
        assert self._relation_graph is not None
        return self._relation_graph

    @property
    def layers(self) -> Any:
        return self.entity_model.layers

    @property
    def mlp(self) -> Any:
        return self.entity_model.mlp

    def condition(self, rel_type: Tensor) -> tuple[Tensor, list[Tensor]]:
        relation, row = distinct_values(rel_type)
        rows = self.relation_model(self.relation_graph, relation)
        return rows[row, rel_type], [
            layer.relation_projection(rows)[row] for layer in self.layers]


def download_checkpoint(name: str) -> Path:
    r"""Downloads a checkpoint of the authors into the folder of
    :mod:`torch.hub`, unless it exists, and returns its path.
    """
    url, sha256 = CHECKPOINTS[name]
    path = Path(torch.hub.get_dir(), 'checkpoints', f'{name}.pth')
    if path.is_file():
        verify_sha256(path, sha256)
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    return download(url, path, sha256)


def _released(path: Path) -> ULTRA:
    if not path.is_file():
        raise CheckpointError(f"Expected a checkpoint (got '{path}', which is "
                              'not a file)')
    try:
        file = open_torch(path)
    except Exception as error:  # A hostile pickle can raise any error.
        reason = str(error).partition('\n')[0]
        raise FormatError(f"Expected '{path}' to be a tensor file that loads "
                          f'without running code (got an error: {reason})'
                          ) from error
    content = file.content
    stored = content.get('model') if isinstance(content, dict) else None
    try:
        assert isinstance(stored, dict)
        state = {name: file.read(x) for name, x in stored.items()
                 if isinstance(x, StoredTensor)}
        channels = state['entity_model.mlp.2.weight'].size(1) // 2
        layers = sum(name.startswith('entity_model.layers')
                     and name.endswith('linear.bias') for name in state)
        with torch.random.fork_rng(devices=[]):
            model = ULTRA(channels, layers)
        model.load_state_dict(state)
    except (AssertionError, AttributeError, KeyError, RuntimeError,
            ModelError) as error:
        reason = f'{type(error).__name__}: {error}'.removesuffix(': ')
        raise CheckpointError(
            f"Expected the weights of ULTRA under the key 'model' in '{path}' "
            f'(got other content, {reason})') from error
    return model.eval()


def relation_graph(graph: RelationalGraph) -> RelationalGraph:
    r"""Returns the graph whose nodes are the relations :obj:`r` and
    :obj:`r + R` of a graph.

    Its edges are distinct and have four types: two relations share a head (0)
    or a tail (1), a head of the target is a tail of the source (2), or a tail
    of the target is a head of the source (3).
    """
    R, N = graph.num_relations, graph.num_nodes
    # An edge passes a message from the tail to the head.
    relation, head = graph.edge_type, graph.target
    shared = torch.zeros(R, R, device=graph.device)
    step = max(1, BLOCK // R)
    for first in range(0, N, step):
        here = (head >= first) & (head < first + step)
        has = torch.zeros(R, min(step, N - first), device=graph.device)
        has[relation[here], head[here] - first] = 1.0
        shared += has @ has.t()
    # The tails of a relation are the heads of its reciprocal.
    inverse = torch.arange(R, device=graph.device).roll(R // 2)
    pairs = [(x > 0).nonzero().t() for x in (
        shared, shared[inverse][:, inverse], shared[:, inverse],
        shared[inverse])]
    edge_type = torch.cat([torch.full_like(pair[0], kind)
                           for kind, pair in enumerate(pairs)])
    target, source = torch.cat(pairs, dim=1)
    return RelationalGraph(source, edge_type, target, R, 4)


class _RelationConv(RelationalConv):
    def __init__(self, channels: int) -> None:
        super().__init__(channels)
        self.relation = Embedding(4, channels)


class _RelationModel(torch.nn.Module):
    def __init__(self, channels: int, num_layers: int) -> None:
        super().__init__()
        self.layers: Any = torch.nn.ModuleList(
            _RelationConv(channels) for _ in range(num_layers))

    def forward(self, graph: RelationalGraph, relation: Tensor) -> Tensor:
        r"""Returns the representations :obj:`[U, 2R, D]` of all relations for
        queries with relations :obj:`[U]`.
        """
        channels = self.layers[0].relation.weight
        start = torch.ones_like(channels[:1]).expand(relation.numel(), -1)
        weights = [layer.relation.weight.expand(relation.numel(), -1, -1)
                   for layer in self.layers]
        return iterate(self.layers, weights, graph, relation, start)


class _EntityConv(RelationalConv):
    def __init__(self, channels: int) -> None:
        super().__init__(channels)
        self.relation_projection = Sequential(
            Linear(channels, channels), ReLU(), Linear(channels, channels))


class _EntityModel(torch.nn.Module):
    def __init__(self, channels: int, num_layers: int) -> None:
        super().__init__()
        self.layers: Any = torch.nn.ModuleList(
            _EntityConv(channels) for _ in range(num_layers))
        self.mlp = Sequential(Linear(2 * channels, 2 * channels), ReLU(),
                              Linear(2 * channels, 1))
