"""A graph and a model small enough to work by hand."""

import warnings

import pytest
import torch

from pyg_mmkgc.data import KnowledgeGraph
from pyg_mmkgc.evaluation import TieWarning

# A graph whose ranks are worked out by hand.
#
# Seven nodes on a line, `next` is a step of 1 and `far` a step of 3, see Line.
#
#   train  (2 next 3)  (4 next 5)  (0 next 1)
#   val    (2 next 4)  (3 next 5)
#   test   (2 next 5)  (2 next 1)  (3 far 6)
#   filter (2 next 2)
#
# Distances of the candidates 0 1 2 3 4 5 6 (* the target, x filtered):
#
#   (? next 5)  4  3  2* 1x 0x 1  2   better {5}, tie {6}: rank 2 to 3 of 5
#   (? next 1)  0x 1  2* 3  4  5  6   better {1}:          rank 2      of 6
#   (? far 6)   3  2  1  0* 1  2  3                        rank 1      of 7
#   (2 next ?)  3  2x 1x 0x 1x 2* 3   (5)                  rank 1      of 3
#   (2 next ?)  3  2* 1x 0x 1x 2x 3   (1)                  rank 1      of 3
#   (3 far ?)   6  5  4  3  2  1  0*                       rank 1      of 7
TRAIN = [(2, 0, 3), (4, 0, 5), (0, 0, 1)]
VAL = [(2, 0, 4), (3, 0, 5)]
TEST = [(2, 0, 5), (2, 0, 1), (3, 1, 6)]
EXTRA = [(2, 0, 2)]


class Line(torch.nn.Module):
    r"""A model with the fast path only, whose nodes are integers on a line and
    whose relations are steps: score(h, r, t) = -|h + step_r - t|.
    """
    def __init__(self, num_nodes=7, steps=(1, 3)):
        super().__init__()
        self.num_nodes, self.num_relations = num_nodes, len(steps)
        self.register_buffer('step', torch.tensor(steps).float())
        self.calls = []

    def encode(self):
        self.calls.append('encode')
        return torch.arange(self.num_nodes, device=self.step.device).float()

    def score_tails(self, head_index, rel_type, table=None):
        self.calls.append(head_index.numel())
        query = table[head_index] + self.step[rel_type]
        return -(query[:, None] - table).abs()

    def score_heads(self, rel_type, tail_index, table=None):
        self.calls.append(tail_index.numel())
        query = table[tail_index] - self.step[rel_type]
        return -(query[:, None] - table).abs()


def build(train, val=(), test=(), extra=(), num_nodes=None,
          num_relations=None):
    triples = torch.tensor([*train, *val, *test]).view(-1, 3)
    split = torch.tensor([0] * len(train) + [1] * len(val) + [2] * len(test))
    kwargs = {}
    if extra:
        h, r, t = torch.tensor(extra).t()
        kwargs = {'filter_edge_index': torch.stack([h, t]),
                  'filter_edge_type': r}
    return KnowledgeGraph(
        edge_index=triples[:, [0, 2]].t().contiguous(),
        edge_type=triples[:, 1].clone(), num_nodes=num_nodes,
        num_relations=num_relations, train_mask=split == 0,
        val_mask=split == 1, test_mask=split == 2, **kwargs)


@pytest.fixture
def make_kg():
    return build


@pytest.fixture
def parts():
    return {'train': TRAIN, 'val': VAL, 'test': TEST, 'filter': EXTRA}


@pytest.fixture
def hand_kg():
    return build(TRAIN, VAL, TEST, EXTRA, 7, 2)


@pytest.fixture(name='Line')
def line():
    return Line


@pytest.fixture
def ignore_ties():
    with warnings.catch_warnings():
        warnings.simplefilter('ignore', TieWarning)
        yield
