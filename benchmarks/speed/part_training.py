"""Training steps and epochs of RotatE, AdaMF and AdaMF-MAT."""

import statistics

import torch
from protocol import Row, Setup, row
from workloads import Size, build, db15k, epoch, mkg_w, steps, trainer

# Seconds of an epoch on MKG-W with pooled negatives on 2 cores.
EPOCH = {'RotatE': 1.5, 'AdaMF': 1.6, 'AdaMF-MAT': 2.5,
         'AdaMF-MAT in one pass': 2.5}
# Seconds of a step at the full size of DB15K on 2 cores.
STEP = {'pooled': 0.30, 'bernoulli': 0.9}
# 77,000 steps in six minutes.
GPU_STEP = 360 / 77_000


# MAT(simultaneous=True): both sides by one backward pass.
ONE_PASS = ' in one pass'
# The settings of the recipes of DB15K and MKG-Y: a step updates only its own
# rows, and projections are in bfloat16 if the hardware supports it.
SHIPPED = 'sparse, bf16'


def mkg_w_epochs(setup: Setup) -> list[Row]:
    """Epochs on MKG-W, structure and text, d=200, B=1024, K=128."""
    kg, size = mkg_w(setup), Size.of(setup)
    runs = {}
    for name in EPOCH:
        for sampler, shipped in (('pooled', True), ('pooled', False),
                                 ('bernoulli', True)):
            model = build(name.removesuffix(ONE_PASS), kg, size.channels,
                          sparse=shipped)
            label = f'{name}, {sampler}, {SHIPPED if shipped else "dense"}'
            runs[label] = trainer(setup, model, kg, sampler, size,
                                  name.endswith(ONE_PASS), autocast=shipped)
    found = setup.interleave({label: epoch(run)
                              for label, run in runs.items()})
    out = []
    for label, run in runs.items():
        values = found[label]
        bar = 'pooled' in label and SHIPPED in label
        out.append(row(
            f'{label}: epoch', values, bar=setup.bar(
                ('<=', EPOCH[label.split(',')[0]])) if bar else None,
            steps=len(run), step=statistics.median(values) / len(run)))
    return out


def full_size_steps(setup: Setup) -> list[Row]:
    """AdaMF-MAT at the paper's size of DB15K (features 4096 and 768,
    d=250, B=1024, K=128, lambda=0.01), for each precision of the features.
    """
    size, tasks, count = Size.of(setup, 250), {}, {}
    for dtype, shipped, one_pass in ((torch.float32, False, False),
                                     (torch.float16, True, False),
                                     (torch.float16, True, True)):
        kg = db15k(setup, dtype)
        for sampler in STEP:
            model = build('AdaMF-MAT', kg, size.channels, sparse=shipped)
            run = trainer(setup, model, kg, sampler, size, one_pass,
                          autocast=shipped)
            name = (f'{sampler}, features fp{8 * dtype.itemsize}, '
                    f'{SHIPPED if shipped else "dense"}'
                    f'{ONE_PASS if one_pass else ""}: step')
            tasks[name], count[name] = steps(run, setup, 3), len(run)
    found = setup.interleave(tasks)
    return [row(name, values, epoch=statistics.median(values) * count[name],
                bar=setup.bar(('<=', STEP[name.split(',')[0]]),
                              ('<=', GPU_STEP) if name.startswith('pooled')
                              else None) if SHIPPED in name else None)
            for name, values in found.items()]


def loss_curves(setup: Setup) -> list[Row]:
    """The loss of AdaMF-MAT on MKG-W, pooled, with projections in single
    precision and in bfloat16, from the same seed.
    """
    kg, size, curves = mkg_w(setup), Size.of(setup), {}
    for name, autocast in (('fp32', False), ('bf16', True)):
        run = trainer(setup, build('AdaMF-MAT', kg, size.channels), kg,
                      'pooled', size, autocast=autocast,
                      epochs=2 if setup.quick else 20)
        curves[name] = [x['loss'] for x in run.fit().epochs]
    out = [row(f'{name}: loss of the last epoch', curve[-1], '', curve=curve)
           for name, curve in curves.items()]
    differ = [abs(a - b) / abs(a) for a, b in zip(
        curves['fp32'], curves['bf16'], strict=True)]
    return [*out, row('largest relative difference of an epoch', max(differ),
                      '')]


GROUPS = {'mkg_w_epochs': mkg_w_epochs, 'full_size_steps': full_size_steps,
          'loss_curves': loss_curves}
