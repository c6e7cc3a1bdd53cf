r"""Measures the overhead of extraction over its encoder, in time and memory.

.. code-block:: sh

    python benchmarks/features/run.py                        # both parts
    python benchmarks/features/run.py --quick --results DIR  # smoke test

Throughput: BEiT-base with random weights encodes images of the size of web
photographs, in turns by `extract`, from files to files, and by a bare loop
over batches in memory. Memory: the peak of a process that extracts vectors
with 4,096 channels for a given number of images. Nothing else should run at
the same time.
"""

import argparse
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from pyg_mmkgc.features import (
    Item,
    TransformersEncoder,
    extract,
    read_folder,
)
from pyg_mmkgc.features.batches import load_batches

HERE = Path(__file__).resolve().parent
TITLE = 'Features: throughput and memory of extraction'


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=TITLE)
    parser.add_argument('--images', type=int, default=192,
                        help='number of images per round of the throughput')
    parser.add_argument('--rounds', type=int, default=5)
    parser.add_argument('--sizes', type=int, nargs=2, default=[1000, 20_000],
                        help='numbers of images whose memory is compared')
    parser.add_argument('--batch-size', type=int, default=32)
    parser.add_argument('--workers', type=int, default=2)
    parser.add_argument('--device', default='cpu')
    parser.add_argument('--threads', type=int, default=os.cpu_count())
    parser.add_argument('--results', type=Path,
                        default=HERE.parent / 'results')
    parser.add_argument('--quick', action='store_true',
                        help='use tiny sizes, as a smoke test')
    parser.add_argument('--child', nargs=2, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.quick:
        args.images, args.rounds, args.sizes = 8, 1, [20, 60]
        args.batch_size = 4
    return args


def draw(folder: Path, count: int, distinct: int, size: int) -> None:
    """Writes distinct JPEG files of noise over gradients, and further links
    to them.
    """
    from PIL import Image
    rng = np.random.default_rng(0)
    wave = np.linspace(0, 200, size)
    for i in range(count):
        entity = folder / f'e{i // 4:05d}'
        entity.mkdir(parents=True, exist_ok=True)
        path = entity / f'{i}.jpg'
        if i >= distinct:
            os.link(folder / f'e{i % distinct // 4:05d}' /
                    f'{i % distinct}.jpg', path)
            continue
        noise = rng.integers(0, 55, (size, size, 3))
        pixels = noise + wave[:, None, None] * rng.random(3)
        Image.fromarray(pixels.astype(np.uint8)).save(path, quality=90)


def beit(args: argparse.Namespace) -> TransformersEncoder:
    """Returns the architecture of the paper's encoder for MKG-W and MKG-Y."""
    import transformers
    torch.manual_seed(0)
    config = transformers.BeitConfig(
        **({'num_hidden_layers': 1} if args.quick else {}))
    return TransformersEncoder(transformers.BeitModel(config),
                               transformers.BeitImageProcessor(),
                               device=args.device)


def throughput(args: argparse.Namespace, scratch: Path) -> dict[str, Any]:
    """Measures images per second with and without files, in turns."""
    draw(scratch / 'images', args.images, args.images, 400)
    items = read_folder(scratch / 'images')
    encoder = beit(args)
    ready = [batch.values for batch in load_batches(
        items, encoder, 0, args.batch_size, args.workers)]

    def bare() -> None:
        with torch.inference_mode():
            for batch in ready:
                encoder.encode(batch).cpu()

    seconds: dict[str, list[float]] = {'bare': [], 'extract': []}
    for round_ in range(-1, args.rounds):  # The first round is a warm-up.
        for name in seconds:
            folder = scratch / f'{name}{round_}'
            start = time.perf_counter()
            if name == 'bare':
                bare()
            else:
                extract(items, encoder, folder, batch_size=args.batch_size,
                        num_workers=args.workers, progress=False)
            if round_ >= 0:
                seconds[name].append(time.perf_counter() - start)
    # Compare round by round, since the load may change between rounds.
    ratios = [a / b for a, b in zip(seconds['bare'], seconds['extract'],
                                     strict=True)]
    return {
        'images': args.images,
        'seconds': seconds,
        'images_per_second': {
            name: args.images / statistics.median(values)
            for name, values in seconds.items()},
        'share_of_bare': statistics.median(ratios),
        'shares': ratios,
        'asked': 0.9,
    }


class Wide:
    """An encoder with the channels of VGG-16 and almost no work."""
    kind = 'image'

    def prepare(self, image: Any) -> torch.Tensor:
        image = image.resize((32, 32))
        return torch.from_numpy(np.asarray(image, np.float32).reshape(-1))

    def encode(self, batch: torch.Tensor) -> torch.Tensor:
        return batch.repeat(1, 2)[:, :4096]

    def describe(self) -> dict[str, Any]:
        return {'name': 'wide'}


def child(images: str, folder: str, args: argparse.Namespace) -> None:
    """Extracts features and prints the peak memory of this process and a
    worker.
    """
    items: list[Item] = read_folder(images)
    features = extract(items, Wide(), folder, batch_size=args.batch_size,
                       num_workers=args.workers, progress=False)
    assert features.x.shape == (len({item.entity for item in items}), 4096)
    print(json.dumps({
        name: 1024 * resource.getrusage(who).ru_maxrss
        for name, who in [('process', resource.RUSAGE_SELF),
                          ('worker', resource.RUSAGE_CHILDREN)]}))


def memory(args: argparse.Namespace, scratch: Path) -> dict[str, Any]:
    """Measures peak memory in bytes, by the number of images."""
    out: dict[str, Any] = {}
    for size in args.sizes:
        draw(scratch / f'{size}', size, 200, 100)
        done = subprocess.run(
            [sys.executable, __file__, '--workers', str(args.workers),
             '--threads', str(args.threads), '--batch-size',
             str(args.batch_size), '--child', str(scratch / f'{size}'),
             str(scratch / f'out{size}')],
            check=True, stdout=subprocess.PIPE)
        out[str(size)] = json.loads(done.stdout)
    few, many = (out[str(size)]['process'] for size in args.sizes)
    return {'peak_bytes': out, 'growth': many / few, 'asked': 1.1,
            'table_bytes': 4 * 4096 * args.sizes[1]}


def report(results: dict[str, Any]) -> str:
    speed, peaks = results['throughput'], results['memory']
    rate = speed['images_per_second']
    lines = [
        f'# {TITLE}', '',
        '| what | value | asked |', '|---|---|---|',
        f'| BEiT-base alone, batches ready | {rate["bare"]:.2f} images/s | |',
        f'| `extract`, files to files | {rate["extract"]:.2f} images/s | |',
        f'| share of the bare encoder | {speed["share_of_bare"]:.1%} '
        f'({min(speed["shares"]):.1%} to {max(speed["shares"]):.1%}) | '
        f'at least {speed["asked"]:.0%} |',
    ]
    for size, peak in peaks['peak_bytes'].items():
        lines.append(f'| peak memory, {int(size):,} images | '
                     f'{peak["process"] / 1e6:.0f} MB, a worker '
                     f'{peak["worker"] / 1e6:.0f} MB | |')
    lines += [
        f'| growth | {peaks["growth"]:.3f} | at most {peaks["asked"]} |', '',
        f'The vectors of the larger number are '
        f'{peaks["table_bytes"] / 1e6:.0f} MB. Medians of '
        f'{len(speed["shares"])} rounds of {speed["images"]} images, with '
        f'the smallest and the largest.', '',
        f'Command: `{results["command"]}`. Commit: {results["commit"]}. '
        f'Machine: {results["machine"]}.', '',
    ]
    return '\n'.join(lines)


def main() -> None:
    args = parse()
    torch.set_num_threads(args.threads)
    if args.child:
        child(*args.child, args)
        return
    with tempfile.TemporaryDirectory() as scratch:
        results = {
            'throughput': throughput(args, Path(scratch, 'throughput')),
            'memory': memory(args, Path(scratch, 'memory')),
            'command': 'python benchmarks/features/run.py '
                       + ' '.join('RESULTS' if x == str(args.results) else x
                                  for x in sys.argv[1:]),
            'commit': subprocess.run(
                ['git', '-C', str(HERE), 'describe', '--always', '--dirty',
                 '--exclude=*'], capture_output=True, text=True,
                check=False).stdout.strip(),
            'machine': f'{platform.machine()}, {os.cpu_count()} cores, '
                       f'{args.threads} threads, {args.workers} workers, '
                       f'{args.device}, PyTorch {torch.__version__}',
        }
    args.results.mkdir(parents=True, exist_ok=True)
    (args.results / 'features.json').write_text(
        json.dumps(results, indent=1) + '\n')
    (args.results / 'features.md').write_text(report(results))
    print(report(results))


if __name__ == '__main__':
    main()
