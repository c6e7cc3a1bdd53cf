import json

import pytest
import torch

from pyg_mmkgc.data import KnowledgeGraph
from pyg_mmkgc.evaluation import evaluate

# The graph and its ranks are worked out next to its triples in conftest.py.
BY_HAND = [(2, 3, 5), (2, 2, 6), (1, 1, 7), (1, 1, 3), (1, 1, 3), (1, 1, 7)]


def rows_of(result):
    return list(zip(*(x.tolist() for x in result.ranks), strict=True))


def test_graph_worked_by_hand(hand_kg, Line, ignore_ties):
    result = evaluate(Line(), hand_kg)

    assert rows_of(result) == BY_HAND
    assert result.ranks.realistic.tolist() == [2.5, 2, 1, 1, 1, 1]
    assert result.head_index.tolist() == [2, 2, 3] * 2
    assert result.rel_type.tolist() == [0, 0, 1] * 2
    assert result.tail_index.tolist() == [5, 1, 6] * 2

    assert result.mrr == pytest.approx((1 / 2.5 + 1 / 2 + 4) / 6)
    assert result.mr == pytest.approx(8.5 / 6)
    assert result.amri == pytest.approx(1 - 2.5 / 12.5)
    assert result.hits_at(1) == pytest.approx(4 / 6)
    assert result.hits_at(2) == pytest.approx(5 / 6)
    metrics = result.metrics()
    assert metrics['mrr'] == result.mrr
    assert metrics['hits@3'] == metrics['hits@10'] == 1.0
    assert metrics['mrr_optimistic'] == pytest.approx(5 / 6)
    assert metrics['mrr_pessimistic'] == pytest.approx((1 / 3 + 4.5) / 6)
    assert metrics['mr_pessimistic'] == pytest.approx(9 / 6)


def test_slices_by_hand(hand_kg, Line, ignore_ties):
    slices = evaluate(Line(), hand_kg).slices
    counts = {name: {label: values['count']
                     for label, values in part.items()}
              for name, part in slices.items()}
    # In train, `next` joins three heads with three tails; `far` is not there.
    assert counts == {
        'side': {'head': 3, 'tail': 3},
        'entities': {'seen': 4, 'unseen': 2},
        'category': {'1-1': 4, 'unseen': 2},
        'category_side': {'1-1 head': 2, '1-1 tail': 2, 'unseen head': 1,
                          'unseen tail': 1},
        'relation': {'0': 4, '1': 2},
    }
    assert slices['side']['head']['mrr'] == pytest.approx(1.9 / 3)
    assert slices['side']['tail']['mrr'] == 1.0
    assert slices['entities']['seen']['mrr'] == pytest.approx(2.9 / 4)
    assert slices['entities']['unseen']['mrr'] == 1.0
    assert slices['category']['1-1']['hits@1'] == 0.5
    assert slices['category_side']['1-1 head']['mr'] == 2.25
    assert slices['category_side']['1-1 head']['amri'] == pytest.approx(
        1 - 2.5 / 4.5)


@pytest.mark.parametrize('omitted, ranks', [
    # Heads of next, then tails: what comes back into the ranking is
    ('train', [3.5, 3, 2, 2]),  # 4, 0 and 3 twice
    ('val', [3.5, 2, 2, 2]),  # 3 and 4 twice
    ('test', [2.5, 2, 1.5, 1.5]),  # each other, a tie
    ('filter', [2.5, 2, 2, 2]),  # 2 twice
])
def test_filter_without_a_part_is_another_number(
        parts, hand_kg, Line, omitted, ranks, monkeypatch, ignore_ties):
    h, r, t = torch.tensor([triple for name, part in parts.items()
                            for triple in part if name != omitted]).t()
    monkeypatch.setattr(KnowledgeGraph, 'known_triples',
                        lambda self: (torch.stack([h, t]), r))
    result = evaluate(Line(), hand_kg)
    head_5, head_1, tail_5, tail_1 = ranks
    assert result.ranks.realistic.tolist() == [head_5, head_1, 1, tail_5,
                                               tail_1, 1]
    assert result.mrr == pytest.approx((sum(1 / x for x in ranks) + 2) / 6)
    assert abs(result.mrr - 4.9 / 6) > 0.05


def test_other_splits_and_sides(hand_kg, Line, ignore_ties):
    model, kg = Line(), hand_kg
    # (2 next ?) leaves 0 4* 6; (3 next ?) has 4 better, 3 tied with 5*.
    val = evaluate(model, kg, split='val', sides=['tail'])
    assert rows_of(val) == [(1, 1, 3), (2, 3, 7)]
    assert val.protocol['sides'] == ['tail']
    assert len(evaluate(model, kg, split='train').ranks.optimistic) == 6
    raw = evaluate(model, kg, filtered=False, sides='tail')
    assert rows_of(raw) == [(4, 5, 7), (4, 5, 7), (1, 1, 7)]
    assert raw.protocol['filter'] == 'none'
    assert 'no filter' in str(raw)


def test_protocol(hand_kg, Line, ignore_ties):
    model = Line()
    result = evaluate(model, hand_kg)
    assert result.protocol == {
        'split': 'test',
        'filter': 'train+val+test+filter',
        'ties': 'realistic',
        'sides': ['head', 'tail'],
        'num_triples': 3,
        'num_rankings': 6,
        'num_queries': 5,  # (2 next ?) is scored once
        'num_nodes': 7,
        'mean_candidates': pytest.approx(31 / 6),
    }
    assert model.calls == ['encode', 3, 2]
    text = str(result)
    for part in ('test', 'train+val+test+filter', 'realistic', 'head and tail',
                 '6 rankings', '5 distinct queries', '7 nodes'):
        assert part in text
    out = json.loads(json.dumps(result.to_dict(), allow_nan=False))
    assert out['metrics']['mrr'] == result.mrr
    assert out['protocol']['split'] == 'test'
    assert out['slices']['relation']['0']['count'] == 4


def test_headline_follows_ties(hand_kg, Line, ignore_ties):
    for ties in ('optimistic', 'pessimistic', 'realistic'):
        result = evaluate(Line(), hand_kg, ties=ties)
        assert result.mrr == result.metrics().get(f'mrr_{ties}', result.mrr)
        assert result.protocol['ties'] == ties
        assert f'Ties: {ties} ranks' in str(result)
    assert evaluate(Line(), hand_kg, ties='optimistic').hits_at(2) == 1.0
