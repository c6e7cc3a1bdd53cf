"""Explorers of small graphs."""

import re
from collections.abc import Callable, Iterator
from html.parser import HTMLParser
from typing import Any

import numpy as np
import pytest
import torch

from pyg_mmkgc import AdaMF, Countries, FakeMMKG, KnowledgeGraph
from pyg_mmkgc.explore import Explorer, Subject
from pyg_mmkgc.explore.media import Media
from pyg_mmkgc.nn import RotatE
from pyg_mmkgc.runs import Answers

HOSTILE = [
    '<script>window.hit = 1</script>',
    '"><img src=x onerror="window.hit = 1">',
    'gpj\u202eexe.\u2066harm\x1b[31mless',
    'long' * 2500,
    'two\nlines\tand a tab',
    ' ',
    '{{ 7 * 7 }}{% raw %}',
    '../../etc/passwd',
    'javascript:window.hit=1',
    '\ud800 half a letter',
]


def make_graph() -> KnowledgeGraph:
    """A graph whose first labels are those of an attacker."""
    kg = FakeMMKG(num_nodes=60, num_edges=400, seed=3)[0]
    kg.node_names[:len(HOSTILE)] = HOSTILE
    kg.relation_names[0] = '<i onclick="window.hit = 1">is\u202e</i>'
    # All of them in one place.
    kg.edge_index = torch.cat([kg.edge_index, torch.tensor([
        [30] * len(HOSTILE), list(range(len(HOSTILE)))])], dim=1)
    kg.edge_type = torch.cat([kg.edge_type, torch.zeros(
        len(HOSTILE), dtype=torch.long)])
    for name, value in (('train', True), ('val', False), ('test', False)):
        kg[f'{name}_mask'] = torch.cat([kg[f'{name}_mask'], torch.full(
            (len(HOSTILE), ), value)])
    return kg


@pytest.fixture
def check_markup() -> Callable[[str], list[str]]:
    """Checks that a page runs nothing but our script, and returns where its
    links lead.
    """
    class Parser(HTMLParser):
        def handle_starttag(self, tag: str, attrs: Any) -> None:
            assert tag not in ('style', 'iframe', 'object', 'u')
            if tag == 'script':
                source = dict(attrs).get('src', '')
                assert source.rpartition('/')[2] == 'explore.js'
            for name, value in attrs:
                assert not name.startswith('on')
                assert name not in ('style', 'srcdoc')
                if name in ('href', 'src', 'action', 'data-load',
                            'data-suggest'):
                    links.append(value)

    def check(text: str) -> list[str]:
        links.clear()
        Parser().feed(text)
        # Nothing that a browser would act on, and no reversed text.
        assert not re.search('[\x00-\x08\x0b-\x1f\x7f\u202a-\u202e'
                             '\u2066-\u2069\ud800-\udfff]', text)
        assert not any(re.match(r'\s*[a-z]+:|//', link) for link in links)
        return links

    links: list[str] = []
    return check


@pytest.fixture(scope='session')
def graph() -> KnowledgeGraph:
    return make_graph()


@pytest.fixture(scope='session')
def explorer(graph: KnowledgeGraph) -> Explorer:
    """Two models on the graph, with pictures and hostile texts."""
    torch.manual_seed(0)
    models = {'<u>fused</u>': AdaMF.from_data(graph, hidden_channels=8),
              'plain': RotatE.from_data(graph, hidden_channels=8)}
    pictures = {i: np.full((3, 4, 3), 20 * i, np.uint8) for i in range(12)}
    texts = {1: '<script>window.hit = 1</script> a text', 2: '\u202etxet'}
    return Explorer([Subject(name, Answers(model, graph))
                     for name, model in models.items()],
                    Media(pictures, texts), '<h1>fake</h1>')


@pytest.fixture(scope='session')
def countries() -> Iterator[Explorer]:
    torch.manual_seed(0)
    data = Countries()
    kg = data[0]
    flags = dict(enumerate(data.thumbnails.numpy()))
    texts = {i: text for i, text in enumerate(data.descriptions) if text}
    model = AdaMF.from_data(kg, hidden_channels=8)
    yield Explorer([Subject('untrained', Answers(model, kg))],
                   Media(flags, texts), 'Countries')
