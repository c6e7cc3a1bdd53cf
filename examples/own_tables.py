r"""From your own tables to a graph with three modalities, a trained model, and
answers about an entity that is added after training.

The tables are invented. They describe cities by texts, pictures and numbers,
none of which covers all cities. Labels contain quotes, tabs and letters of
many scripts. Texts and pictures are encoded without weights.
"""

import argparse
import pathlib

import numpy as np
import pandas
import torch

from pyg_mmkgc import AdaMF, KnowledgeGraph, Trainer, evaluate, predict
from pyg_mmkgc.evaluation import most_similar
from pyg_mmkgc.features import extract, make_encoder
from pyg_mmkgc.nn import NeighborBaseline
from pyg_mmkgc.sampler import PooledSampler
from pyg_mmkgc.transforms import InductiveSplit

parser = argparse.ArgumentParser()
path = pathlib.Path(__file__).resolve().parents[1] / 'data' / 'own_tables'
parser.add_argument('--folder', type=pathlib.Path, default=path)
parser.add_argument('--hidden_channels', type=int, default=32)
parser.add_argument('--epochs', type=int, default=40)
parser.add_argument('--seed', type=int, default=0)
args = parser.parse_args()

# The tables: triples, texts, pictures (arrays or PIL images), numbers. #######
COUNTRIES = {
    'The "Free" Coast': ('Crown', 'harbours, gulls and salt', (30, 90, 200)),
    'Øvre\tDal': ('Krone', 'glaciers, sheep and snow', (230, 235, 240)),
    '南の島': ('貝', 'palms, coral and monsoons', (20, 180, 120)),
    'Ржаная Равнина': ('Сноп', 'rye, trains and frost', (210, 180, 60)),
}
rng = np.random.default_rng(args.seed)


def describe(country: str) -> str:
    return f'A town known for {COUNTRIES[country][1]}.'


def paint(country: str) -> np.ndarray:
    noise = rng.integers(-20, 21, (24, 32, 3))
    return (COUNTRIES[country][2] + noise).clip(0, 255).astype(np.uint8)


rows, texts, pictures, numbers = [], {}, {}, {}
for i, country in enumerate(COUNTRIES):
    rows.append((country, 'currency', COUNTRIES[country][0]))
    for j in range(15):
        city = f'"{country[:3]}" {j}'
        rows += [(city, 'located in', country),
                 (city, 'pays with', COUNTRIES[country][0]),
                 (city, 'twinned with', f'"{country[:3]}" {(j + 1) % 15}')]
        if j % 5 != 0:
            texts[city] = describe(country)
        if j % 3 != 0:
            pictures[city] = paint(country)
        if j % 2 != 0:  # Latitude and longitude.
            numbers[city] = rng.normal([20. * i, -10. * i], 2.0)
triples = pandas.DataFrame(rows, columns=['subject', 'predicate', 'object'])
coordinates = pandas.DataFrame.from_dict(numbers, orient='index')


def encode(contents: dict, encoder: str, name: str) -> pathlib.Path:
    folder = args.folder / name
    extract(contents, make_encoder(encoder), folder, num_workers=0,
            progress=False)
    return folder


# A graph with these features. Nodes without a row lack the modality. #########
kg = KnowledgeGraph.from_triples(
    triples, columns=['subject', 'predicate', 'object'], features={
        'text': encode(texts, 'hashing', 'text'),
        'picture': encode(pictures, 'descriptor', 'picture'),
        'place': (coordinates - coordinates.mean()) / coordinates.std()})
print(kg)

# The same triples as a file, by the rules of CSV.
triples.to_csv(args.folder / 'triples.tsv', sep='\t', index=False)
same = KnowledgeGraph.from_tsv(args.folder / 'triples.tsv')
print(f'The file has the same labels: {same.node_names == kg.node_names}')

# How good are answers about unseen entities? Hold some out. ##################


def train(kg: KnowledgeGraph) -> AdaMF:
    torch.manual_seed(args.seed)
    model = AdaMF.from_data(kg, hidden_channels=args.hidden_channels,
                            margin=4.0, drop_unseen=True,
                            structure_dropout=0.3)
    Trainer(model, kg, sampler=PooledSampler(num_negatives=32), lr=1e-2,
            batch_size=64, epochs=args.epochs, valid_every=None,
            seed=args.seed, progress=False).fit()
    return model


split = InductiveSplit(num_val=0, num_test=10, seed=args.seed)(kg)
for name, model in (('Neighbours', NeighborBaseline.from_data(split)),
                    ('AdaMF', train(split))):
    print(f'{name}, unseen entities: {evaluate(model, split).mrr:.4f} MRR')

# Train on everything, then add an entity and ask about it. ###################
model = train(kg)
name = 'Neu-"Øvre"\tДал'
more = kg.add_nodes(name, features={
    'text': encode({name: 'A new town of sheep, snow and glaciers.'},
                   'hashing', 'new_text'),
    'picture': encode({name: paint('Øvre\tDal')}, 'descriptor',
                      'new_picture')})
print(predict(model, more, head=name, rel_type='located in', k=3))
print(most_similar(model, more, name, k=3))
