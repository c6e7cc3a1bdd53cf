"""The job of each process in the tests of groups. Run by torchrun.

It trains, ranks, saves and fails, and the first process writes the results to
a folder. The tests compare them with one process.
"""

import math
import os
import random
import signal
import sys
import warnings
from pathlib import Path
from typing import Any

import torch
from cases import CASES, OPTIONS, build, ensemble, graph
from torch import Tensor

from pyg_mmkgc.data import KnowledgeGraph
from pyg_mmkgc.distributed import (
    is_main,
    process_group,
    rank,
    restarted,
    save_over_ranks,
    whole_state,
    world_size,
)
from pyg_mmkgc.distributed.build import build as build_model
from pyg_mmkgc.distributed.group import from_main, gather_objects
from pyg_mmkgc.errors import MMKGCError, ModelError
from pyg_mmkgc.evaluation import evaluate, predict, scorer
from pyg_mmkgc.io.atomic import write_json
from pyg_mmkgc.io.tensors import save_tensors
from pyg_mmkgc.nn import OTKGE, AdaMF, ComplEx, Ensemble, RotatE
from pyg_mmkgc.runs import Run
from pyg_mmkgc.training import History, Trainer
from pyg_mmkgc.training.checkpoint import find_checkpoint

RUN = """
dataset: {name: FakeMMKG, num_nodes: 41, num_edges: 160, modalities: []}
model: {name: ComplEx, hidden_channels: 4}
loss: {name: OneVsAllLoss}
training: {epochs: 1, valid_every: null, device: cpu}
"""


def same(value: Any) -> None:
    """Asserts that the plain values of all processes are equal."""
    every = gather_objects(value)
    assert all(x == every[0] for x in every)


def plain(state: dict[str, Tensor]) -> dict[str, Any]:
    return {name: x.tolist() for name, x in state.items()}


def result(trainer: Trainer, history: History) -> dict[str, Tensor]:
    """Returns the weights and the losses, equal in all processes."""
    out = {**whole_state(trainer.model), 'losses': torch.tensor(
        [entry['loss'] for entry in history.epochs], dtype=torch.double)}
    same(plain(out))
    return out


def ranking(model: Any, kg: KnowledgeGraph) -> dict[str, Any]:
    """Returns all ranks and the answers of two queries."""
    found = evaluate(model, kg, 'test')
    answers = [predict(model, kg, **{side: [3, 5]}, rel_type=[0, 1], k=50)
               for side in ('head', 'tail')]
    out = {'ranks': [x.tolist() for x in found.ranks],
           'answers': [x.answer.tolist() for x in answers],
           'scores': [x.score.nan_to_num(neginf=-1.0).tolist()
                      for x in answers]}
    same(out)
    return out


def not_finite(kg: KnowledgeGraph) -> str:
    """Trains with a NaN in the rows of the last process only."""
    trainer = build('rotate', kg)
    if rank() == world_size() - 1:
        with torch.no_grad():
            trainer.model.node_emb.weight[0, 0] = math.nan
    try:
        trainer.fit()
    except MMKGCError as error:
        return str(error)
    raise AssertionError('no error')


def refused(kg: KnowledgeGraph) -> str:
    try:
        Trainer(OTKGE.from_data(kg, 4), kg, progress=False)
    except ModelError as error:
        return str(error)
    raise AssertionError('no error')


def sharded_members(kg: KnowledgeGraph) -> str:
    model = Ensemble([build_model(lambda: RotatE.from_data(kg, 4),
                                  kg.num_nodes)], kg.num_relations)
    try:
        evaluate(model, kg, 'test')
    except ModelError as error:
        return str(error)
    raise AssertionError('no error')


def built(kg: KnowledgeGraph) -> None:
    """Builds models without whole tables, with the weights of one process."""
    for kind in (RotatE, AdaMF, ComplEx):
        torch.manual_seed(3)
        model = build_model(lambda kind=kind: kind.from_data(kg, 9),
                            kg.num_nodes)
        state, drawn = whole_state(model), torch.rand(1)
        assert model.node_emb.weight.size(0) < kg.num_nodes
        torch.manual_seed(3)
        expected = kind.from_data(kg, 9).state_dict()
        assert torch.equal(drawn, torch.rand(1))
        assert state.keys() == expected.keys()
        assert all(torch.equal(state[name], x)
                   for name, x in expected.items())


