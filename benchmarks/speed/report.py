"""The Markdown of the results, created from the JSON files alone."""

import json
import sys
from pathlib import Path
from typing import Any

ORDER = ('training', 'recipe', 'pyg_loop', 'pykeen', 'ranking', 'sampling',
         'memory', 'growth', 'roofline', 'kernels', 'models', 'paths')


def write_report(folder: Path) -> None:
    """Writes ``README.md`` and figures next to the JSON files."""
    from figures import draw

    parts = [json.loads((folder / f'{name}.json').read_text())
             for name in ORDER if (folder / f'{name}.json').exists()]
    if not parts:
        return
    out = ['# Speed and memory', '', parts[0]['protocol'], '',
           'Made by `benchmarks/speed/report.py` from the JSON files next to '
           'this file. A bar is a goal of the project.', '', *_summary(parts)]
    for part in parts:
        out += [f'## {part["part"]}', '', part['about'].strip(), '']
        files = draw(part['part'], part['groups'], folder)
        for name, group in part['groups'].items():
            out += _group(part['part'], name, group)
            prefix = f'{part["part"]}_{name.lower()}.png'
            out += _figures([x for x in files if x == prefix])
        out += _figures([x for x in files if x == f'{part["part"]}.png'])
    (folder / 'README.md').write_text('\n'.join(out).rstrip() + '\n')


def _figures(files: list[str]) -> list[str]:
    return [line for x in files
            for line in (f'![{x.removesuffix(".png")}]({x})', '')]


def _summary(parts: list[dict[str, Any]]) -> list[str]:
    rows = [(part['part'], row) for part in parts
            for group in part['groups'].values()
            for row in group['rows'] if 'bar' in row]
    if not rows:
        return []
    met = sum(row['met'] for _, row in rows)
    out = ['## Bars', '', f'{met} of {len(rows)} are met.', '',
           '| part | what | measured | bar | met |', '|---|---|---|---|---|']
    out += [f'| {part} | {row["name"]} | {_value(row["median"])} '
            f'{row["unit"]} | {_bar(row)} | {"yes" if row["met"] else "no"} |'
            for part, row in rows]
    return [*out, '']


def _group(part: str, name: str, group: dict[str, Any]) -> list[str]:
    out = [f'### {part}: {name}', '', group['about'], '']
    if group['quick']:
        out += ['**Quick: tiny sizes, no measurement.**', '']
    roofline = any('part' in row.get('detail', {}) for row in group['rows'])
    more = ' GFLOP | G moduli | MB | at the ceiling | times |' * roofline
    out += [f'| what | median | range | n | unit | bar |{more}',
            '|---|---|---|---|---|---|' + '---|---|---|---|---|' * roofline]
    notes = []
    for row in group['rows']:
        if row.get('note'):
            notes.append(f'* {row["name"]}: {row["note"]}')
        span = ('' if row['n'] == 1 else
                f'{_value(row["min"])} to {_value(row["max"])}')
        line = (f'| {row["name"]} | {_value(row["median"])} | {span} | '
                f'{row["n"]} | {row["unit"]} | {_bar(row)} |')
        if roofline:
            line += _counted(row.get('detail', {}))
        out.append(line)
        if 'extrapolated_from' in row.get('detail', {}):
            notes.append(f'* {row["name"]}: extrapolated from '
                         f'{row["detail"]["extrapolated_from"]}')
        if 'equal' in row.get('detail', {}):
            notes.append(
                f'* {row["name"]}: {row["detail"]["equal"]} of '
                f'{row["detail"]["compared"]} are equal on both sides; the '
                'largest difference is '
                f'{_value(row["detail"]["largest_difference"])}.')
    out += ['', *notes, *([''] if notes else [])]
    machine = group['machine']
    threads = 'thread' if machine['threads'] == 1 else 'threads'
    gpu = f', {machine["gpu"]}' if 'gpu' in machine else ''
    versions = ', '.join(f'{key} {value}' for key, value
                         in group['versions'].items() if key != 'platform')
    dirty = ' and uncommitted changes' * group['changed_since_commit']
    return [*out, f'{machine["processor"]}{gpu}, {machine["cores"]} cores, '
            f'{machine["threads"]} {threads}, {machine["capability"]}; load '
            f'before {machine["load_average"][0]}, after '
            f'{group["load_average_after"][0]}; {versions}; commit '
            f'{group["commit"][:12]}{dirty}; {group["date"]}, '
            f'{group["minutes"]} minutes: `{group["command"]}`', '']


def _counted(detail: dict[str, Any]) -> str:
    if 'ceiling_ms' not in detail:
        return ' | | | | |'
    work = detail.get('counted', {})
    cells = [_value(work[key]) if work.get(key) else ''
             for key in ('GFLOP', 'G moduli', 'MB')]
    return (f' {" | ".join(cells)} | {_value(detail["ceiling_ms"])} | '
            f'{_value(detail["times_the_ceiling"])} |')


def _bar(row: dict[str, Any]) -> str:
    if 'bar' not in row:
        return ''
    sign = {'<=': 'at most', '>=': 'at least'}[row['bar'][0]]
    return f'{sign} {_value(row["bar"][1])}'


def _value(value: float) -> str:
    """Formats a value with three digits, but does not round integers."""
    return f'{value:.0f}' if abs(value) >= 1000 else f'{value:.3g}'


if __name__ == '__main__':
    write_report(Path(sys.argv[1]))
