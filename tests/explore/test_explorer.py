import dataclasses

import pytest
import torch

from pyg_mmkgc import KnowledgeGraph, evaluate, explain, predict
from pyg_mmkgc.errors import ConfigError, DataError
from pyg_mmkgc.evaluation import compare, most_similar
from pyg_mmkgc.explore import Explorer, Subject
from pyg_mmkgc.nn import RotatE
from pyg_mmkgc.runs import Answers


@pytest.fixture
def fresh(explorer: Explorer) -> Explorer:
    """An explorer that has not been asked anything yet."""
    return Explorer([dataclasses.replace(subject, result=None)
                     for subject in explorer.subjects], explorer.media)


@pytest.mark.parametrize('which', [0, 1])
def test_answers_are_those_of_the_library(explorer: Explorer,
                                          graph: KnowledgeGraph,
                                          which: int) -> None:
    model = explorer.subjects[which].model
    for asked in [(12, 1, None), (None, 1, 12), (12, None, 13)]:
        expected = predict(model, graph, *asked, k=7)
        found = explorer.predict(which, *asked, k=7)
        assert found.to_dict() == expected.to_dict()
    expected = predict(model, graph, 12, 1, None, 7, True)
    assert explorer.predict(which, 12, 1, None, 7, new=True).to_dict() == (
        expected.to_dict())
    assert explorer.explain(which, 12, 1, 13).to_dict() == explain(
        model, graph, 12, 1, 13).to_dict()
    assert explorer.similar(which, 12, 5).to_dict() == most_similar(
        model, graph, 12, 5).to_dict()
    assert explorer.rankings(which, compute=True).metrics() == evaluate(
        model, graph).metrics()


def test_ranks_are_computed_when_they_are_asked_for(fresh: Explorer) -> None:
    assert fresh.rankings(0) is None
    assert fresh.compare() is None
    assert fresh.node_results(0, 12) is None
    with pytest.raises(DataError, match="ranks .* by '<u>fused</u>'"):
        fresh.failures(0)
    assert fresh.rankings(0, compute=True) is fresh.rankings(0)


def test_failures_are_the_worst_ranks(explorer: Explorer,
                                      graph: KnowledgeGraph) -> None:
    result = explorer.rankings(0, compute=True)
    found = explorer.failures(0, limit=5)
    ranks = result.ranks.by_ties('realistic').tolist()
    assert [x.rank for x in found] == sorted(ranks, reverse=True)[:5]
    model = explorer.subjects[0].model
    for x in found:
        best = predict(model, graph, None if x.side == 'head' else x.head,
                       x.rel_type, None if x.side == 'tail' else x.tail, 1,
                       filter_known=True)
        assert x.instead == int(best.answer[0, 0])


def test_slices_by_degree_and_modality(explorer: Explorer,
                                       graph: KnowledgeGraph) -> None:
    """Against a loop over all rankings."""
    result = explorer.rankings(0, compute=True)
    train = graph.edge_index[:, graph.train_mask]
    degree = torch.bincount(train.reshape(-1), minlength=graph.num_nodes)
    sides, side = result.groups['side']
    expected: dict[tuple[str, str], list[float]] = {}
    for i, rank in enumerate(result.ranks.by_ties('realistic').tolist()):
        nodes = int(result.head_index[i]), int(result.tail_index[i])
        asked, given = nodes if sides[side[i]] == 'head' else nodes[::-1]
        low = max(x for x in (0, 1, 2, 4, 8, 16, 32, 64) if x <= int(
            degree[asked]))
        high = {0: '', 1: '', 64: ' or more'}.get(low, f' to {2 * low - 1}')
        has = graph.mask_visual[asked], graph.mask_visual[given]
        kind = {(True, True): 'both nodes have it',
                (True, False): 'the given node lacks it',
                (False, True): 'the answer lacks it',
                (False, False): 'both nodes lack it'}[
                    bool(has[0]), bool(has[1])]
        for key in (('degree', f'{low}{high}'), ('missing visual', kind),
                    ('relation', str(int(result.rel_type[i])))):
            expected.setdefault(key, []).append(1 / rank)
    found = explorer.slices(0)
    for (group, label), values in expected.items():
        assert found[group][label]['count'] == len(values)
        assert found[group][label]['mrr'] == pytest.approx(
            sum(values) / len(values))
    assert set(found) == {'relation', 'degree', 'missing visual',
                          'missing text'}