def run(folder: Path) -> None:
    kg, out = graph(), folder / str(world_size())
    for kind in CASES:
        trainer = build(kind, kg)
        tensors = result(trainer, trainer.fit())
        if is_main():
            save_tensors(out / f'{kind}.safetensors', tensors)
        if kind in ('adamf', 'nbfnet', 'complex_1vsall'):
            found = ranking(trainer.model, kg)
            if is_main():
                write_json(out / f'{kind}.json', found)
        if kind == 'adamf':
            save_over_ranks(trainer.model, out / 'model', kg)
    found = ranking(ensemble(kg), kg)
    if is_main():
        write_json(out / 'ensemble.json', found)
    first = build('adamf', kg, torch.float32)
    tensors = result(first, first.fit())
    if is_main():
        save_tensors(out / 'single.safetensors', tensors)
    built(kg)
    texts = {'nan': not_finite(kg), 'refused': refused(kg),
             'members': sharded_members(kg)}
    same(texts)
    if is_main():
        write_json(out / 'texts.json', texts)


def checkpoint(folder: Path) -> None:
    """Trains four of seven epochs, with a checkpoint of each."""
    build('mat', graph(), epochs=4, valid_every=1,
          folder=folder / 'run').fit()


def resume(folder: Path) -> None:
    trainer = build('mat', graph(), valid_every=1)
    tensors = result(trainer, trainer.fit(resume=folder / 'run'))
    if is_main():
        save_tensors(folder / f'resumed-{world_size()}.safetensors', tensors)


def uninterrupted(folder: Path) -> None:
    trainer = build('mat', graph(), valid_every=1)
    tensors = result(trainer, trainer.fit())
    if is_main():
        save_tensors(folder / f'whole-{world_size()}.safetensors', tensors)


def chain(folder: Path) -> None:
    """Resumes a training after each of its last epochs."""
    for epochs in range(4, OPTIONS['epochs'] + 1):
        trainer = build('mat', graph(), epochs=epochs, valid_every=1,
                        folder=folder / 'chain')
        history = trainer.fit(resume=epochs > 4)
    # Some checkpoints had best weights of an earlier training.
    assert history.best_epoch < epochs - 1
    tensors = result(trainer, history)
    if is_main():
        save_tensors(folder / 'chain.safetensors', tensors)


def extended(folder: Path) -> None:
    """Trains a run of one epoch, and extends it to three."""
    path = folder / 'extended.yaml'
    if is_main():
        path.write_text(RUN)
    from_main(None)  # The other processes wait for the file.
    run = Run.create(str(path), folder=str(folder / 'extended'))
    run.train(progress=False)
    run.extend(['training.epochs=3'])
    run.train(progress=False)


def killed(folder: Path) -> None:
    """Kills the last process in a random step, and goes on when torchrun has
    restarted all processes.
    """
    place = folder / 'killed'
    trainer = build('mat', graph(), valid_every=1, folder=place)
    step = random.Random(str(folder)).randrange(trainer.num_steps)
    train, calls = trainer.train_step, []

    def train_step(*args: Any) -> Any:
        calls.append(1)
        if (len(calls) > step and rank() == world_size() - 1
                and not restarted()):
            os.kill(os.getpid(), signal.SIGKILL)
        return train(*args)

    trainer.train_step = train_step
    tensors = result(trainer, trainer.fit(
        resume=find_checkpoint(place).exists()))
    if is_main():
        assert restarted()
        save_tensors(folder / 'killed.safetensors', tensors)
        print(f'killed in step {step + 1} of {trainer.num_steps}')


def check_threads() -> None:
    """Asserts that no thread of the group is left, which could abort the
    process while Python shuts down.
    """
    left = []
    # A thread that was joined is listed until the system has removed it.
    for _ in range(10_000):
        left = [name for name in map(thread_name, Path(
            '/proc/self/task').glob('*/comm')) if name.startswith('pt_gloo')]
        if not left:
            return
    raise AssertionError(left)


def thread_name(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:  # The thread has ended.
        return ''


if __name__ == '__main__':
    torch.set_num_threads(1)
    warnings.simplefilter('ignore')
    scorer.NODES, scorer.CHUNK = 8, 4  # Several blocks in each process.
    sys.modules['pyg_mmkgc.distributed.build'].ROWS = 16
    with process_group():
        for name in sys.argv[2:]:
            globals()[name](Path(sys.argv[1]))
    check_threads()
