r"""Compares two commits of the library number by number.

Each commit records the outputs of every model in ``tests/nn/kge/cases.py``,
in double precision and with weights from a fixed seed: scores of triples, of
candidates, and of all tails and heads, ranks, losses and gradients, with and
without compiled loops.

    PYTHONPATH=OLD python benchmarks/equivalence.py record old.pt
    PYTHONPATH=NEW python benchmarks/equivalence.py record new.pt
    python benchmarks/equivalence.py compare old.pt new.pt
"""

import argparse
import importlib.util
import inspect
import sys
import warnings
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

ROOT = Path(__file__).resolve().parents[1]


def cases() -> list[Any]:
    spec = importlib.util.spec_from_file_location(
        'cases', ROOT / 'tests' / 'nn' / 'kge' / 'cases.py')
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules['cases'] = module
    spec.loader.exec_module(module)
    return module.CASES


def record_model(name: str, kwargs: dict[str, Any]) -> dict[str, Tensor]:
    from pyg_mmkgc import evaluate, nn
    from pyg_mmkgc.datasets import FakeMMKG

    kg = FakeMMKG(num_nodes=60, num_relations=4, num_edges=200,
                  modalities={'visual': 6, 'text': 5})[0]
    torch.manual_seed(0)
    model = getattr(nn, name).from_data(kg, hidden_channels=8, **kwargs)
    out = {f'init/{k}': x.clone() for k, x in model.state_dict().items()}
    train = kg.split('train')
    model = model.double()
    model.prepare(train.edge_index, train.edge_type)
    (head, tail), rel = train.edge_index[:, :40], train.edge_type[:40]
    generator = torch.Generator().manual_seed(1)
    index = torch.randint(60, (5, 16), generator=generator)
    side = torch.rand(40, 16, generator=generator) < 0.5
    pooled = index.repeat_interleave(8, 0)
    loose = torch.randint(60, (40, 16), generator=generator)

    def candidates(index: Tensor) -> Tensor:
        table = model.encode()
        return model.score_candidates(table, table[head], rel, table[tail],
                                      index, side)

    forms = {
        'forward': lambda: model(head, rel, tail),
        'tails': lambda: model.score_tails(head, rel),
        'heads': lambda: model.score_heads(rel, tail),
        'pooled': lambda: candidates(pooled),
        'loose': lambda: candidates(loose),
        'loss': lambda: model.loss(head, rel, tail),
    }
    for mode in (True, False):
        model.train(mode)
        for key, form in forms.items():
            torch.manual_seed(2)
            if key == 'loss':
                model.before_step(head, rel, tail)
            value = form()
            where = f'{"train" if mode else "eval"}/{key}'
            out[where] = value.detach()
            weight = torch.linspace(-1, 1, value.numel(), dtype=value.dtype)
            params = {n: p for n, p in model.named_parameters()
                      if p.requires_grad}
            grads = torch.autograd.grad(
                (weight.view(value.shape) * value).sum(),
                list(params.values()), materialize_grads=True)
            out |= {f'{where}/grad {n}': g.to_dense()
                    for n, g in zip(params, grads, strict=True)}
            with torch.no_grad():
                torch.manual_seed(2)
                out[f'{where}/no grad'] = form()
            model.after_step()
    out['ranks'] = evaluate(model.float(), kg, 'test').ranks.realistic
    return out


