import sys
from types import SimpleNamespace

import pytest

from pyg_mmkgc.errors import MMKGCError
from pyg_mmkgc.visualization import (
    plot_explanation,
    plot_history,
    plot_search,
)

EPOCHS = [{'epoch': i, 'loss': 1 / i, 'generator_loss': 2.0, 'seconds': 0.1,
           'val_mrr': i / 10 if i % 2 == 0 else None} for i in range(1, 6)]


@pytest.mark.parametrize('epochs', [EPOCHS, EPOCHS[:1], []])
def test_a_picture_is_written(tmp_path, epochs):
    pytest.importorskip('matplotlib')
    history = SimpleNamespace(epochs=epochs, best_epoch=4)
    plot_history(history, tmp_path / 'history.png')
    first = (tmp_path / 'history.png').read_bytes()
    assert first.startswith(b'\x89PNG') and len(first) > 10_000

    # The stored values result in the same picture.
    plot_history({'epochs': epochs, 'best_epoch': 4}, tmp_path / 'b.png')
    assert (tmp_path / 'b.png').read_bytes() == first


def test_curves(tmp_path, monkeypatch):
    figure = pytest.importorskip('matplotlib.figure')
    kept = []
    save = figure.Figure.savefig
    monkeypatch.setattr(figure.Figure, 'savefig',
                        lambda self, *a, **k: (kept.append(self),
                                               save(self, *a, **k)))
    plot_history({'epochs': EPOCHS, 'best_epoch': 4}, tmp_path / 'a.png')
    top, bottom = kept[0].axes
    assert [line.get_label() for line in top.lines] == [
        'Loss', 'Generator loss']
    assert list(top.lines[0].get_ydata()) == [1 / i for i in range(1, 6)]
    mrr, best = bottom.lines
    assert list(mrr.get_xdata()) == [2, 4]
    assert list(mrr.get_ydata()) == pytest.approx([20.0, 40.0])
    assert list(best.get_xdata()) == [4]
    assert '40.00 % at epoch 4' in best.get_label()
    assert bottom.get_xlabel() == 'Epoch' and '%' in bottom.get_ylabel()


@pytest.fixture
def drawn(monkeypatch):
    """The figures that are saved."""
    figure = pytest.importorskip('matplotlib.figure')
    kept, save = [], figure.Figure.savefig
    monkeypatch.setattr(figure.Figure, 'savefig',
                        lambda self, *a, **k: (kept.append(self),
                                               save(self, *a, **k)))
    return kept


def test_one_validation_is_a_point_with_its_value(tmp_path, drawn):
    epochs = [{'epoch': i, 'loss': 1 / i} for i in range(1, 11)]
    epochs[9]['val_mrr'] = 0.25
    plot_history({'epochs': epochs, 'best_epoch': 10}, tmp_path / 'a.png')
    bottom = drawn[0].axes[1]
    point, = bottom.lines
    assert (list(point.get_xdata()), list(point.get_ydata())) == ([10], [25])
    assert [text.get_text() for text in bottom.texts] == ['25.00 %']
    # The scale begins at zero instead of a hair's breadth around the value.
    low, high = bottom.get_ylim()
    assert low == 0 and high >= 40


@pytest.mark.parametrize('second', [0.2501, 0.25])
def test_a_difference_within_noise_looks_small(second, tmp_path, drawn):
    epochs = [{'epoch': 1, 'loss': 1.0, 'val_mrr': 0.25},
              {'epoch': 2, 'loss': 0.9, 'val_mrr': second}]
    plot_history({'epochs': epochs, 'best_epoch': 2}, tmp_path / 'a.png')
    low, high = drawn[0].axes[1].get_ylim()
    assert low < 24 and high > 26


@pytest.mark.parametrize('losses, scale', [
    ([1e9, 3.0, 1.0], 'log'), ([5.0, 3.0, 1.0], 'linear'),
    ([5.0, -3.0, 100.0], 'linear')])
def test_a_loss_that_diverges_has_a_scale_of_orders(losses, scale, tmp_path,
                                                    drawn):
    epochs = [{'epoch': i, 'loss': loss, 'val_mrr': 0.1}
              for i, loss in enumerate(losses, 1)]
    plot_history({'epochs': epochs, 'best_epoch': 1}, tmp_path / 'a.png')
    assert drawn[0].axes[0].get_yscale() == scale


def test_a_search(tmp_path, drawn):
    values = [(0, 0.2, 'complete'), (1, 0.3, 'pruned'), (2, None, 'diverged'),
              (3, 0.5, 'complete'), (4, 0.4, 'complete')]
    plot_search({'training.lr': 0.75, 'model.margin': 0.25}, values,
                tmp_path / 'a.png')
    top, bottom = drawn[0].axes
    assert [bar.get_width() for bar in top.patches] == [75, 25]
    assert [x.get_text() for x in top.get_yticklabels()] == [
        'training.lr', 'model.margin']
    found = {line.get_label(): (list(line.get_xdata()),
                                list(line.get_ydata()))
             for line in bottom.lines}
    assert found == {
        'complete': ([0, 3, 4], [20, 50, 40]), 'pruned': ([1], [30]),
        'diverged': ([2], [0]), 'best so far': ([0, 3, 4], [20, 50, 50])}
    plot_search({}, values[:1], tmp_path / 'b.png')
    assert [x.get_text() for x in drawn[1].axes[0].texts] == [
        'too few complete trials']


def test_without_matplotlib(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, 'matplotlib.figure', None)
    with pytest.raises(MMKGCError, match='pip install'):
        plot_history({'epochs': [], 'best_epoch': None}, tmp_path / 'a.png')


def explanation(weight=0.25, effects=2):
    return {
        'head': 'a $x$', 'relation': 'r', 'tail': 'b', 'model': 'AdaMF',
        'ranks': {'head': {'rank': 3.0}, 'tail': {'rank': 10.0}},
        'modalities': [{
            'name': f'm{i}', 'head_weight': weight, 'tail_weight': weight,
            'head_rank': 30.0 + i, 'tail_rank': 100.0 + i,
        } for i in range(effects)]}


@pytest.mark.parametrize('weight', [0.25, None])
def test_the_bars_of_an_explanation(tmp_path, monkeypatch, weight):
    figure = pytest.importorskip('matplotlib.figure')
    kept = []
    save = figure.Figure.savefig
    monkeypatch.setattr(figure.Figure, 'savefig',
                        lambda self, *a, **k: (kept.append(self),
                                               save(self, *a, **k)))
    plot_explanation(explanation(weight), tmp_path / 'a.png')
    assert (tmp_path / 'a.png').read_bytes().startswith(b'\x89PNG')
    *weights, ranks = kept[0].axes
    widths = [[bar.get_width() for bar in bars] for bars in ranks.containers]
    assert widths == [[3, 30, 31], [10, 100, 101]]
    assert len(weights) == (weight is not None)
    # The legend hides no bars.
    assert not any(part.get_legend() for part in kept[0].axes)
    assert [x.get_text() for x in kept[0].legends[0].get_texts()] == [
        'head: a $x$', 'tail: b']
    for part in weights:
        assert [[bar.get_width() for bar in bars]
                for bars in part.containers] == [[25, 25], [25, 25]]


def test_an_explanation_without_modalities(tmp_path):
    pytest.importorskip('matplotlib')
    with pytest.raises(MMKGCError, match="several modalities.*'AdaMF'"):
        plot_explanation(explanation(effects=0), tmp_path / 'a.png')
    assert list(tmp_path.iterdir()) == []
