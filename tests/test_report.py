"""Results as text, HTML, LaTeX and data frames."""

import builtins
import html.parser
import json
import sys

import numpy as np
import pytest
import torch

from pyg_mmkgc.data import KnowledgeGraph
from pyg_mmkgc.errors import ConfigError, MMKGCError, printable
from pyg_mmkgc.evaluation import (
    compare,
    evaluate,
    explain,
    most_similar,
    predict,
)
from pyg_mmkgc.features.folder import FeatureFolder
from pyg_mmkgc.nn import AdaMF, DistMult
from pyg_mmkgc.report import Report, Table, cut, latex
from pyg_mmkgc.training import History

TABLE = Table(['name', 'n', 'x'], [['a & b', 1, 0.5], ['<c>', None, 2.0]],
              '50 % of all')


class Reader(html.parser.HTMLParser):
    """Collects the cells of all tables, and checks that all tags are closed.
    """
    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.cells: list[str] = []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.open.append(tag)
        if tag in ('td', 'th'):
            self.cells.append('')

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] in ('td', 'th'):
            self.cells[-1] += data


def test_text() -> None:
    assert TABLE.text().split('\n') == [
        'name   n       x',
        'a & b  1  0.5000',
        '<c>       2.0000']


def test_html() -> None:
    text = TABLE.html()
    assert Reader(text).cells == ['name', 'n', 'x', 'a & b', '1', '0.5000',
                                  '<c>', '', '2.0000']
    assert '<c>' not in text and '50 % of all' in text
    long = Table(['n'], [[i] for i in range(1000)])
    assert len(Reader(long.html()).cells) == 61
    assert 'and 940 more rows' in long.html()


def test_latex() -> None:
    assert TABLE.latex().split('\n') == [
        r'\begin{table}', r'\centering', r'\begin{tabular}{lrr}', r'\toprule',
        r'name & n & x \\', r'\midrule', r'a \& b & 1 & 0.5000 \\',
        r'\textless{}c\textgreater{} &  & 2.0000 \\', r'\bottomrule',
        r'\end{tabular}', r'\caption{50 \% of all}', r'\end{table}', '']
    rows = Table(['x'], [['[1]'], ['*']]).latex().split('\n')
    assert rows[6:8] == [r'{}[1] \\', r'{}* \\']
    assert latex('\\input{x} $~^#_') == (
        r'\textbackslash{}input\{x\} \$\textasciitilde{}\textasciicircum{}'
        r'\#\_')


def test_labels_cannot_steer_a_terminal() -> None:
    assert printable('a\x1b[31m\r\nb\u202ec\tÖ日') == (
        'a\\x1b[31m\\x0d\\x0ab\\u202ec\\x09Ö日')
    # Persian labels need joiners.
    assert printable('می\u200cخواهم') == 'می\u200cخواهم'
    assert cut('a' * 61) == 'a' * 59 + '…' and cut('a' * 60) == 'a' * 60
    table = Table(['x'], [['\x1b']])
    assert '\x1b' not in table.text() + table.html() + table.latex()


@pytest.fixture
def kg() -> KnowledgeGraph:
    return KnowledgeGraph(
        edge_index=torch.tensor([[0, 1, 2, 3], [1, 2, 3, 0]]),
        edge_type=torch.zeros(4, dtype=torch.long), num_nodes=4,
        num_relations=2, x_visual=torch.eye(4), node_names=list('abcd'),
        relation_names=['r', '<s>'],
        train_mask=torch.tensor([True, True, True, False]),
        test_mask=torch.tensor([False, False, False, True]))


