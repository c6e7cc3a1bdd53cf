import hashlib

import pytest

from pyg_mmkgc.datasets import DB15K, MKGW

NUM_NODES, NUM_RELATIONS = 12, 3
TRAIN = [(h, (h + r + 1) % NUM_NODES, r) for h in range(NUM_NODES)
         for r in range(NUM_RELATIONS)]
VALID = [(0, 5, 0), (1, 2, 0), (0, 5, 0)]  # One is a training triple.
TEST = [(2, 7, 1), (3, 3, 2)]


def names(prefix, num):
    rows = [f'{prefix}{i} {i}' for i in reversed(range(num))]
    return '\n'.join([str(num), *rows, ''])


def triples(rows):
    return '\n'.join([str(len(rows)), *(f'{h} {t} {r}' for h, t, r in rows),
                      ''])


FILES = {
    'entity2id.txt': names('node ', NUM_NODES),
    'relation2id.txt': names('relation', NUM_RELATIONS),
    'train2id.txt': triples(TRAIN),
    'valid2id.txt': triples(VALID),
    'test2id.txt': triples(TEST),
}


@pytest.fixture
def small(monkeypatch):
    """Makes the benchmarks expect tiny files."""
    sha256 = {
        name: hashlib.sha256(content.encode()).hexdigest()
        for name, content in FILES.items()
    }
    for cls in (DB15K, MKGW):
        monkeypatch.setattr(cls, 'sha256', sha256)
        monkeypatch.setattr(cls, 'sizes', {
            name: len(content.encode()) for name, content in FILES.items()})
    return FILES


@pytest.fixture
def write(small):
    """Writes the files of a benchmark into a folder."""
    def write(folder, **files):
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in (small | files).items():
            (folder / name).write_text(content)
        return folder

    return write
