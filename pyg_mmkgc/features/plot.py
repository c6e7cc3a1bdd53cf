r"""A picture of a folder of features, which needs the extra ``plot``."""

from __future__ import annotations

import textwrap
import warnings
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from pyg_mmkgc.errors import ConfigError, MMKGCError
from pyg_mmkgc.features.inspect import NEAR, FeatureReport
from pyg_mmkgc.features.items import Matched
from pyg_mmkgc.features.reading import read_item
from pyg_mmkgc.io.atomic import PathLike, atomic_path

# The formats that matplotlib writes without further libraries.
FORMATS = ('.jpeg', '.jpg', '.pdf', '.png', '.svg')
THUMBNAIL = (192, 192)
# The width of a thumbnail and the space above all thumbnails, in inches.
WIDTH, TOP = 1.75, 4.3


def read_samples(matched: Matched, labels: Iterable[str],
                 kind: str) -> dict[str, Any]:
    r"""Reads the first usable image or text of given nodes.

    Args:
        matched (Matched): The items of the nodes.
        labels (list[str]): The nodes.
        kind (str): :obj:`"image"` or :obj:`"text"`.

    Returns:
        Thumbnails or texts by label. Nodes without a readable item are left
        out.
    """
    wanted, out = set(labels), {}
    for node, item in zip(matched.nodes, matched.items, strict=True):
        label = matched.labels[node]
        if label in wanted and label not in out:
            value = read_item(item, kind).value
            if value is not None and kind == 'image':
                value.thumbnail(THUMBNAIL)
            if value is not None:
                out[label] = value
    return out


def check_picture(path: PathLike) -> None:
    r"""Checks the ending of a picture before it is written.

    Args:
        path (str or os.PathLike): The image file.

    Raises:
        ConfigError: If the ending is not one of :obj:`FORMATS`.
    """
    if Path(path).suffix.lower() not in FORMATS:
        raise ConfigError(f'Expected a picture that ends in '
                          f"{', '.join(FORMATS)} (got '{path}')")


def plot_report(report: FeatureReport, path: PathLike,
                samples: Mapping[str, Any] | None = None) -> None:
    r"""Draws coverage, norms and similarities, and the neighbours of the
    selected nodes with their images or texts.

    Args:
        report (FeatureReport): The result of
            :func:`~pyg_mmkgc.features.inspect.inspect_features`.
        path (str or os.PathLike): The image file. Its ending decides the
            format.
        samples (dict, optional): The result of :func:`read_samples`.
            (default: :obj:`None`)

    Raises:
        ConfigError: If the ending is not one of :obj:`FORMATS`.
        MMKGCError: If matplotlib is not installed.
    """
    check_picture(path)
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MMKGCError("Expected 'matplotlib' to be installed for plots. "
                         'Run: pip install "pyg_mmkgc[plot]"') from error

    num_rows = len(report.neighbours)
    num_columns = 1 + max(map(len, report.neighbours.values()), default=0)
    cell = 1.55 if report.coverage.kind == 'image' else 1.05
    width = WIDTH * max(num_columns, 4)
    height = TOP + cell * num_rows
    # Without pyplot, a figure opens no window and changes no global state.
    figure = Figure(figsize=(width, height))
    _draw_numbers(figure, report)
    if num_rows > 0:
        grid = figure.subplots(
            num_rows, num_columns, squeeze=False, gridspec_kw={
                'left': 0.1 / width, 'right': 1 - 0.1 / width, 'wspace': 0.08,
                'bottom': 0.1 / height, 'top': 1 - TOP / height,
                'hspace': 0.25 / (cell - 0.25)})
        _draw_neighbours(grid, report, samples or {})
    with atomic_path(path) as temp, warnings.catch_warnings():
        # The empty boxes already show that glyphs are missing.
        warnings.filterwarnings('ignore', 'Glyph .* missing from font')
        suffix = str(path).rpartition('.')[2]
        figure.savefig(temp, dpi=120, format=suffix)


