from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Sequence

import torch
from torch import Tensor

from pyg_mmkgc.data.knowledge_graph import KnowledgeGraph
from pyg_mmkgc.errors import DataError

Names = Sequence[str] | None


def renumber(kg: KnowledgeGraph, node_names: Names, relation_names: Names,
             node_ids: Names = None) -> KnowledgeGraph:
    r"""Returns a graph whose nodes and relations are numbered in the order of
    the given labels. Nodes are found by their identifiers if both the graph
    and the arguments have them.

    A saved model can then be used on a graph that was read from other files:

    .. code-block:: python

        model = AdaMF.from_pretrained('model')
        kg = KnowledgeGraph.from_tsv('newer.tsv')
        kg = renumber(kg, model.node_names, model.relation_names,
                      model.node_ids)

    Args:
        kg (KnowledgeGraph): The graph. Given labels that it does not have
            become nodes without triples and features.
        node_names (list[str] or None): The label of each node.
        relation_names (list[str] or None): The label of each relation.
        node_ids (list[str], optional): The identifier of each node.
            (default: :obj:`None`)

    Raises:
        DataError: If a label of the graph is not given, if two relations or
            two nodes without identifiers share a label, or if only one of the
            graph and the arguments has labels.
    """
    if 'n_id' in kg:
        raise DataError('Expected a whole graph (got a sampled batch)')
    by_id = node_ids is not None and 'node_ids' in kg
    node = (_places(kg.node_ids, node_ids, 'node_ids') if by_id else
            _places(kg.get('node_names'), node_names, 'node_names'))
    rel = _places(kg.get('relation_names'), relation_names, 'relation_names')
    if node is None and rel is None:
        return kg
    out = copy.copy(kg)
    for prefix in ('', 'filter_'):
        if node is not None and f'{prefix}edge_index' in kg:
            out[f'{prefix}edge_index'] = node.to(
                kg[f'{prefix}edge_index'].device)[kg[f'{prefix}edge_index']]
        if rel is not None and f'{prefix}edge_type' in kg:
            out[f'{prefix}edge_type'] = rel.to(
                kg[f'{prefix}edge_type'].device)[kg[f'{prefix}edge_type']]
    if node is not None:
        names = node_ids if node_names is None else node_names
        assert names is not None
        out.num_nodes, out.node_names = len(names), list(names)
        if 'node_ids' in kg:
            # Without given identifiers, new nodes are known by their labels.
            ids = list(names if node_ids is None else node_ids)
            if not by_id:
                for i, place in enumerate(node.tolist()):
                    ids[place] = kg.node_ids[i]
            out.node_ids = ids
        for key, value in _node_tensors(kg).items():
            table = value.new_zeros(len(names), *value.shape[1:])
            table[node.to(value.device)] = value
            out[key] = table
    if rel is not None:
        assert relation_names is not None
        out.num_relations = len(relation_names)
        out.relation_names = list(relation_names)
    return out


def _places(old: Names, new: Names, key: str) -> Tensor | None:
    # The new id of each old id, or `None` if no id changes.
    if old is None and new is None or (old is not None and new is not None
                                       and list(old) == list(new)):
        return None
    kind = key.split('_')[0]
    if old is None or new is None:
        raise DataError(f'Expected labels of the {kind}s both in the graph '
                        f"and as an argument (got none "
                        f"{'as an argument' if old else 'in the graph'})")
    for labels, where in ((old, 'in the graph'), (new, 'as an argument')):
        repeated = [x for x, count in Counter(labels).items() if count > 1]
        if repeated:
            advice = (" Pass 'node_ids', which the graph needs as well."
                      if key == 'node_names' else '')
            raise DataError(f"Expected unique '{key}' {where} (got "
                            f'{repeated[0]!r} more than once).{advice}')
    place = {name: i for i, name in enumerate(new)}
    unknown = [name for name in old if name not in place]
    if unknown:
        raise DataError(
            f'Expected each {kind} of the graph to be one of the {len(new)} '
            f'given (got {len(unknown)} that are not: '
            f'{", ".join(map(repr, unknown[:3]))}'
            f'{", ..." if len(unknown) > 3 else ""})')
    return torch.tensor([place[name] for name in old])


def _node_tensors(kg: KnowledgeGraph) -> dict[str, Tensor]:
    # New nodes lack features, so every modality needs a mask.
    masks = {f'mask_{name}': mask for name, mask in kg.masks().items()}
    return masks | {key: value for key, value in kg.to_dict().items()
                    if isinstance(value, Tensor) and kg.is_node_attr(key)}