def results(kg: KnowledgeGraph) -> dict[str, Report]:
    torch.manual_seed(0)
    model = DistMult(4, 2, 4)
    return {
        'RankingResult': evaluate(model, kg),
        'Prediction': predict(model, kg, head='a', rel_type=[0, 1], k=2),
        'Explanation': explain(AdaMF.from_data(kg, hidden_channels=2), kg,
                               'a', 'r', 'c'),
        'Comparison': compare(evaluate(model, kg), evaluate(model, kg)),
        'SimilarNodes': most_similar(model, kg, ['a', 'b'], k=2),
        'AuditReport': kg.audit(),
        'History': History([{'epoch': 1, 'loss': 2.0, 'seconds': 0.5},
                            {'epoch': 2, 'loss': 1.0, 'seconds': 0.5,
                             'val_mrr': 0.25}], 2, {'mrr': 0.25}),
        'FeatureFolder': FeatureFolder(
            torch.tensor([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]), ['a', 'b'],
            {'encoder': {'kind': 'image', 'name': 'vgg16'},
             'without': ['c']}, torch.tensor([0, 1, 3])),
    }


@pytest.mark.parametrize('name', [
    'RankingResult', 'Prediction', 'Explanation', 'Comparison',
    'SimilarNodes', 'AuditReport', 'History', 'FeatureFolder'])
def test_every_result_has_every_form(kg: KnowledgeGraph, name: str) -> None:
    pandas = pytest.importorskip('pandas')
    result = results(kg)[name]
    lines = repr(result).split('\n')
    assert lines[0].startswith(f'{name}(') and lines[-1].endswith(')')
    assert len(lines) <= 6 and all(len(line) <= 79 for line in lines)
    assert Reader(result._repr_html_()).cells
    json.dumps(result.to_dict())  # type: ignore[attr-defined]
    assert len(result.to_pandas()) > 0
    for table in result.table_names:
        frame = result.to_pandas(table)
        assert isinstance(frame, pandas.DataFrame)
        assert list(frame.columns) == list(result.table(table).columns)
        assert len(frame) == len(result.table(table).rows)
        assert r'\begin{tabular}' in result.to_latex(table)
    with pytest.raises(ConfigError, match=f'{result.table_names[0]}.*got '
                                          "'nothing'"):
        result.table('nothing')


def test_frames_hold_the_numbers(kg: KnowledgeGraph) -> None:
    pytest.importorskip('pandas')
    found = results(kg)
    ranking = found['RankingResult']
    metrics = ranking.to_pandas().set_index('')
    assert metrics.loc['realistic', 'mrr'] == ranking.mrr
    rankings = ranking.to_pandas('rankings')
    assert (1 / rankings['rank']).mean() == pytest.approx(ranking.mrr)
    assert rankings['side'].tolist() == ['head', 'tail']
    answers = found['Prediction'].to_pandas()
    assert answers['relation'].tolist() == ['r', 'r', '<s>', '<s>']
    assert answers['rank'].tolist() == [1, 2, 1, 2]
    assert answers['score'].tolist() == found['Prediction'].score.view(
        -1).tolist()
    audit = found['AuditReport'].to_pandas().set_index('split')
    assert audit.loc['train', 'triples'] == 3
    assert audit.loc['test', 'also_in_train'] == 0
    assert found['AuditReport'].to_pandas('modalities')[
        'channels'].tolist() == [4]
    epochs = found['History'].to_pandas()
    assert epochs['loss'].tolist() == [2.0, 1.0]
    assert np.isnan(epochs['val_mrr'][0]) and epochs['val_mrr'][1] == 0.25
    features = found['FeatureFolder'].to_pandas()
    assert features.index.tolist() == ['a', 'b', 'b']
    assert features.loc['b', 1].tolist() == [4.0, 6.0]


def test_without_pandas(kg: KnowledgeGraph,
                        monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, 'pandas', None)
    for result in results(kg).values():
        with pytest.raises(MMKGCError, match=r'pip install "pyg_mmkgc\[pand'):
            result.to_pandas()
        assert result.to_latex() and result._repr_html_() and repr(result)
    with pytest.raises(MMKGCError, match="Expected 'pandas'"):
        TABLE.to_pandas()


def test_pandas_is_not_imported_for_text(monkeypatch: pytest.MonkeyPatch
                                         ) -> None:
    imported = []
    real = builtins.__import__

    def spy(name: str, *args: object, **kwargs: object) -> object:
        imported.append(name)
        return real(name, *args, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr(builtins, '__import__', spy)
    assert TABLE.text() and TABLE.html() and TABLE.latex()
    assert 'pandas' not in imported
