"""Everything but training on a device that behaves like a GPU equals the CPU:
rankings, predictions, explanations, resumed trainings and saved models.
"""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch_geometric.nn import TransE

from pyg_mmkgc import AdaMF, evaluate, explain, predict
from pyg_mmkgc.data import KnowledgeGraph
from pyg_mmkgc.datasets import FakeMMKG
from pyg_mmkgc.errors import ModelError, NonFiniteError
from pyg_mmkgc.evaluation import export_embeddings, score, scorer
from pyg_mmkgc.nn import (
    Ensemble,
    ModalityEncoder,
    MoSE,
    NBFNet,
    NeighborBaseline,
    RotatE,
    TransH,
)
from pyg_mmkgc.nn.encoder import MISSING, keep_features_on_host
from pyg_mmkgc.runs import Run
from pyg_mmkgc.sampler import BernoulliSampler, PooledSampler
from pyg_mmkgc.testing import (
    count_waits,
    missing_accelerator,
    pretend_accelerator,
)
from pyg_mmkgc.training import MAT, AdversarialTrainer, Trainer, fit_ensemble

REASON = missing_accelerator() or ''
pytestmark = pytest.mark.skipif(bool(REASON), reason=REASON)
MODELS = {
    'AdaMF': lambda kg: AdaMF.from_data(kg, 4),
    'TransH': lambda kg: TransH.from_data(kg, 8),
    'MoSE': lambda kg: MoSE.from_data(kg, 8, reciprocal=True),
    'NBFNet': lambda kg: NBFNet.from_data(kg, 8, num_layers=2),
    'Ensemble': lambda kg: Ensemble(
        [AdaMF.from_data(kg, 4), NBFNet.from_data(kg, 8, num_layers=2)],
        kg.num_relations),
    'PyG': lambda kg: TransE(kg.num_nodes, kg.num_relations, 8),
    'Neighbors': NeighborBaseline.from_data,
}


@pytest.fixture(scope='module')
def kg() -> KnowledgeGraph:
    return FakeMMKG(num_nodes=30, num_relations=3, num_edges=90,
                    modalities={'visual': 6, 'text': 5}, seed=3)[0]


def build(name: str, kg: KnowledgeGraph, device: Any) -> Any:
    torch.manual_seed(0)
    return MODELS[name](kg).eval().to(device)


def close(x: Tensor, y: Tensor) -> bool:
    assert x.device.type == y.device.type == 'cpu'
    return torch.allclose(x, y, 1e-5, 1e-5)


@pytest.mark.parametrize('name', MODELS)
def test_rankings(name: str, kg: KnowledgeGraph) -> None:
    wanted, got = (evaluate(build(name, kg, device), kg)
                   for device in ('cpu', pretend_accelerator()))
    for x, y in zip(wanted.ranks, got.ranks, strict=True):
        assert x.device == y.device == torch.device('cpu')
        assert torch.equal(x, y)
    assert wanted.metrics() == got.metrics()


def test_waits_per_block(kg: KnowledgeGraph,
                         monkeypatch: pytest.MonkeyPatch) -> None:
    blocks = []

    class Counts(AdaMF):
        def score_tails(self, *args: Any, **kwargs: Any) -> Tensor:
            blocks.append('tail')
            return super().score_tails(*args, **kwargs)

        def score_heads(self, *args: Any, **kwargs: Any) -> Tensor:
            blocks.append('head')
            return super().score_heads(*args, **kwargs)

    torch.manual_seed(0)
    model = Counts.from_data(kg, 4).eval().to(pretend_accelerator())
    wanted = evaluate(build('AdaMF', kg, 'cpu'), kg, batch_size=7).metrics()

    def waits(batch_size: int) -> tuple[int, int]:
        blocks.clear()
        with count_waits() as found:
            result = evaluate(model, kg, batch_size=batch_size)
        assert result.metrics() == wanted
        return found.total, len(blocks)

    # Each block waits for the sum of its scores, and the end for the ranks.
    found, count = waits(1000)
    assert count == 2  # Heads and tails.
    assert found == count + 3
    found, more = waits(1)
    assert more > 2 * count
    assert found == more + 3
    monkeypatch.setattr(scorer, 'NODES', 8)  # Four blocks of nodes.
    found, count = waits(1000)
    assert count > 2 * 4
    assert found == count + 3


def test_ranking_in_inference_mode(kg: KnowledgeGraph) -> None:
    """Tensors that are made in inference mode count no changes."""
    # The pretend device has no views of parameters in this mode.
    model = build('Neighbors', kg, pretend_accelerator())
    wanted = evaluate(model, kg).metrics()
    with torch.inference_mode():
        assert evaluate(model, kg).metrics() == wanted


