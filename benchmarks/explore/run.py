r"""Measures the pages of ``mmkgc explore`` on a large random graph.

    python benchmarks/explore/run.py --nodes 1000000 --triples 3000000

Every page is requested twice from the application, without a browser. The
second request shows the effect of caching.
"""

from __future__ import annotations

import argparse
import asyncio
import resource
import time
from typing import Any

import torch

from pyg_mmkgc import AdaMF, KnowledgeGraph
from pyg_mmkgc.explore import Explorer, Subject, make_app
from pyg_mmkgc.nn import RotatE
from pyg_mmkgc.runs import Answers


def make_graph(nodes: int, triples: int, channels: int) -> KnowledgeGraph:
    r"""Returns a random graph with labels and one modality."""
    generator = torch.Generator().manual_seed(0)
    # Some nodes have many triples, as in real graphs.
    index = (nodes * torch.rand(2, triples, generator=generator) ** 3).long()
    split = torch.rand(triples, generator=generator)
    return KnowledgeGraph(
        index, torch.randint(100, (triples, ), generator=generator),
        num_nodes=nodes, num_relations=100,
        node_names=[f'entity {i:,} of many' for i in range(nodes)],
        relation_names=[f'relation {i}' for i in range(100)],
        train_mask=split < 0.9998, val_mask=(split >= 0.9998) & (
            split < 0.9999), test_mask=split >= 0.9999,
        x_text=torch.randn(nodes, channels, generator=generator))


def ask(app: Any, path: str) -> tuple[float, int]:
    r"""Returns the seconds and the bytes of an answer."""
    path, _, query = path.partition('?')
    sent: list[Any] = []

    async def receive() -> Any:
        return {'type': 'http.request', 'body': b'', 'more_body': False}

    async def send(message: Any) -> None:
        sent.append(message)

    start = time.perf_counter()
    asyncio.run(app({
        'type': 'http', 'method': 'GET', 'path': path, 'scheme': 'http',
        'raw_path': path.encode(), 'query_string': query.encode(),
        'root_path': '', 'http_version': '1.1', 'client': ('127.0.0.1', 1),
        'server': ('127.0.0.1', 80),
        'headers': [(b'host', b'127.0.0.1')]}, receive, send))
    seconds = time.perf_counter() - start
    assert sent[0]['status'] == 200, sent
    return seconds, sum(len(part.get('body', b'')) for part in sent[1:])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--nodes', type=int, default=1_000_000)
    parser.add_argument('--triples', type=int, default=3_000_000)
    parser.add_argument('--channels', type=int, default=32)
    parser.add_argument('--model', choices=['RotatE', 'AdaMF'],
                        default='RotatE')
    parser.add_argument('--paths', nargs='+', metavar='PAGE')
    args = parser.parse_args()
    graph = make_graph(args.nodes, args.triples, args.channels)
    model = {'RotatE': RotatE, 'AdaMF': AdaMF}[args.model].from_data(
        graph, hidden_channels=args.channels)
    start = time.perf_counter()
    app = make_app(Explorer([Subject(args.model, Answers(model, graph))]))
    print(f'open          {time.perf_counter() - start:7.2f} s')
    hub = args.nodes // 1000
    paths = args.paths or [
        '/', '/suggest?q=entity', '/suggest?q=99 of m', '/search?q=nowhere',
        f'/entity?node={hub}', f'/ask?head={hub}&relation=3',
        f'/ask?relation=3&tail={hub}', f'/ask?head={hub}&tail=5',
        f'/similar?node={hub}', '/map', f'/why?head={hub}&relation=3&tail=5',
        '/failures?compute=1']
    for path in paths:
        (first, size), (second, _) = ask(app, path), ask(app, path)
        print(f'{path:34} {first:7.2f} s, then {second:7.2f} s '
              f'{size / 1000:8.1f} kB', flush=True)
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(f'memory {memory / 1e6:.1f} GB')


if __name__ == '__main__':
    main()