def test_failures_of_a_slice(explorer: Explorer) -> None:
    explorer.rankings(0, compute=True)
    found = explorer.failures(0, 'relation', '2', limit=1000)
    assert len(found) == explorer.slices(0)['relation']['2']['count']
    assert {x.rel_type for x in found} == {2}
    for group, label in (('relation', '999'), ('age', '2')):
        with pytest.raises(DataError, match=f"'{group}', '{label}'"):
            explorer.failures(0, group, label)


def test_comparison_of_two_models(explorer: Explorer) -> None:
    results = [explorer.rankings(i, compute=True) for i in range(2)]
    assert explorer.compare().to_dict() == compare(
        *results, names=['<u>fused</u>', 'plain']).to_dict()
    ranks = [x.ranks.by_ties('realistic').double() for x in results]
    for better in range(2):
        found = explorer.disagreements(better, limit=3)
        gain = 1 / ranks[better] - 1 / ranks[1 - better]
        assert [1 / x.ranks[better] - 1 / x.ranks[1 - better]
                for x in found] == pytest.approx(
                    gain.sort(descending=True).values[:3].tolist())


def test_results_of_a_node(explorer: Explorer) -> None:
    result = explorer.rankings(0, compute=True)
    asked = torch.cat([result.head_index[:result.head_index.numel() // 2],
                       result.tail_index[result.head_index.numel() // 2:]])
    node = int(asked[0])
    ranks = result.ranks.by_ties('realistic')[asked == node].double()
    count, mrr = explorer.node_results(0, node)
    assert count == ranks.numel()
    assert mrr == pytest.approx(float((1 / ranks).mean()))
    absent = next(i for i in range(60) if i not in asked.tolist())
    assert explorer.node_results(0, absent) is None


def test_search_and_labels(explorer: Explorer) -> None:
    assert explorer.search('node_2') == explorer.search('NODE 2')
    assert explorer.search('#12')[-1] == 12
    assert explorer.search('99999') == []
    assert explorer.label(5) == '#5'  # Its label is blank.
    assert explorer.find('node_12') == 12
    assert explorer.find('node_') is None


def test_map_has_a_place_for_one_more_node(monkeypatch: pytest.MonkeyPatch,
                                           fresh: Explorer) -> None:
    monkeypatch.setattr('pyg_mmkgc.explore.explorer.POINTS', 20)
    nodes, place = fresh.map_points(0)
    assert nodes.unique().numel() == 20
    assert place.shape == (20, 2)
    other = next(i for i in range(60) if i not in nodes.tolist())
    more, place = fresh.map_points(0, node=other)
    assert more.tolist() == [*nodes.tolist(), other]
    assert place.shape == (21, 2)
    assert set(fresh.roles()) == set(nodes.tolist())


def test_a_model_without_a_graph(explorer: Explorer,
                                 graph: KnowledgeGraph) -> None:
    model = explorer.subjects[0].model
    alone = Explorer([Subject('alone', Answers(model))])
    assert not alone.has_graph
    assert alone.predict(0, 12, 1, None, 3).answer.shape == (1, 3)
    assert alone.adjacency.groups(12) == []


def test_models_of_other_graphs_are_refused(explorer: Explorer,
                                            graph: KnowledgeGraph) -> None:
    other = graph.clone()
    other.node_names = graph.node_names[::-1]
    model = RotatE(graph.num_nodes, graph.num_relations, 4)
    with pytest.raises(DataError, match="same order .*'<u>fused</u>' and 'x'"):
        Explorer([explorer.subjects[0], Subject('x', Answers(model, other))])
    for count in (0, 3):
        with pytest.raises(ConfigError, match=f'one model or two .*{count}'):
            Explorer([explorer.subjects[0]] * count)
