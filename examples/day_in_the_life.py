r"""From a data frame to predictions, explanations, a table for a paper and a
page for colleagues.

The nodes are the times of a day in steps of a quarter of an hour, and
`23:45  quarter_later  00:00` is a row of the data frame. There are two
modalities: the position of the hands of a clock, and the daylight, which is
missing for every tenth node. The commands in `day_in_the_life.txt` do the
same.
"""

import argparse
import math
import os
import os.path as osp

import numpy as np
import pandas
import torch

from pyg_mmkgc import (
    AdaMF,
    KnowledgeGraph,
    Trainer,
    compare,
    evaluate,
    explain,
    predict,
)
from pyg_mmkgc.evaluation import most_similar
from pyg_mmkgc.nn import RotatE
from pyg_mmkgc.sampler import UniformSampler
from pyg_mmkgc.visualization import plot_explanation

parser = argparse.ArgumentParser()
path = osp.join(osp.dirname(osp.realpath(__file__)), '..', 'data', 'day')
parser.add_argument('--folder', type=str, default=path)
parser.add_argument('--epochs', type=int, default=60)
parser.add_argument('--seeds', type=int, default=2)
args = parser.parse_args()
os.makedirs(args.folder, exist_ok=True)
os.chdir(args.folder)

# Morning: the data. ##########################################################
times = [f'{i // 4:02d}:{i % 4 * 15:02d}' for i in range(96)]
steps = {'quarter_later': 1, 'half_an_hour_later': 2, 'hour_later': 4,
         'three_hours_later': 12, 'half_a_day_later': 48,
         'quarter_earlier': -1}
frame = pandas.DataFrame(
    [(times[i], relation, times[(i + step) % 96])
     for i in range(96) for relation, step in steps.items()],
    columns=['head', 'relation', 'tail'])
frame.to_csv('triples.tsv', sep='\t', index=False, header=False)

turn = 2 * math.pi * np.arange(96) / 96
np.savez('clock.npz', **dict(zip(times, np.stack([
    f(turn * speed) for speed in (1, 2, 24) for f in (np.cos, np.sin)
], axis=1).astype(np.float32), strict=True)))
np.savez('light.npz', **{
    time: np.array([-math.cos(turn[i]), 24 <= i < 72], dtype=np.float32)
    for i, time in enumerate(times) if i % 10 != 0})

kg = KnowledgeGraph.from_tsv(
    'triples.tsv', val_ratio=0.1, test_ratio=0.1,
    features={'clock': 'clock.npz', 'light': 'light.npz'})
kg.validate()
audit = kg.audit()
print(repr(audit))

# Noon: two methods with several seeds. #######################################
results, models = {'RotatE': [], 'AdaMF': []}, {}
for cls, name in [(RotatE, 'RotatE'), (AdaMF, 'AdaMF')]:
    for seed in range(args.seeds):
        torch.manual_seed(seed)
        model = cls.from_data(kg, hidden_channels=16, margin=6.0)
        Trainer(model, kg, sampler=UniformSampler(num_negatives=32), lr=2e-2,
                batch_size=128, epochs=args.epochs, seed=seed,
                progress=False).fit()
        results[name].append(evaluate(model, kg, split='test'))
    models[name] = model
comparison = compare(*results.values(), names=list(results))
print(comparison)
with open('table.tex', 'w', encoding='utf-8') as file:
    file.write(comparison.to_latex())

# Afternoon: predictions and explanations. ####################################
model = models['AdaMF']
answers = predict(model, kg, head=['09:00', '23:45'],
                  rel_type='quarter_later', k=3)
print(answers)
print(answers.to_pandas().groupby('head')['score'].max())
print(predict(model, kg, head='09:00', tail='10:00', k=2))
print(most_similar(model, kg, '12:00', k=3))
explanation = explain(model, kg, '23:45', 'quarter_later', '00:00')
print(explanation)
plot_explanation(explanation, 'why.png')

# Evening: a page for colleagues. #############################################
with open('day.html', 'w', encoding='utf-8') as file:
    file.write('<!doctype html>\n<meta charset="utf-8">\n<title>A day</title>'
               '\n<h1>A day</h1>\n')
    for result in (audit, comparison, answers, explanation):
        file.write(f'{result._repr_html_()}\n')
    file.write('<img src="why.png" alt="weights and ranks">\n')

# Files for the commands in day_in_the_life.txt. ##############################
for name, features in [('rotate', '{}'), (
        'adamf', '{clock: clock.npz, light: light.npz}')]:
    with open(f'{name}.yaml', 'w', encoding='utf-8') as file:
        file.write(f"""\
dataset: {{name: TSV, root: ., train: triples.tsv, val_ratio: 0.1,
          test_ratio: 0.1, features: {features}}}
model: {{name: {'AdaMF' if name == 'adamf' else 'RotatE'},
        hidden_channels: 16, margin: 6.0}}
sampler: {{name: UniformSampler, num_negatives: 32}}
training: {{lr: 2e-2, batch_size: 128, epochs: {args.epochs}}}
""")
with open('queries.tsv', 'w', encoding='utf-8') as file:
    file.write('09:00\tquarter_later\t?\n?\thour_later\t00:30\n')
