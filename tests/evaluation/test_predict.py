import json

import numpy as np
import pytest
import torch
from torch_geometric.nn.kge import RotatE
from torch_geometric.testing import withCUDA

from pyg_mmkgc import nn
from pyg_mmkgc.data import KnowledgeGraph
from pyg_mmkgc.errors import (
    ConfigError,
    DataError,
    ModelError,
    NonFiniteError,
)
from pyg_mmkgc.evaluation import explain, predict, score

NAMES = ['Austria', 'Belgium', 'Chile', 'Denmark', 'Estonia', 'France', 'Fiji']


class Line(torch.nn.Module):
    r"""score(h, r, t) = -|h + step_r - t| with integer nodes, by `forward`."""
    def __init__(self, steps=(1, 3)):
        super().__init__()
        self.register_buffer('step', torch.tensor(steps).float())

    def forward(self, head_index, rel_type, tail_index):
        return -(head_index + self.step[rel_type] - tail_index).abs()


@pytest.fixture
def kg():
    return KnowledgeGraph(
        edge_index=torch.tensor([[2, 2, 4], [3, 4, 5]]),
        edge_type=torch.tensor([0, 0, 0]), num_nodes=7, num_relations=2,
        train_mask=torch.tensor([True, False, True]),
        test_mask=torch.tensor([False, True, False]),
        node_names=NAMES, relation_names=['next', 'far'])


@withCUDA
def test_tails_by_hand(kg, device):
    # Distances of 2 + 1 to 0 .. 6: 3 2 1 0 1 2 3; ties by id.
    out = predict(Line().to(device), kg, head=2, rel_type=0, k=6,
                  self_loops=True)
    assert out.answer.tolist() == [[3, 2, 4, 1, 5, 0]]
    assert out.score.tolist() == [[0, -1, -1, -2, -2, -3]]
    assert out.known.tolist() == [[True, False, True] + [False] * 3]
    assert out.labels == [['Denmark', 'Chile', 'Estonia', 'Belgium', 'France',
                           'Austria']]


@withCUDA
def test_heads_by_hand(kg, device):
    # Distances of 0 .. 6 to 6 - 3: 3 2 1 0 1 2 3.
    out = predict(Line().to(device), kg, tail='Fiji', rel_type='far', k=3)
    assert out.side == 'head'
    assert out.answer.tolist() == out.head.tolist() == [[3, 2, 4]]
    assert out.tail.tolist() == [6] and out.rel_type.tolist() == [1]
    # (4 next 5) is known, in any split.
    out = predict(Line().to(device), kg, tail=5, rel_type=0, k=1)
    assert out.answer.tolist() == [[4]] and out.known.tolist() == [[True]]


def test_known_triples_are_left_out(kg):
    out = predict(Line(), kg, head=2, rel_type=0, k=3, filter_known=True)
    assert out.answer.tolist() == [[1, 5, 0]]
    assert not out.known.any()
    out = predict(Line(), kg, tail=5, rel_type=0, k=2, filter_known=True)
    assert out.answer.tolist() == [[3, 2]]


def test_fewer_candidates_than_k(kg):
    out = predict(Line(), kg, head=[2, 0], rel_type=0, k=100,
                  filter_known=True)
    assert out.answer.shape == (2, 7)
    assert out.answer[0].tolist() == [1, 5, 0, 6, -1, -1, -1]
    assert out.score[0, -3:].tolist() == [float('-inf')] * 3
    assert out.labels[0] == ['Belgium', 'France', 'Austria', 'Fiji']
    assert [len(row) for row in out.labels] == [4, 6]
    assert [len(query['tails']) for query in out.to_dict()] == [4, 6]
    assert len(out.table().rows) == 10
    assert not out.known[0].any()


@pytest.mark.parametrize('head, rel_type', [
    ([0, 1, 2], 1),
    (['Austria', 'Belgium', 'Chile'], 'far'),
    ([0, 'Belgium', 2], [1, 'far', 1]),
    (torch.tensor([0, 1, 2]), torch.tensor([1])),
    (np.arange(3), np.int64(1)),
    (list(np.arange(3)), [1]),
])
def test_many_queries_at_once(kg, head, rel_type):
    out = predict(Line(), kg, head=head, rel_type=rel_type, k=2)
    assert out.answer.tolist() == [[3, 2], [4, 3], [5, 4]]
    assert out.rel_type.tolist() == [1, 1, 1]
    for i, node in enumerate([0, 1, 2]):
        one = predict(Line(), kg, head=node, rel_type=1, k=2)
        assert torch.equal(one.answer[0], out.answer[i])
        assert torch.equal(one.score[0], out.score[i])


