"""IKRL's attention over several images of an entity."""

import math

import torch

from pyg_mmkgc.data import KnowledgeGraph
from pyg_mmkgc.nn import IKRL, AdaMF, MMKGEModel
from pyg_mmkgc.sampler import BernoulliSampler
from pyg_mmkgc.training import MAT, AdversarialTrainer, Trainer

N, R, D, IMAGES, WIDTH = 12, 2, 3, 4, 5


def graph() -> KnowledgeGraph:
    mask = torch.rand(N, IMAGES) < 0.6
    mask[0] = False
    head = torch.arange(N)
    return KnowledgeGraph(torch.stack([head, head.roll(1)]), head % R,
                          num_nodes=N, num_relations=R,
                          x_visual=torch.randn(N, IMAGES, WIDTH),
                          mask_visual=mask)


def image(model: IKRL, n: int) -> torch.Tensor:
    """Eqs. (3) to (5) of the paper, by loops over images and channels."""
    encoder = model.encoders['visual']
    weight, bias = encoder.lin.weight, encoder.lin.bias
    rows = [i for i in range(IMAGES) if encoder.mask[n, i]] or range(IMAGES)
    x = encoder.features(torch.tensor(n))
    p = [[sum(weight[c, f] * x[i, f] for f in range(WIDTH))
          + bias[c] for c in range(D)] for i in rows]
    e = [torch.exp(sum(a * b for a, b in zip(q, model.node_emb.weight[n])))
         for q in p]
    return torch.stack([sum(a * q[c] for a, q in zip(e, p)) / sum(e)
                        for c in range(D)])


def test_attention_over_images() -> None:
    model = IKRL.from_data(graph(), D).double()
    head, rel, tail = torch.tensor([0, 3, 5]), torch.tensor([1, 0, 1]), (
        torch.tensor([4, 4, 0]))
    wanted = []
    for h, r, t in zip(head, rel, tail):
        energy = 0
        for x in (model.node_emb.weight[h], image(model, int(h))):
            for y in (model.node_emb.weight[t], image(model, int(t))):
                parts = [v / v.square().sum().sqrt()
                         for v in (x, model.rel_emb.weight[r], y)]
                energy += (parts[0] + parts[1] - parts[2]).abs().sum()
        wanted.append(model.margin - energy)
    params = list(model.parameters())
    for out, ref in zip(
            _with_gradients(model(head, rel, tail).sum(), params),
            _with_gradients(torch.stack(wanted).sum(), params), strict=True):
        torch.testing.assert_close(out, ref, rtol=1e-9, atol=1e-11)


def _with_gradients(out: torch.Tensor,
                    params: list[torch.nn.Parameter]) -> list[torch.Tensor]:
    return [out, *torch.autograd.grad(out, params)]


def test_images_that_are_not_there_do_not_matter() -> None:
    data = graph()
    torch.manual_seed(1)
    before = IKRL.from_data(data, D).encode()
    data.x_visual[~data.mask_visual] = 1e6
    torch.manual_seed(1)
    torch.testing.assert_close(IKRL.from_data(data, D).encode(), before)


def test_trains_and_is_saved(tmp_path) -> None:
    data = graph()
    data.validate()
    model = IKRL.from_data(data, D)
    trainer = Trainer(model, data, sampler=BernoulliSampler(4), epochs=2,
                      lr=0.1, progress=False)
    assert all(math.isfinite(e['loss']) for e in trainer.fit().epochs)
    model.save_pretrained(tmp_path)
    again = MMKGEModel.from_pretrained(tmp_path)
    assert torch.equal(again.encode(), model.encode())
    AdversarialTrainer(model, data, adversary=MAT.from_model(model), epochs=1,
                       progress=False).fit()


def test_a_model_without_attention_averages() -> None:
    data = graph()
    model = AdaMF.from_data(data, D).double()
    features = model.encoders['visual'].features(torch.arange(N))
    mean = torch.stack([
        x[m].mean(dim=0) if m.any() else x.mean(dim=0) for x, m in zip(
            features.double(), data.mask_visual)])
    view = model.embed(torch.arange(N))['visual']
    torch.testing.assert_close(view, model.encoders['visual'].lin(mean))