def _draw_numbers(figure: Any, report: FeatureReport) -> None:
    width, height = figure.get_size_inches()
    lines = [f'{key}: {value}' for key, value in report.summary()]
    text = '\n'.join(textwrap.fill(line, 110, subsequent_indent='    ')
                     for line in lines)
    figure.text(0.15 / width, 1 - 0.12 / height, text, fontsize=8, va='top',
                parse_math=False, linespacing=1.4)
    left, right = figure.subplots(1, 2, gridspec_kw={
        'left': 0.85 / width, 'right': 1 - 0.2 / width, 'wspace': 0.2,
        'bottom': 1 - (TOP - 0.8) / height, 'top': 1 - 1.55 / height})
    finite = report.norms[report.norms.isfinite()]
    # Rows of unit length would span an empty range.
    end = 1.05 * float(finite.max()) if finite.numel() > 0 else 0.0
    left.hist(finite.numpy(), bins=40, range=(0.0, end or 1.0),
              color='#0072B2')
    left.set_xlim(left=0.0)
    left.set_xlabel('norm of a row')
    left.set_ylabel('rows')
    right.hist(report.closest.numpy(), bins=40, range=(-1.0, 1.0),
               color='#009E73')
    right.axvline(NEAR, color='#D55E00', linestyle='--',
                  label=f'nearly equal ({NEAR})')
    right.set_xlabel('similarity to the closest node')
    right.set_ylabel('nodes')
    right.set_yscale('symlog', linthresh=1)
    right.margins(y=0.1)
    right.legend(frameon=False, fontsize=8, loc='upper left')
    for axes in (left, right):
        axes.spines[['top', 'right']].set_visible(False)


def _draw_neighbours(grid: Any, report: FeatureReport,
                     samples: Mapping[str, Any]) -> None:
    for axes in grid.flat:
        axes.set_visible(False)
    for row, (label, others) in zip(grid, report.neighbours.items(),
                                    strict=True):
        _draw_sample(row[0], samples.get(label), label, '', 'bold')
        for axes, (other, similarity) in zip(row[1:], others, strict=False):
            _draw_sample(axes, samples.get(other), other,
                         f' {similarity:.2f}', 'normal')


def _draw_sample(axes: Any, sample: Any, label: str, more: str,
                 weight: str) -> None:
    axes.set_visible(True)
    axes.set_xticks([])
    axes.set_yticks([])
    axes.spines[:].set_color('#CCCCCC')  # Shows the border of white images.
    # Labels may contain dollar signs, which would start a formula.
    axes.set_title(_fit(label, more, weight), fontsize=8, pad=3,
                   fontweight=weight, parse_math=False)
    if sample is None or isinstance(sample, str):
        text = '(not read)' if sample is None else textwrap.fill(
            _shorten(sample, 110), 27)
        axes.text(0.04, 0.93, text, fontsize=6.5, va='top', clip_on=True,
                  parse_math=False, transform=axes.transAxes)
    else:
        axes.imshow(sample)
        # The size of the box does not depend on the shape of the image.
        axes.set_aspect('equal', adjustable='datalim')


def _fit(label: str, more: str, weight: str) -> str:
    from matplotlib.font_manager import FontProperties
    from matplotlib.textpath import TextToPath

    font = FontProperties(size=8, weight=weight)
    text = ' '.join(label.split())
    for size in range(min(len(text), 60), 0, -1):
        short = _shorten(text, size) + more
        with warnings.catch_warnings():
            warnings.filterwarnings('ignore', 'Glyph .* missing from font')
            points = TextToPath().get_text_width_height_descent(
                short, font, ismath=False)[0]
        if points <= 72 * (WIDTH - 0.15):
            return short
    return more


def _shorten(text: str, width: int) -> str:
    text = ' '.join(text.split())
    return text if len(text) <= width else text[:width - 1] + '…'
