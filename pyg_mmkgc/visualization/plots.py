r"""Plots of results, which need the extra ``plot`` (matplotlib)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pyg_mmkgc.errors import MMKGCError
from pyg_mmkgc.io.atomic import atomic_path
from pyg_mmkgc.report import cut

# Okabe and Ito's palette, which is safe for colour-blind readers.
_COLORS = ['#0072B2', '#D55E00', '#009E73', '#CC79A7', '#E69F00', '#56B4E9']
_STYLES = ['-', '--', '-.', ':']


def _curve(epochs: Sequence[Mapping[str, Any]],
           key: str) -> tuple[list[int], list[float]]:
    points = [(e['epoch'], e[key]) for e in epochs if e.get(key) is not None]
    return [x for x, _ in points], [y for _, y in points]


def _spans_orders(values: Sequence[float]) -> bool:
    # A diverging loss would flatten the curve of all other epochs.
    return bool(values) and min(values) > 0 and (
        max(values) > 100 * min(values))


def _label(key: str) -> str:
    words = key.replace('_', ' ').strip()
    return words[:1].upper() + words[1:]


def plot_history(history: Any, path: Any) -> None:
    r"""Draws the losses and the validation MRR over the epochs.

    Args:
        history (History or dict): The result of
            :meth:`~pyg_mmkgc.training.Trainer.fit`, or its plain values as
            stored in ``history.json``.
        path (str or os.PathLike): The image file. Its ending decides the
            format.
    """
    Figure = _figure_class()
    from matplotlib.ticker import MaxNLocator

    if isinstance(history, Mapping):
        epochs, best = history['epochs'], history.get('best_epoch')
    else:
        epochs, best = history.epochs, history.best_epoch

    keys = [key for key in dict.fromkeys(k for e in epochs for k in e)
            if key.endswith('loss')]
    x_val, y_val = _curve(epochs, 'val_mrr')

    # Without pyplot, a figure opens no window and changes no global state.
    figure = Figure(figsize=(7, 5.5), layout='constrained')
    top, bottom = figure.subplots(2, 1, sharex=True)
    for i, key in enumerate(keys):
        x, y = _curve(epochs, key)
        top.plot(x, y, _STYLES[i % 4], color=_COLORS[i % 6],
                 marker='o' if len(x) == 1 else None, label=_label(key))
    top.set_ylabel('Loss (mean over the epoch)')
    if keys:
        top.legend(frameon=False)
    if _spans_orders([e[key] for key in keys for e in epochs if key in e]):
        top.set_yscale('log')

    if len(y_val) == 1:  # A line and a scale would suggest more.
        bottom.plot(x_val, [100 * y_val[0]], 'o', color=_COLORS[2],
                    label='Validation MRR, filtered, both sides')
        bottom.annotate(f'{100 * y_val[0]:.2f} %', (x_val[0], 100 * y_val[0]),
                        xytext=(-8, 2), textcoords='offset points',
                        ha='right', va='bottom')
        bottom.set_ylim(0, max(1.0, 200 * y_val[0]))
        bottom.legend(frameon=False, loc='lower left')
    elif y_val:
        bottom.plot(x_val, [100 * y for y in y_val], 'o-',
                    color=_COLORS[2], markersize=4,
                    label='Validation MRR, filtered, both sides')
        if best in x_val:
            at = x_val.index(best)
            bottom.plot([best], [100 * y_val[at]], '*', color=_COLORS[1],
                        markersize=13, linestyle='none',
                        label=f'Best: {100 * y_val[at]:.2f} % at epoch '
                        f'{best}')
        low, high = 100 * min(y_val), 100 * max(y_val)
        if high - low < high / 10:  # Noise would fill the whole picture.
            middle = (low + high) / 2
            bottom.set_ylim(middle - high / 18, middle + high / 18)
        bottom.legend(frameon=False, loc='best')
    else:
        _say(bottom, 'no validation')
    bottom.set_ylabel('MRR (%)')
    bottom.set_xlabel('Epoch')
    bottom.set_xlim(left=0)
    bottom.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    for axes in (top, bottom):
        axes.grid(alpha=0.3)
        axes.spines[['top', 'right']].set_visible(False)

    _save(figure, path)


def plot_explanation(explanation: Any, path: Any) -> None:
    r"""Draws the weights of the modalities of a triple, and the ranks of its
    nodes with all modalities and without each of them.

    .. code-block:: python

        >>> import os, tempfile
        >>> from pyg_mmkgc import AdaMF, Countries, explain
        >>> from pyg_mmkgc.visualization import plot_explanation
        >>> kg = Countries()[0]
        >>> model = AdaMF.from_data(kg, hidden_channels=8)
        >>> found = explain(model, kg, 'Austria', 'neighbour', 'Italy')
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     plot_explanation(found, os.path.join(folder, 'why.png'))
        ...     os.listdir(folder)
        ['why.png']

    Args:
        explanation (Explanation or dict): The result of
            :func:`~pyg_mmkgc.evaluation.explain`, or its plain values.
        path (str or os.PathLike): The image file. Its ending decides the
            format.

    Raises:
        MMKGCError: If the model has a single view per node, which leaves
            nothing to draw, or :obj:`matplotlib` is not installed.
    """
    found = explanation if isinstance(
        explanation, Mapping) else explanation.to_dict()
    effects = found['modalities']
    if not effects:
        raise MMKGCError(f"Expected the explanation of a model with several "
                         f"modalities (got '{found['model']}', which has a "
                         'single view per node)')
    nodes = {side: cut(found[side]) for side in ('head', 'tail')}
    weighted = effects[0]['head_weight'] is not None
    figure = _figure_class()(figsize=(7, 3 + 2.5 * weighted),
                             layout='constrained')
    axes = list(figure.subplots(1 + weighted, 1, squeeze=False)[:, 0])
    for i, (side, node) in enumerate(nodes.items()):
        shift = 0.4 * i - 0.2
        if weighted:
            axes[0].barh([j + shift for j in range(len(effects))],
                         [100 * x[f'{side}_weight'] for x in effects], 0.36,
                         color=_COLORS[i], label=f'{side}: {node}')
        ranks = [found['ranks'][side]['rank'],
                 *(x[f'{side}_rank'] for x in effects)]
        bars = axes[-1].barh([j + shift for j in range(len(ranks))], ranks,
                             0.36, color=_COLORS[i], label=f'{side}: {node}')
        axes[-1].bar_label(bars, [f'{rank:,g}' for rank in ranks], padding=3)
    if weighted:
        axes[0].set_yticks(range(len(effects)), [x['name'] for x in effects])
        axes[0].set_xlabel('Weight (%)')
    axes[-1].set_yticks(range(len(effects) + 1), [
        'with all', *(f"without {x['name']}" for x in effects)])
    axes[-1].set_xscale('log')
    axes[-1].xaxis.set_major_formatter('{x:,g}')
    axes[-1].xaxis.set_minor_formatter('')
    axes[-1].set_xlim(left=0.8)
    axes[-1].margins(x=0.1)
    axes[-1].set_xlabel('Rank among all candidates (1 is best)')
    axes[0].set_title(f"{nodes['head']}  –  {cut(found['relation'])}  –  "
                      f"{nodes['tail']}", parse_math=False)
    for part in axes:
        part.invert_yaxis()
        part.grid(alpha=0.3, axis='x')
        part.spines[['top', 'right']].set_visible(False)
    # Within the axes, the legend could hide the bars.
    legend = figure.legend(*axes[0].get_legend_handles_labels(), ncols=2,
                           loc='outside lower center', frameon=False)
    for text in legend.get_texts():
        text.set_parse_math(False)
    _save(figure, path)


def plot_search(importances: Mapping[str, float],
                values: Sequence[tuple[int, float | None, str]],
                path: Any) -> None:
    r"""Draws the importance of each setting in a search, and the value of
    each trial.

    .. code-block:: python

        >>> import os, tempfile
        >>> from pyg_mmkgc.visualization import plot_search
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     plot_search({'training.lr': 1.0}, [(0, 0.2, 'complete')],
        ...                 os.path.join(folder, 'search.png'))
        ...     os.listdir(folder)
        ['search.png']

    Args:
        importances (dict): The importance of each setting. The sum of all
            importances is one.
        values (list[tuple]): The number, the validation MRR and the state
            (:obj:`"complete"`, :obj:`"pruned"` or :obj:`"diverged"`) of each
            trial.
        path (str or os.PathLike): The image file. Its ending decides the
            format.
    """
    from matplotlib.ticker import MaxNLocator

    figure = _figure_class()(
        figsize=(7, 3.6 + 0.35 * max(len(importances), 2)),
        layout='constrained')
    top, bottom = figure.subplots(
        2, 1, height_ratios=[0.6 + 0.35 * max(len(importances), 2), 3])
    names = list(importances)
    bars = top.barh(range(len(names)), [100 * x for x in importances.values()],
                    0.6, color=_COLORS[0])
    top.bar_label(bars, [f'{100 * x:.0f} %' for x in importances.values()],
                  padding=3)
    top.set_yticks(range(len(names)), names)
    top.invert_yaxis()
    top.margins(x=0.12)
    complete = sum(state == 'complete' for _, _, state in values)
    top.set_xlabel(f'Importance (%), from {complete} complete trials')
    if not names:
        _say(top, 'too few complete trials')
    for i, (state, marker) in enumerate(
            [('complete', 'o'), ('pruned', 'v'), ('diverged', 'x')]):
        x = [number for number, _, kind in values if kind == state]
        # Without a value, a mark on the axis still shows the trial.
        y = [100 * (value or 0.0) for _, value, kind in values
             if kind == state]
        if x:
            bottom.plot(x, y, marker, color=_COLORS[i], label=state)
    done = [(number, value) for number, value, kind in values
            if kind == 'complete' and value is not None]
    if done:
        best = [max(value for _, value in done[:i + 1])
                for i in range(len(done))]
        ends = [number for number, _ in done]
        if values[-1][0] > ends[-1]:
            ends, best = [*ends, values[-1][0]], [*best, best[-1]]
        bottom.step(ends, [100 * x for x in best],
                    where='post', color=_COLORS[0], alpha=0.5,
                    label='best so far')
    bottom.set_xlabel('Trial (0 is the configuration itself)')
    bottom.set_ylabel('Validation MRR (%)')
    bottom.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    bottom.legend(frameon=False, ncols=4, loc='upper center',
                  bbox_to_anchor=(0.5, 1.15))
    for axes in (top, bottom):
        axes.spines[['top', 'right']].set_visible(False)
    bottom.grid(alpha=0.3)
    top.grid(alpha=0.3, axis='x')
    _save(figure, path)


def _say(axes: Any, text: str) -> None:
    axes.set_xticks([])
    axes.set_yticks([])
    axes.text(0.5, 0.5, text, ha='center', va='center',
              transform=axes.transAxes)


def _figure_class() -> Any:
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MMKGCError("Expected 'matplotlib' to be installed for plots. "
                         'Run: pip install "pyg_mmkgc[plot]"') from error
    return Figure


def _save(figure: Any, path: Any) -> None:
    with atomic_path(path) as temp:
        suffix = str(path).rpartition('.')[2]
        figure.savefig(temp, dpi=150, format=suffix)