def test_one_node_many_relations(kg):
    out = predict(Line(), kg, head='Austria', rel_type=['next', 'far'], k=1)
    assert out.labels == [['Belgium'], ['Denmark']]
    assert out.head.tolist() == [0, 0]


def test_top_k_equals_a_sort_with_ties():
    g = torch.Generator().manual_seed(0)
    kg = KnowledgeGraph(edge_index=torch.tensor([[0], [1]]),
                        edge_type=torch.tensor([0]), num_nodes=50,
                        num_relations=50)

    class Table(Line):
        def forward(self, head_index, rel_type, tail_index):
            return self.step[head_index, tail_index]

    for levels in (1, 2, 5, 1000):
        scores = torch.randint(levels, (50, 50), generator=g).float()
        model = Table()
        model.step = scores
        for k in (1, 3, 50):
            out = predict(model, kg, head=range(50), rel_type=0, k=k,
                          self_loops=True)
            for row, nodes in zip(scores.tolist(), out.answer.tolist(),
                                  strict=True):
                expected = sorted(range(50), key=lambda i: (-row[i], i))
                assert nodes == expected[:k]
            assert torch.equal(out.score, scores.gather(1, out.answer))


def test_prints_a_table_and_plain_python(kg):
    out = predict(Line(), kg, head=['Chile', 'Austria'], rel_type='next', k=2)
    assert str(out).split('\n') == [
        '(Chile, next, ?)  without Chile itself',
        '   1  Denmark     -0.0000  known',
        '   2  Estonia     -1.0000  known',
        '(Austria, next, ?)  without Austria itself',
        '   1  Belgium     -0.0000',
        '   2  Chile       -1.0000',
    ]
    assert json.loads(json.dumps(out.to_dict()))[0] == {
        'head': 'Chile',
        'relation': 'next',
        'tails': [
            {'id': 3, 'label': 'Denmark', 'score': 0.0, 'known': True},
            {'id': 4, 'label': 'Estonia', 'score': -1.0, 'known': True},
        ],
    }
    heads = predict(Line(), kg, tail='Denmark', rel_type='next', k=1)
    assert str(heads).startswith('(?, next, Denmark)')
    assert heads.to_dict()[0]['heads'][0]['label'] == 'Chile'


def test_long_labels_do_not_break_the_table(kg):
    kg.node_names = [name if name != 'Denmark' else 'D' * 1000
                     for name in kg.node_names]
    out = predict(Line(), kg, head='Chile', rel_type='next', k=2)
    assert str(out).split('\n')[1:] == [
        f"   1  {'D' * 59}…     -0.0000  known",
        f"   2  {'Estonia':<60}     -1.0000  known"]
    assert out.labels[0][0] == 'D' * 1000
    with pytest.raises(DataError, match='D{59}…') as caught:
        predict(Line(), kg, head='D' * 999, rel_type='next')
    assert len(str(caught.value)) < 300


def test_graph_without_labels(kg):
    del kg.node_names, kg.relation_names
    model = RotatE(7, 2, 4).train()
    out = predict(model, kg, head=[0], rel_type=[1], k=7, self_loops=True)
    assert model.training
    assert sorted(out.labels[0]) == list('0123456')
    assert str(out).startswith('(0, 1, ?)')
    with pytest.raises(DataError, match='the graph has no node labels .got '
                                        "the label 'Fiji'"):
        predict(model, kg, head='Fiji', rel_type=1)


def test_unknown_labels_name_the_nearest(kg):
    with pytest.raises(DataError, match="got 'Astria'.*nearest.*'Austria'"):
        predict(Line(), kg, head='Astria', rel_type='next')
    with pytest.raises(DataError, match="got 'denmark'.*nearest.*'Denmark'"):
        predict(Line(), kg, tail=['Fiji', 'denmark'], rel_type='next')
    with pytest.raises(DataError, match="relation .*'nxt'.*nearest.*'next'"):
        predict(Line(), kg, head='Fiji', rel_type='nxt')
    with pytest.raises(DataError, match='The nearest labels are '):
        predict(Line(), kg, head='???', rel_type='next')


