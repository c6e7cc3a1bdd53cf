from __future__ import annotations

import copy
import os
import warnings
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch_geometric.data import Data
from torch_geometric.data.data import DataEdgeAttr, DataTensorAttr
from torch_geometric.data.storage import GlobalStorage
from torch_geometric.utils import sort_edge_index, subgraph, to_undirected

from pyg_mmkgc.data.validation import (
    NO_TRIPLES,
    find_problems,
    not_features,
    not_ids,
)
from pyg_mmkgc.errors import DataError, FormatError

if TYPE_CHECKING:
    from pyg_mmkgc.data.audit import AuditReport

SPLITS = ('train', 'val', 'test')

_FORMAT = 'pyg_mmkgc.KnowledgeGraph'
# The tensors of a list of strings in the file of a graph.
_BYTES, _ENDS = 'bytes of ', 'ends of '
_EDGE_KEYS = {'edge_index', 'edge_type'} | {f'{s}_mask' for s in SPLITS}
_OTHER_KEYS = {
    'filter_edge_index', 'filter_edge_type', 'node_names', 'node_ids',
    'relation_names', 'num_relations', 'feature_encoders'
}
# The metadata of the file of a graph.
_SCHEMA = {'format': str, 'version': int, 'attributes': {str: object},
           'keys': [str]}
_TENSOR_KEYS = _EDGE_KEYS | {'filter_edge_index', 'filter_edge_type'}
_ATTRIBUTES = {'num_nodes': int, 'num_relations': (int, Tensor),
               'node_names': [str], 'node_ids': [str],
               'relation_names': [str],
               'feature_encoders': {str: {str: object}}}


class KnowledgeGraphStorage(GlobalStorage):
    r"""The storage of a :class:`KnowledgeGraph`, which distinguishes node- and
    edge-level attributes by name.

    :pyg:`PyG` distinguishes them by size. This mistakes an edge mask for a
    node attribute if a graph has as many nodes as triples, and it makes
    :class:`~torch_geometric.loader.NeighborLoader` fail on lists of names.
    """
    def __setitem__(self, key: str, value: Any) -> None:
        edge_index, edge_type = map(self._mapping.get,
                                    ['edge_index', 'edge_type'])
        if key == 'edge_index':
            self._unmerged = _refuse_merged(edge_index, edge_type, value)
        elif key == 'edge_type':
            before = self.__dict__.pop('_unmerged', None)
            if before is not None and _is_merged(before, edge_type,
                                                 edge_index, value):
                super().__setitem__('edge_index', before)
                raise _merged(before.size(1))
        super().__setitem__(key, value)

    def __getstate__(self) -> dict[str, Any]:
        out = super().__getstate__()
        out.pop('_unmerged', None)
        return out

    def is_node_attr(self, key: str) -> bool:
        if key in _EDGE_KEYS or key in _OTHER_KEYS:
            return False
        return _is_node_key(key) or super().is_node_attr(key)

    def is_edge_attr(self, key: str) -> bool:
        if key in _OTHER_KEYS or _is_node_key(key):
            return False
        return key in _EDGE_KEYS or super().is_edge_attr(key)