@pytest.mark.parametrize('name', MODELS)
def test_one_wait_per_block(name: str, kg: KnowledgeGraph) -> None:
    model, found = build(name, kg, pretend_accelerator()), []
    for batch_size in (1000, 1000, 1):
        with count_waits() as waits:
            result = evaluate(model, kg, batch_size=batch_size)
        found.append(waits.total)
    # The first ranking also copies constants. The second has two blocks, and
    # the third has as many as there are queries.
    num_queries = result.ranks.realistic.numel()
    assert num_queries > 10
    assert found[2] - found[1] == num_queries - 2, waits


@pytest.mark.parametrize('name', MODELS)
def test_predictions(name: str, kg: KnowledgeGraph) -> None:
    models = [build(name, kg, device)
              for device in ('cpu', pretend_accelerator())]
    for asked in ({'head': [0, 1, 2], 'rel_type': 1},
                  {'tail': [0, 1, 2], 'rel_type': 1, 'filter_known': True},
                  {'head': [0, 5], 'tail': 3}):
        wanted, got = (predict(model, kg, k=4, **asked) for model in models)
        assert torch.equal(wanted.answer, got.answer)
        assert close(wanted.score, got.score)
        assert torch.equal(wanted.known, got.known)
        assert str(wanted) == str(got)
    triples = [[0, 1, 2], [3, 0, 4]]
    assert close(*(score(model, kg, triples) for model in models))


@pytest.mark.parametrize('name', ['AdaMF', 'MoSE', 'NBFNet', 'Ensemble'])
def test_explanations(name: str, kg: KnowledgeGraph) -> None:
    test = kg.split('test')
    (h, t), r = test.edge_index[:, 0], test.edge_type[0]
    wanted, got = (explain(build(name, kg, device), kg, int(h), int(r), int(t))
                   for device in ('cpu', pretend_accelerator()))
    assert str(wanted) == str(got)


def test_tables(kg: KnowledgeGraph, tmp_path: Path) -> None:
    tables = []
    for device in ('cpu', pretend_accelerator()):
        path = tmp_path / f'{torch.device(device).type}.npz'
        export_embeddings(build('AdaMF', kg, device), kg, path)
        tables.append(torch.from_numpy(np.load(path)['embeddings']))
    assert close(*tables)


def trainer(kg: KnowledgeGraph, device: Any, **kwargs: Any) -> Trainer:
    torch.manual_seed(0)
    model = AdaMF.from_data(kg, 4)
    adversary = MAT.from_model(model, noise_channels=3, generator_channels=6)
    return AdversarialTrainer(
        model, kg, adversary=adversary, sampler=PooledSampler(4, 8),
        batch_size=20, progress=False, device=device,
        **{'epochs': 2, 'valid_every': 1, **kwargs})


def weights(trained: Trainer) -> dict[str, Tensor]:
    return {key: x.cpu() for states in (
        {'model': trained.model.state_dict()}, trained.extra_states())
        for state in states.values() for key, x in state.items()}


def test_resumed_training(kg: KnowledgeGraph, tmp_path: Path) -> None:
    device = pretend_accelerator()
    whole = trainer(kg, device)
    whole.fit()
    trainer(kg, device, epochs=1, folder=tmp_path).fit()
    resumed = trainer(kg, device, folder=tmp_path)
    history = resumed.fit(resume=True)
    assert history.best_metrics == whole.history.best_metrics
    for key, x in weights(whole).items():
        assert torch.equal(x, weights(resumed)[key]), key
    # A checkpoint of a device is resumed on the CPU.
    elsewhere = trainer(kg, 'cpu', epochs=3, folder=tmp_path)
    assert len(elsewhere.fit(resume=True).epochs) == 3


def test_saved_model(kg: KnowledgeGraph, tmp_path: Path) -> None:
    model = build('AdaMF', kg, pretend_accelerator())
    model.save_pretrained(tmp_path)
    assert {x.device.type for x in model.parameters()} == {'pretend'}
    loaded = AdaMF.from_pretrained(tmp_path)
    assert {x.device.type for x in loaded.parameters()} == {'cpu'}
    assert evaluate(loaded, kg).metrics() == evaluate(model, kg).metrics()


def test_fitted_ensemble(kg: KnowledgeGraph) -> None:
    for mode in ('boosted', 'learned'):
        found = []
        for device in ('cpu', pretend_accelerator()):
            torch.manual_seed(0)
            model = MoSE.from_data(kg, 8, ensemble=mode).to(device)
            fit_ensemble(model, kg, min_triples=2, steps=5)
            found.append(evaluate(model, kg).ranks.realistic)
        assert torch.equal(*found)