@pytest.mark.parametrize('bad', [7, -1, 1.5, None, True])
def test_ids_out_of_range(kg, bad):
    with pytest.raises(DataError, match=r'node id in 0\.\.6'):
        predict(Line(), kg, head=[bad], rel_type=0)
    with pytest.raises(DataError, match=r'relation id in 0\.\.1'):
        predict(Line(), kg, head=0, rel_type=[bad])
    if bad is not None:  # None alone means that no head is given.
        with pytest.raises(DataError, match=r'node id in 0\.\.6'):
            predict(Line(), kg, head=bad, rel_type=0)


def test_ambiguous_label(kg):
    kg.node_names = ['twin', 'twin', *NAMES[2:]]
    with pytest.raises(DataError, match="'twin', which 2 share"):
        predict(Line(), kg, head='twin', rel_type=0)
    assert predict(Line(), kg, head='Fiji', rel_type=0).head.tolist() == [6]


def test_bad_queries(kg):
    for query, got in (({}, 'none'), ({'head': 0}, "'head'"),
                       ({'rel_type': 0}, "'rel_type'"),
                       ({'head': 0, 'tail': 1, 'rel_type': 0},
                        "'head', 'rel_type', 'tail'")):
        with pytest.raises(ConfigError, match=rf'two of.*\(got {got}\)'):
            predict(Line(), kg, **query)
    for k in (0, 2.5, '3'):
        with pytest.raises(ConfigError, match=f"'k'.*integer.*got {k!r}"):
            predict(Line(), kg, head=0, rel_type=0, k=k)
    with pytest.raises(DataError, match='got 2 and 3'):
        predict(Line(), kg, head=[0, 1], rel_type=[0, 1, 0])
    with pytest.raises(DataError, match='at least one query'):
        predict(Line(), kg, head=[], rel_type=0)


def test_non_finite_scores_raise(kg):
    with pytest.raises(NonFiniteError):
        predict(Line((float('nan'), 1)), kg, head=0, rel_type=0)


def test_the_given_node_is_left_out_where_no_loop_was_trained(kg):
    # Of the two relations, `far` alone has a loop, and `next` one in test.
    kg.edge_index = torch.tensor([[2, 2, 4, 5, 6], [3, 4, 5, 5, 6]])
    kg.edge_type = torch.tensor([0, 0, 0, 1, 0])
    kg.train_mask = torch.tensor([True, False, True, True, False])
    kg.test_mask = ~kg.train_mask
    out = predict(Line((0, 0)), kg, head=[2, 2], rel_type=[0, 1], k=2)
    assert out.answer.tolist() == [[1, 3], [2, 1]]
    assert out.left_out.tolist() == [True, False]
    assert '(Chile, next, ?)  without Chile itself\n' in str(out)
    assert '(Chile, far, ?)\n' in str(out)
    # The same holds for heads, and self-loops are kept on request.
    out = predict(Line((0, 0)), kg, tail=2, rel_type=0, k=2)
    assert out.answer.tolist() == [[1, 3]]
    assert str(out).startswith('(?, next, Chile)  without Chile itself')
    out = predict(Line((0, 0)), kg, head=2, rel_type=0, k=2, self_loops=True)
    assert out.answer.tolist() == [[2, 1]] and not out.left_out.any()


def test_relations_by_hand(kg):
    # 2 + 1 and 2 + 3 are 1 and 1 off 4, 2 and 0 off 5; ties by id.
    out = predict(Line(), kg, head=[2, 'Chile'], tail=['Estonia', 5])
    assert out.side == 'relation'
    assert out.answer.tolist() == [[0, 1], [1, 0]]
    assert out.score.tolist() == [[-1, -1], [0, -2]]
    assert out.known.tolist() == [[True, False], [False, False]]
    assert str(out).split('\n')[:2] == [
        '(Chile, ?, Estonia)', '   1  next     -1.0000  known']
    assert out.to_dict()[1]['relations'][0] == {
        'id': 1, 'label': 'far', 'score': 0.0, 'known': False}
    out = predict(Line(), kg, head=2, tail=4, filter_known=True)
    assert out.answer.tolist() == [[1, -1]] and out.labels == [['far']]
    assert predict(Line(), kg, head=2, tail=[4, 5], k=1).answer.tolist() == [
        [0], [1]]
    with pytest.raises(DataError, match='heads as tails.*got 2 and 3'):
        predict(Line(), kg, head=[0, 1], tail=[0, 1, 0])
    with pytest.raises(NonFiniteError):
        predict(Line((float('nan'), 1)), kg, head=0, tail=1)


