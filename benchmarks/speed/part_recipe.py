"""The command ``mmkgc train`` from start to end."""

import json
import subprocess
import sys
import time

from protocol import Row, Setup, row


def mkg_w(setup: Setup) -> list[Row]:
    """``mmkgc train mkg_w`` with the shipped configuration: training,
    validations and test ranking, measured once.
    """
    folder = setup.scratch / 'run'
    words = [sys.executable, '-m', 'mmkgc', 'train', '--quiet',
             '--output', str(folder), '--device', str(setup.device)]
    words += (['countries', '--set', 'training.epochs=1'] if setup.quick else
              ['mkg_w', '--data-root', str(setup.data_root)])
    start = time.perf_counter()
    done = subprocess.run(words, text=True, capture_output=True, check=False)
    minutes = (time.perf_counter() - start) / 60
    if done.returncode != 0:
        raise RuntimeError(done.stderr[-2000:])
    found = json.loads((folder / 'metrics.json').read_text())
    seconds, metrics = found['seconds'], found['test']['metrics']
    return [
        row('the whole command', minutes, 'minutes',
            setup.bar(('<=', 8.0)), epochs=found['epochs']),
        row('training and validations', seconds['train'] / 60, 'minutes'),
        row('test ranking', seconds['evaluate'], 's'),
        *(row(f'test {name}', 100 * metrics[name], '%')
          for name in ('mrr', 'hits@1', 'hits@10'))]


GROUPS = {'mkg_w': mkg_w}