@pytest.mark.parametrize('sparse', [False, True])
@pytest.mark.parametrize('clip', [None, 1.0])
def test_no_step_after_a_value_that_is_not_finite(
        clip: float | None, sparse: bool, kg: KnowledgeGraph) -> None:
    class Breaks(RotatE):
        steps = 0

        def after_step(self) -> None:
            self.steps += 1

        def regularization(self, *args: Any) -> Tensor:
            factor = float('nan') if self.steps == 2 else 0.0
            return factor * self.rel_emb.weight.sum()

    states = []
    for device in ('cpu', pretend_accelerator()):
        torch.manual_seed(0)
        model = Breaks.from_data(kg, 4, sparse=sparse)
        fitted = Trainer(model, kg, sampler=BernoulliSampler(4),
                         batch_size=10, epochs=1, valid_every=None,
                         progress=False, device=device, grad_clip=clip)
        with pytest.raises(NonFiniteError, match='the loss at epoch 1, step 3 '
                           r'to be finite \(got nan\)'):
            fitted.fit()
        states.append({key: x.cpu() for key, x in model.state_dict().items()})
    for key, x in states[0].items():
        assert x.isfinite().all()
        assert close(x, states[1][key]), key


def test_features_on_the_host(kg: KnowledgeGraph) -> None:
    states = []
    for place, features_on in (('cpu', None), (pretend_accelerator(), 'cpu')):
        fitted = trainer(kg, place, features_on=features_on)
        with count_waits() as waits:
            fitted.fit()
        assert isinstance(fitted.model, AdaMF)
        for encoder in fitted.model.encoders.values():
            assert encoder.x.device.type == 'cpu'
            assert encoder.lin.weight.device == fitted.device
        states.append(weights(fitted))
    for key, x in states[0].items():
        assert close(x, states[1][key]), key
    assert waits.total > 0
    # Loading the best weights reads the mask of each modality, steps none.
    assert sum(count for line, count in waits.by_line.items()
               if 'encoder.py' in line) <= len(kg.features())


@pytest.mark.parametrize('missing', MISSING)
@pytest.mark.parametrize('complete', [True, False])
@pytest.mark.parametrize('first', ['host', 'device'])
def test_encoder_with_features_on_the_host(missing: str, complete: bool,
                                           first: str) -> None:
    """The rows of new nodes are on the host, too, and the weights move."""
    x, device = torch.randn(8, 3), pretend_accelerator()
    mask = torch.arange(8) % 3 > (-1 if complete else 0)
    encoder = ModalityEncoder(x, 4, mask, missing)
    wanted = encoder.extended(x[:2], torch.tensor([True, False]))(
        torch.arange(10))
    if first == 'device':
        encoder.to(device)
    keep_features_on_host(encoder)
    encoder.to(device)
    out = encoder.extended(x[:2], torch.tensor([True, False]))
    assert close(out(torch.arange(10).to(device)).cpu(), wanted)
    assert all(buffer.device.type == 'cpu' for name, buffer in
               out.named_buffers() if name != 'mask')
    assert close(out.cpu()(torch.arange(10)), wanted)


CONFIG = """
dataset: {name: FakeMMKG, num_nodes: 30, num_edges: 90}
model: {name: AdaMF, hidden_channels: 4}
sampler: {name: PooledSampler, num_negatives: 4}
training: {epochs: 1, valid_every: 1, device: DEVICE, features_on: cpu}
"""


def test_features_on_the_host_in_a_configuration(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path('c.yaml').write_text(CONFIG.replace(
        'DEVICE', str(pretend_accelerator())))
    run = Run.create('c.yaml', [], 'run')
    result = run.train(progress=False)
    assert 'features_on: cpu\n' in Path('run/config.yaml').read_text()
    again = Run.open('run')
    for model in (run.trainer.model, again.load_model()):
        for encoder in model.encoders.values():
            assert encoder.x.device.type == 'cpu'
            assert encoder.lin.weight.device == pretend_accelerator()
    assert again.evaluate('test').mrr == result.mrr


def test_features_of_all_nodes_are_on_the_device(kg: KnowledgeGraph) -> None:
    model = NBFNet.from_data(kg, 8, num_layers=2)
    with pytest.raises(ModelError, match="features of a batch .*got 'NBFNet'"):
        Trainer(model, kg, features_on='cpu')


def test_features_that_are_trained_are_on_the_device(
        kg: KnowledgeGraph) -> None:
    model = AdaMF.from_data(kg, 4, trainable_features=True)
    with pytest.raises(ModelError, match='trainable_features=False'):
        Trainer(model, kg, sampler=BernoulliSampler(4), features_on='cpu')
    with pytest.raises(ModelError, match="'features_on'.*'disk'"):
        Trainer(AdaMF.from_data(kg, 4), kg, sampler=BernoulliSampler(4),
                features_on='disk')
