from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch

from pyg_mmkgc.errors import MMKGCError
from pyg_mmkgc.features import Item
from pyg_mmkgc.features.inspect import Coverage, FeatureReport
from pyg_mmkgc.features.items import match_items
from pyg_mmkgc.features.plot import plot_report, read_samples

from .tiny import draw, texts


def report(neighbours, kind='image'):
    coverage = Coverage(kind, 9, 5, 9, 8, {'a broken one': 1}, [])
    return FeatureReport(
        coverage=coverage, encoder='conv', shape=(5, 3), dtype=torch.float,
        norms=torch.tensor([1., 1., 2., 0., 3.]), num_bad=0,
        dead_channels=[], duplicates=[], near=[],
        closest=torch.linspace(-1, 1, 5), neighbours=neighbours)


LABELS = ['$x^2$ costs 5 $', 'a label that is longer than its image is wide',
          'W' * 300, '東京', 'two\tparts']
NEIGHBOURS = {label: [(other, 0.5) for other in LABELS if other != label]
              for label in LABELS}


@pytest.mark.parametrize('neighbours', [NEIGHBOURS, {'a': [('b', 1.0)]},
                                        {'a': []}, {}])
def test_a_picture_of_images(tmp_path, neighbours):
    pytest.importorskip('matplotlib')
    image = pytest.importorskip('PIL.Image')
    samples = {label: image.new('RGB', size, 'red') for label, size in
               zip(LABELS, [(50, 50), (3, 190), (190, 3), (1, 1)])}
    path = tmp_path / 'new' / 'picture.png'
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        plot_report(report(neighbours), path, samples)
    with image.open(path) as picture:
        # 4.3 inches, and 1.55 for each row of images.
        assert picture.size[1] == pytest.approx(
            120 * (4.3 + 1.55 * len(neighbours)), abs=1)
        assert len(picture.getcolors(1 << 20)) > 10


def test_a_picture_of_texts(tmp_path):
    pytest.importorskip('matplotlib')
    samples = {label: label * 20 for label in LABELS[:3]}
    path = tmp_path / 'picture.svg'
    plot_report(report(NEIGHBOURS, 'text'), path, samples)
    assert path.read_text('utf-8').count('<path') > 50


def test_nothing_overlaps(tmp_path, monkeypatch):
    """Titles stay above their boxes, and boxes do not overlap."""
    pytest.importorskip('matplotlib')
    image = pytest.importorskip('PIL.Image')
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    figures = []
    init = Figure.__init__
    monkeypatch.setattr(Figure, '__init__', lambda self, *args, **kwargs: (
        figures.append(self), init(self, *args, **kwargs))[1])
    with warnings.catch_warnings():
        warnings.simplefilter('ignore', UserWarning)
        plot_report(report(NEIGHBOURS), tmp_path / 'a.png', {
            label: image.new('RGB', size) for label, size
            in zip(LABELS, [(90, 90), (3, 190), (190, 3)])})
        figure, = figures
        FigureCanvasAgg(figure).draw()
    parts = [axes.get_tightbbox() for axes in figure.axes
             if axes.get_visible()]
    parts += [text.get_window_extent() for text in figure.texts]
    assert len(parts) == 2 + 5 * 5 + 1
    boxes = [axes.get_position().size for axes in figure.axes[2:]]
    assert np.allclose(boxes, boxes[0])  # For images of any shape.
    for i, one in enumerate(parts):
        assert one.x0 >= 0 and one.x1 <= figure.bbox.x1
        assert one.y0 >= 0 and one.y1 <= figure.bbox.y1
        assert not any(one.overlaps(other) for other in parts[:i])


def test_samples_are_the_first_usable_ones(tmp_path):
    pytest.importorskip('PIL')
    draw(tmp_path, {'a': 2, 'b': 1})
    items = [Item('a', tmp_path / 'a' / '0.png', '0', 'a broken one'),
             Item('a', tmp_path / 'a' / '1.png', '1'),
             Item('b', tmp_path / 'b' / 'gone.png', '2')]
    samples = read_samples(match_items(items), ['a', 'b', 'c'], 'image')
    assert list(samples) == ['a']
    assert samples['a'].mode == 'RGB'

    matched = match_items(texts(('a', 'one'), ('a', 'two'), ('b', 'three')))
    assert read_samples(matched, ['a'], 'text') == {'a': 'one'}


def test_no_matplotlib(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__('sys').modules, 'matplotlib.figure', None)
    with pytest.raises(MMKGCError, match=r'matplotlib.*pip install.*plot'):
        plot_report(report(NEIGHBOURS), tmp_path / 'a.png')