class KnowledgeGraph(Data):
    r"""A multi-modal knowledge graph: triples, their split, and one feature
    table per modality.

    A modality :obj:`m` consists of the node-level attributes :obj:`x_m` (its
    features) and :obj:`mask_m` (a mask of the rows that are present, by
    default all rows).

    .. code-block:: python

        kg = KnowledgeGraph(edge_index, edge_type, num_nodes=4,
                            num_relations=2, x_visual=torch.randn(4, 8))
        kg.modalities
        >>> ['visual']

    Args:
        edge_index (torch.Tensor, optional): The heads and tails of all
            triples with shape :obj:`[2, num_edges]`.
            (default: :obj:`None`)
        edge_type (torch.Tensor, optional): The relations of all triples with
            shape :obj:`[num_edges]`. (default: :obj:`None`)
        num_nodes (int, optional): The number of nodes. If set to :obj:`None`,
            it is inferred from the number of feature rows, the number of
            names, or the largest id, in this order. Set it if some nodes may
            not be part of any triple. (default: :obj:`None`)
        num_relations (int, optional): The number of relations. If set to
            :obj:`None`, it is inferred from the number of names or the
            largest id. (default: :obj:`None`)
        train_mask (torch.Tensor, optional): The training triples with shape
            :obj:`[num_edges]`. (default: :obj:`None`)
        val_mask (torch.Tensor, optional): The validation triples.
            (default: :obj:`None`)
        test_mask (torch.Tensor, optional): The test triples.
            (default: :obj:`None`)
        node_names (list[str], optional): A label per node.
            (default: :obj:`None`)
        relation_names (list[str], optional): A label per relation.
            (default: :obj:`None`)
        node_ids (list[str], optional): A unique identifier per node, such
            as a URI. Queries and features match identifiers as well as
            labels, and nodes with identifiers may share a label.
            (default: :obj:`None`)
        filter_edge_index (torch.Tensor, optional): The heads and tails of
            additional true triples, which belong to the evaluation filter but
            to no split, with shape :obj:`[2, num_filter_edges]`.
            (default: :obj:`None`)
        filter_edge_type (torch.Tensor, optional): The relations of these
            triples with shape :obj:`[num_filter_edges]`.
            (default: :obj:`None`)
        feature_encoders (dict, optional): The encoder that computed the
            features of each modality, as :obj:`describe` of an
            :class:`~pyg_mmkgc.features.Encoder` returns it.
            (default: :obj:`None`)
        **kwargs (optional): The features :obj:`x_<modality>` with shape
            :obj:`[num_nodes, num_channels]`, the masks
            :obj:`mask_<modality>` with shape :obj:`[num_nodes]`, and any
            other attribute. Features in double precision are cast to single
            precision. If nodes have several instances, such as several
            images, features have shape
            :obj:`[num_nodes, num_instances, num_channels]`, and the mask may
            have shape :obj:`[num_nodes, num_instances]`.

    .. note::

        A batch of :class:`~torch_geometric.loader.NeighborLoader` keeps the
        :obj:`node_names` and the filter of the whole graph, so
        :obj:`batch.node_names[batch.n_id[i]]` is the label of node :obj:`i`.
    """
    def __init__(
        self,
        edge_index: Tensor | None = None,
        edge_type: Tensor | None = None,
        num_nodes: int | None = None,
        num_relations: int | None = None,
        train_mask: Tensor | None = None,
        val_mask: Tensor | None = None,
        test_mask: Tensor | None = None,
        node_names: list[str] | None = None,
        relation_names: list[str] | None = None,
        node_ids: list[str] | None = None,
        filter_edge_index: Tensor | None = None,
        filter_edge_type: Tensor | None = None,
        feature_encoders: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__()
        self.__dict__['_store'] = KnowledgeGraphStorage(_parent=self)

        attributes = {
            'edge_index': edge_index,
            'edge_type': edge_type,
            'num_nodes': num_nodes,
            'num_relations': num_relations,
            'train_mask': train_mask,
            'val_mask': val_mask,
            'test_mask': test_mask,
            'node_names': node_names,
            'relation_names': relation_names,
            'node_ids': node_ids,
            'filter_edge_index': filter_edge_index,
            'filter_edge_type': filter_edge_type,
            'feature_encoders': feature_encoders,
        }
        for key, value in (attributes | kwargs).items():
            if key.startswith('x_') and isinstance(value, Tensor):
                value = value.float() if value.dtype == torch.double else value
            if value is not None:
                setattr(self, key, value)

        if edge_index is not None and num_nodes is None:
            self.num_nodes = self._infer_num_nodes()
        if edge_type is not None and num_relations is None:
            self.num_relations = self._infer_num_relations()

    def _infer_num_nodes(self) -> int:
        for name, x in self.features().items():
            if not isinstance(x, Tensor) or x.dim() == 0:
                raise DataError(not_features(name, x))
            return x.size(0)
        for key in ('node_names', 'node_ids'):
            if key in self:
                return len(self[key])
        return self._max_id('edge_index', 'filter_edge_index') + 1

    def _infer_num_relations(self) -> int:
        if 'relation_names' in self:
            return len(self.relation_names)
        return self._max_id('edge_type', 'filter_edge_type') + 1

    def _max_id(self, *keys: str) -> int:
        out = -1
        for key in keys:
            ids = self._store.get(key)
            if ids is not None and not isinstance(ids, Tensor):
                raise DataError(not_ids(key, ids))
            if ids is not None and ids.numel() > 0:
                out = max(out, int(ids.max()))
        return out

    @property
    def num_relations(self) -> int:
        r"""The number of relations, including unused ones."""
        value = self._store.get('num_relations')
        if isinstance(value, Tensor):  # Several graphs in one batch.
            return int(value.max())
        return self._infer_num_relations() if value is None else value

    @num_relations.setter
    def num_relations(self, value: int | None) -> None:
        self._store['num_relations'] = value

    def __repr__(self) -> str:
        out = copy.copy(self)
        if 'feature_encoders' in out:  # Too long to print.
            del out['feature_encoders']
        return Data.__repr__(out)

    # Modalities ##############################################################

    @property
    def modalities(self) -> list[str]:
        r"""The names of the modalities."""
        return [key[2:] for key in self._store.keys() if key[:2] == 'x_']

    def features(self) -> dict[str, Tensor]:
        r"""Returns the features of each modality, with shape
        :obj:`[num_nodes, num_channels]`.
        """
        return {name: self._store[f'x_{name}'] for name in self.modalities}

    def masks(self) -> dict[str, Tensor]:
        r"""Returns the mask of present rows of each modality, with shape
        :obj:`[num_nodes]`, or :obj:`[num_nodes, num_instances]` if nodes have
        several instances.
        """
        return {
            name:
            self._store[f'mask_{name}'] if f'mask_{name}' in self else
            torch.ones(x.size(0), dtype=torch.bool, device=x.device)
            for name, x in self.features().items()
        }

    @property
    def num_node_features(self) -> int:
        r"""The number of channels of all modalities together."""
        return super().num_node_features + sum(
            x.size(-1) for x in self.features().values())

    # Splits ##################################################################

    def split(self, name: str) -> KnowledgeGraph:
        r"""Returns the graph of one split.

        It has the triples of the split, and shares all nodes and features
        with this graph without copying them. A graph without split masks has
        the single split :obj:`"train"`.

        Args:
            name (str): :obj:`"train"`, :obj:`"val"` or :obj:`"test"`.

        Raises:
            DataError: If the split is unknown, missing or empty.
        """
        if name not in SPLITS:
            raise DataError(f"Expected one of the splits {', '.join(SPLITS)} "
                            f"(got '{name}')")
        present = [s for s in SPLITS if f'{s}_mask' in self]
        if name not in (present or ['train']):
            raise DataError(f"Expected a graph with the split '{name}' (got "
                            f"{', '.join(present or ['train'])})")
        out = copy.copy(self)
        if present:
            out = out.edge_subgraph(self[f'{name}_mask'])
            # Selected columns are strided, which `view` does not support.
            out.edge_index = out.edge_index.contiguous()
        for key in [f'{s}_mask' for s in SPLITS]:
            del out[key]
        # The filter is for evaluation on the whole graph, not for training.
        del out['filter_edge_index'], out['filter_edge_type']
        if out.num_edges == 0:
            raise DataError(f"Expected triples in the split '{name}' (got "
                            'none)')
        return out

    def splits(self) -> dict[str, KnowledgeGraph]:
        r"""Returns the graph of each split that is not empty."""
        present = [s for s in SPLITS if f'{s}_mask' in self]
        names = [s for s in present if bool(self[f'{s}_mask'].any())]
        if not present and self.num_edges > 0:
            names = ['train']
        return {name: self.split(name) for name in names}

    def known_triples(self) -> tuple[Tensor, Tensor]:
        r"""Returns the triples of all splits and of the filter as
        :obj:`(edge_index, edge_type)`.

        Raises:
            DataError: If the graph has no triples, or is a batch of a
                neighbor sampler.
        """
        if 'edge_index' not in self or 'edge_type' not in self:
            raise DataError(NO_TRIPLES)
        if 'filter_edge_index' not in self:
            return self.edge_index, self.edge_type
        if 'n_id' in self:
            raise DataError('Expected a whole graph (got a sampled batch, '
                            'which keeps the filter of the whole graph). Call '
                            'known_triples() of the whole graph instead.')
        return (
            torch.cat([self.edge_index, self.filter_edge_index], dim=1),
            torch.cat([self.edge_type, self.filter_edge_type]),
        )

    def subgraph(self, subset: Tensor) -> KnowledgeGraph:
        r"""Returns the subgraph that is induced by the nodes in
        :obj:`subset`, including their names and filter triples.

        Args:
            subset (torch.Tensor): The nodes to keep, as indices or as a mask.
        """
        out = super().subgraph(subset)
        if 'n_id' in self:  # A batch keeps names and filter.
            return out
        if 'filter_edge_index' in self:
            out.filter_edge_index, out.filter_edge_type = subgraph(
                subset, self.filter_edge_index, self.filter_edge_type,
                relabel_nodes=True, num_nodes=self.num_nodes)
        index = subset.nonzero().view(-1) \
            if subset.dtype == torch.bool else subset
        for key in ('node_names', 'node_ids'):
            if key in self:
                out[key] = [self[key][i] for i in index.tolist()]
        return out

    def add_nodes(
        self,
        names: str | Sequence[str],
        features: Mapping[str, Any] | None = None,
        triples: Any = None,
        split: str = 'train',
        node_ids: Sequence[str] | None = None,
    ) -> KnowledgeGraph:
        r"""Returns a graph with additional nodes after the nodes of this
        graph, which is not modified.

        A trained model that represents nodes by their features, such as
        :class:`~pyg_mmkgc.nn.AdaMF` with :obj:`drop_unseen=True`, answers for
        the new nodes without further training:

        .. code-block:: python

            kg = kg.add_nodes('Atlantis', {'text': {'Atlantis': vector}})
            predict(model, kg, head='Atlantis', rel_type='neighbour')

        Args:
            names (str or list[str]): The labels of the new nodes.
            features (dict, optional): The features of the new nodes for each
                modality: a dictionary from label to vector, a path as for
                :meth:`from_tsv`, or a tensor with one row per new node. Nodes
                without features are marked as missing. (default: :obj:`None`)
            triples (list, optional): Triples to add, as rows of head,
                relation and tail. Nodes and relations are ids or labels.
                (default: :obj:`None`)
            split (str, optional): The split of these triples.
                (default: :obj:`"train"`)
            node_ids (list[str], optional): The identifiers of the new
                nodes. If set to :obj:`None` and the graph has identifiers,
                the labels are used. (default: :obj:`None`)

        Raises:
            DataError: If a node exists already, features do not fit the
                modality, or a triple has an unknown node or relation.
        """
        from pyg_mmkgc.data.new_nodes import add_nodes
        return add_nodes(self, names, features, triples, split, node_ids)

    # Checks ##################################################################

    def validate(self, raise_on_error: bool = True) -> bool:
        r"""Checks ids, splits, names and features.

        Args:
            raise_on_error (bool, optional): If set to :obj:`False`, warns
                about each problem instead of raising an error for the first
                problem. (default: :obj:`True`)

        Returns:
            :obj:`True` if the graph has no problems.

        Raises:
            DataError: If the graph has a problem and :obj:`raise_on_error` is
                set.
        """
        valid = True
        for problem in find_problems(self):
            if raise_on_error:
                raise DataError(problem)
            warnings.warn(problem, stacklevel=2)
            valid = False
        return valid

    def audit(self) -> AuditReport:
        r"""Counts flaws that make results misleading: duplicates, overlaps
        between splits, inverse leakage, unseen nodes and invalid features.

        Raises:
            DataError: If the graph has no triples, or too many nodes and
                relations to number all triples with 64 bits.
        """
        from pyg_mmkgc.data.audit import audit
        return audit(self)

    # Reading and writing #####################################################

    def save(self, path: str | os.PathLike[str]) -> None:
        r"""Writes the graph to one :obj:`safetensors` file.

        Args:
            path (str or os.PathLike): The file to write.

        Raises:
            DataError: If an attribute is neither a tensor nor a plain value.
        """
        from pyg_mmkgc.io import strings
        from pyg_mmkgc.io.tensors import save_tensors

        tensors: dict[str, Tensor] = {}
        attributes: dict[str, Any] = {}
        for key, value in self._store.items():
            if isinstance(value, Tensor):
                tensors[key] = value
            elif (isinstance(value, list) and len(value) >= strings.MANY
                  and all(isinstance(x, str) for x in value)):
                # Millions of labels do not fit into a header.
                tensors[f'{_BYTES}{key}'], tensors[f'{_ENDS}{key}'] = (
                    strings.pack_strings(value))
            elif _is_plain(value):
                attributes[key] = value
            else:
                raise DataError(f"Expected a tensor, number, string, list or "
                                f"dict as the attribute '{key}' to save (got "
                                f"{type(value).__name__})")
        # The order of the keys determines the order of the modalities.
        version = 2 if any(key.startswith(_ENDS) for key in tensors) else 1
        metadata = dict(format=_FORMAT, version=version,
                        attributes=attributes, keys=list(self._store.keys()))
        save_tensors(path, tensors, metadata)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> KnowledgeGraph:
        r"""Reads a graph that :meth:`save` wrote.

        Args:
            path (str or os.PathLike): The file to read.

        Raises:
            FormatError: If the file is damaged or does not contain a graph.
        """
        from pyg_mmkgc.io.schema import check_schema
        from pyg_mmkgc.io.strings import unpack_strings
        from pyg_mmkgc.io.tensors import load_tensors

        tensors, metadata = load_tensors(path)
        if metadata.get('format') != _FORMAT or (
                metadata.get('version') not in (1, 2)):
            raise FormatError(
                f"Expected '{os.fspath(path)}' to be written by "
                f"KnowledgeGraph.save, version 1 or 2 (got format "
                f"{metadata.get('format')!r:.80}, version "
                f"{metadata.get('version')!r:.80})")
        where = f"the metadata of '{os.fspath(path)}'"
        check_schema(metadata, _SCHEMA, where)
        values = tensors | metadata['attributes']
        for name in [x for x in tensors if x.startswith(_ENDS)]:
            key = name.removeprefix(_ENDS)
            data = values.pop(f'{_BYTES}{key}', torch.empty(0))
            values[key] = unpack_strings(data, values.pop(name), where)
        if set(metadata['keys']) != set(values):
            raise FormatError(f"Expected the keys {sorted(values)} in {where} "
                              f"(got {sorted(metadata['keys'])})")
        for key, value in values.items():
            # Attributes and methods of the class must not be replaced.
            if (not key.isprintable() or key.startswith('_')
                    or callable(getattr(cls, key, None))):
                raise FormatError(f'Expected attributes of a graph in {where} '
                                  f'(got {key!r:.80})')
            if key in _TENSOR_KEYS or _is_node_key(key):
                kind: Any = Tensor
            else:
                kind = _ATTRIBUTES.get(key, object)
            check_schema(value, kind, f"'{key}', from {where}")
        return cls(**{key: values[key] for key in metadata['keys']})

    @classmethod
    def from_pyg(cls, data: Any, val: Any = None, test: Any = None,
                 **kwargs: Any) -> KnowledgeGraph:
        r"""Converts a knowledge graph of :pyg:`PyG` (see
        :func:`~pyg_mmkgc.data.adapters.from_pyg`).
        """
        from pyg_mmkgc.data.adapters import from_pyg
        return from_pyg(data, val, test, **kwargs)

    @classmethod
    def from_tsv(cls, train: Any, val: Any = None, test: Any = None,
                 **kwargs: Any) -> KnowledgeGraph:
        r"""Reads labelled triples from text files (see
        :func:`~pyg_mmkgc.data.tsv.from_tsv`).
        """
        from pyg_mmkgc.data.tsv import from_tsv
        return from_tsv(train, val, test, **kwargs)

    @classmethod
    def from_triples(cls, train: Any, val: Any = None, test: Any = None,
                     **kwargs: Any) -> KnowledgeGraph:
        r"""Builds a graph from labelled triples in memory, such as rows or a
        data frame (see :func:`~pyg_mmkgc.data.triples.from_triples`).
        """
        from pyg_mmkgc.data.triples import from_triples
        return from_triples(train, val, test, **kwargs)

    # A modality may have any name, even if PyG takes it for an index.

    def __cat_dim__(self, key: str, value: Any, *args: Any,
                    **kwargs: Any) -> Any:
        if _is_node_key(key):
            return 0
        return super().__cat_dim__(key, value, *args, **kwargs)

    def __inc__(self, key: str, value: Any, *args: Any, **kwargs: Any) -> Any:
        if _is_node_key(key):
            return 0
        return super().__inc__(key, value, *args, **kwargs)


def _refuse_merged(old: Any, edge_type: Any, new: Any) -> Tensor | None:
    r"""Refuses edges that :class:`torch_geometric.transforms.ToUndirected`
    merged, since it adds up the relations of parallel edges.

    Merging edges in both directions yields the same edges as sorting or
    copying them. In this case, returns the old edges, since only the relations
    that replace the old ones next tell the difference.
    """
    if not all(isinstance(x, Tensor) for x in (old, edge_type, new)):
        return None
    # Moving edges to another device does not merge them.
    if new.device != old.device or new.is_meta:
        return None
    if (new.dim() != 2 or old.dim() != 2 or new.size(1) >= 2 * old.size(1)
            or not bool(edge_type.any())
            or not bool((new[0, 1:] >= new[0, :-1]).all())):
        return None
    if torch.equal(new, old):
        return new  # The old edges would take memory as well.
    merged = to_undirected(old)
    if merged.size(1) >= 2 * old.size(1) or not torch.equal(merged, new):
        return None
    if new.size(1) != old.size(1):
        raise _merged(2 * old.size(1) - new.size(1))
    return old


def _is_merged(old: Tensor, old_type: Any, new: Any, new_type: Any) -> bool:
    r"""Returns :obj:`True` if the new relations are the merged, not the
    sorted relations of the old edges.
    """
    values = (old, old_type, new, new_type)
    if (not all(isinstance(x, Tensor) and x.device == old.device
                and not x.is_meta for x in values)
            or not old_type.shape == new_type.shape == old.shape[1:]
            or torch.equal(new_type, old_type)
            or torch.equal(new_type, sort_edge_index(old, old_type)[1])):
        return False
    for reduce in ('add', 'mean', 'min', 'max', 'mul'):
        index, rel = to_undirected(old, old_type, reduce=reduce)
        if not torch.equal(index, new):
            return False
        if torch.equal(rel, new_type):
            return True
    return False


def _merged(count: int) -> DataError:
    return DataError(
        'Expected triples that keep their relations (got undirected edges, '
        f'which merge {count} parallel edges or self-loops: ToUndirected '
        'would add up their relation ids). GNNEncoder and path models pass '
        'messages in both directions, with a relation for each, and need no '
        'ToUndirected.')


def _is_node_key(key: str) -> bool:
    return key.startswith(('x_', 'mask_'))


def _is_plain(value: Any) -> bool:
    if isinstance(value, (list, tuple)):
        return all(_is_plain(v) for v in value)
    if isinstance(value, Mapping):
        return all(isinstance(k, str) and _is_plain(v)
                   for k, v in value.items())
    return value is None or isinstance(value, (str, int, float, bool))


# `torch.save` writes the last two as parts of any `Data` object.
torch.serialization.add_safe_globals([
    KnowledgeGraph,
    KnowledgeGraphStorage,
    DataEdgeAttr,
    DataTensorAttr,
])