def record_training(name: str, kwargs: dict[str, Any],
                    hints: dict[str, Any]) -> dict[str, Tensor]:
    """Records a step of a trainer with plain gradient descent, with
    samplers, losses and adversaries.
    """
    from pyg_mmkgc import AdversarialTrainer, Trainer, nn, sampler, training
    from pyg_mmkgc.datasets import FakeMMKG

    kg = FakeMMKG(num_nodes=60, num_relations=4, num_edges=200,
                  modalities={'visual': 6, 'text': 5})[0]
    for key, x in list(kg.features().items()):
        kg[f'x_{key}'] = x.double()
    out: dict[str, Tensor] = {}
    ways: dict[str, dict[str, Any]] = {
        'pooled': {'sampler': sampler.PooledSampler(num_negatives=8)},
        'bernoulli': {'sampler': sampler.BernoulliSampler(num_negatives=8)},
        'subsampling': {'sampler': sampler.PooledSampler(num_negatives=8),
                        'subsampling': True},
        'mans': {'sampler': sampler.MANSSampler(num_negatives=8)},
        'twins': {'sampler': sampler.TwinsSampler(num_negatives=8)},
        'own': {},
        'one': {'loss': nn.OneVsAllLoss()},
        'k': {'loss': nn.KvsAllLoss()},
        'mat': {'adversary': 'MAT'},
        'mat released': {'adversary': 'MAT', 'parity': 'released'},
        'mat simultaneous': {'adversary': 'MAT', 'simultaneous': True},
        'comat': {'adversary': 'CoMAT'},
        'perturbation': {'adversary': 'Perturbation'},
        'perturbing generator': {'adversary': 'Perturbation',
                                 'mode': 'generator'},
        'kbgan': {'adversary': 'KBGAN'},
    }
    for way, options in ways.items():
        torch.manual_seed(0)
        model = getattr(nn, name).from_data(kg, hidden_channels=8, **kwargs)
        model = model.double()
        common = {'lr': 0.1, 'batch_size': 64, 'epochs': 1,
                  'valid_every': None, 'progress': False,
                  'optimizer': lambda p: torch.optim.SGD(p, 0.1)}
        options = dict(options)
        try:
            which = options.pop('adversary', None)
            if which is None:
                trainer = Trainer(model, kg, **common, **options)
            else:
                torch.manual_seed(3)
                adversary = getattr(training, which).from_model(
                    model, **options).double()
                trainer = AdversarialTrainer(model, kg, adversary=adversary,
                                             **common)
        except Exception as error:  # Not all models support all.
            if type(error).__name__ != 'ModelError':
                raise
            continue
        torch.manual_seed(4)
        model.train()
        trainer.begin_epoch(1)
        batch = next(iter(trainer._batches(1)))
        for key, value in trainer.train_step(batch, 'a step').items():
            out[f'{way}/{key}'] = value
        out |= {f'{way}/after {n}': p.detach().clone()
                for n, p in model.named_parameters()}
    return out


def record(path: str) -> None:
    import pyg_mmkgc

    print(pyg_mmkgc.__file__)
    warnings.simplefilter('ignore')
    found: dict[str, dict[str, Tensor]] = {}
    done = set()
    for case in cases():
        cls = getattr(pyg_mmkgc.nn, case.name, None)
        # Skips options that the commit does not support.
        if str(case) in done or cls is None or not all(
                any(key in inspect.signature(base).parameters
                    for base in cls.__mro__) for key in case.kwargs):
            continue
        done.add(str(case))
        found[str(case)] = record_model(case.name, case.kwargs)
        found[str(case)] |= record_training(case.name, case.kwargs,
                                            case.hints)
        print(case, len(found[str(case)]), flush=True)
    torch.save(found, path)


def compare(old: str, new: str) -> None:
    before, after = (torch.load(x, weights_only=True) for x in (old, new))
    worst, bad, count = 0.0, 0, 0
    for case in sorted(before.keys() ^ after.keys()):
        print(f'{case}: only in one of the two')
    for case in before.keys() & after.keys():
        values = before[case]
        for key in sorted({*values, *after[case]}):
            if key not in values or key not in after[case]:
                print(f'{case}: {key} is only in one of the two')
                bad += 1
                continue
            x, y = values[key], after[case][key]
            count += 1
            if key.startswith('init/') or key == 'ranks':
                if not torch.equal(x, y):
                    print(f'{case}: {key} differs')
                    bad += 1
                continue
            size = max(1.0, float(x.abs().max())) if x.numel() else 1.0
            gap = float((x - y).abs().max()) / size if x.numel() else 0.0
            worst = max(worst, gap)
            if not gap <= 1e-12:
                print(f'{case}: {key} differs by {gap:.3g}')
                bad += 1
    print(f'{len(before.keys() & after.keys())} cases, {count} tensors, '
          f'{bad} differ; the largest difference is {worst:.3g}')
    raise SystemExit(bad > 0)


if __name__ == '__main__':
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('what', choices=['record', 'compare'])
    parser.add_argument('files', nargs='+')
    args = parser.parse_args()
    {'record': record, 'compare': compare}[args.what](*args.files)