def test_a_model_without_its_graph(kg):
    torch.manual_seed(0)
    model = nn.DistMult(7, 2, 4)
    with pytest.raises(DataError, match='no node labels'):
        predict(model, head='Chile', rel_type='next')
    model.node_names, model.relation_names = NAMES, ['next', 'far']
    there = predict(model, kg, head='Chile', rel_type='next', k=6)
    out = predict(model, head='Chile', rel_type='next', k=6)
    assert out.labels == there.labels and torch.equal(out.score, there.score)
    assert out.known is None and there.known.any()
    assert 'known' not in str(out)
    assert set(out.to_dict()[0]['tails'][0]) == {'id', 'label', 'score'}
    assert out.table().columns[-1] == 'score'
    assert score(model, None, [('Chile', 'next', there.labels[0][0])]
                 ).item() == pytest.approx(there.score[0, 0].item())
    with pytest.raises(ConfigError, match="'kg'.*with 'filter_known'"):
        predict(model, head='Chile', rel_type='next', filter_known=True)
    with pytest.raises(ModelError, match="'Line'.*'num_nodes'.*'kg'"):
        predict(Line(), head=0, rel_type=0)


def test_scores_by_hand(kg):
    triples = [(2, 0, 3), ('Chile', 'far', 'Fiji'), (0, 'next', 'Chile')]
    expected = [0, -1, -1]
    assert score(Line(), kg, triples).tolist() == expected
    ids = [[2, 0, 3], [2, 1, 6], [0, 0, 2]]
    assert score(Line(), kg, torch.tensor(ids)).tolist() == expected
    assert score(Line(), kg, np.array(ids)).tolist() == expected
    assert score(Line(), kg, kg.split('train')).tolist() == [0, 0]
    assert score(Line(), kg, []).shape == (0, )


def test_scores_are_those_of_predictions(kg):
    torch.manual_seed(0)
    model = nn.RotatE(7, 2, 4).train()
    out = predict(model, kg, head=range(7), rel_type=1, k=7, self_loops=True)
    triples = torch.stack([out.head[:, None].expand(7, 7),
                           out.rel_type[:, None].expand(7, 7), out.tail],
                          dim=-1).view(-1, 3)
    # More queries than are scored at once.
    torch.testing.assert_close(score(model, kg, triples.repeat(200, 1)),
                               out.score.view(-1).repeat(200))
    assert model.training


@pytest.mark.parametrize(('triples', 'match'), [
    ([(0, 0)], r'row 0 .*got \(0, 0\)'),
    (['abc'], "row 0 .*got 'abc'"),
    ([(0, 0, 1), 7], 'row 1 .*got 7'),
    ([(0, 0, 7)], r'node id in 0\.\.6'),
    ([(0, 'nxt', 1)], "relation .*'nxt'"),
])
def test_bad_triples(kg, triples, match):
    with pytest.raises(DataError, match=match):
        score(Line(), kg, triples)


def test_control_characters_are_written_out(kg):
    kg.node_names = ['a\x1b[2Jb\n', *NAMES[1:]]
    out = predict(Line(), kg, head='Belgium', rel_type='next', k=7)
    assert 'a\\x1b[2Jb\\x0a' in str(out)
    assert '\x1b' not in str(out) + repr(out) + out._repr_html_()
    assert any('\x1b' in label for label in out.labels[0])


def test_relations_are_called_rel_type():
    """As in PyG; the command line and query files say relation."""
    for function in (predict, explain):
        with pytest.raises(ModelError, match=r"argument 'rel_type' \(got "
                           r"'relation'\)\. Call .*rel_type='neighbour'"):
            function(Line(), None, head=0, relation='neighbour', tail=1)
