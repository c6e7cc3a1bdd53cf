"""TransAE against its layers in numpy, and its reconstruction."""

import numpy as np
import pytest
import torch

from pyg_mmkgc.errors import ModelError
from pyg_mmkgc.nn import TransAE
from pyg_mmkgc.nn.encoded import Encoded

N, R, D = 9, 3, 4
WIDTHS = {'visual': 6, 'text': 3}


def make(masked: bool = False, **kwargs: float) -> TransAE:
    x = {name: 100 + 10 * torch.randn(N, width)
         for name, width in WIDTHS.items()}
    masks = {'visual': torch.arange(N) % 3 != 0} if masked else None
    return TransAE(N, R, D, modalities=x, masks=masks, **kwargs).double()


def layer(lin: torch.nn.Linear, x: torch.Tensor,
          squash: bool = True) -> torch.Tensor:
    out = torch.stack([sum(w * v for w, v in zip(row, x)) + b
                       for row, b in zip(lin.weight, lin.bias)])
    return 1 / (1 + (-out).exp()) if squash else out


def bottleneck(model: TransAE, n: int) -> torch.Tensor:
    hidden = [layer(encoder.lin, encoder.features(torch.tensor(n)).double())
              for encoder in model.encoders.values()]
    return layer(model.bottleneck, torch.cat(hidden))


def features(model: TransAE, v3: torch.Tensor) -> dict[str, torch.Tensor]:
    v4 = layer(model.expand, v3)
    return {name: layer(model.decoders[name], v4[i * D:(i + 1) * D], False)
            for i, name in enumerate(WIDTHS)}


def triples() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    return (torch.tensor([0, 3, 3, 8, 1]), torch.tensor([0, 1, 1, 2, 0]),
            torch.tensor([2, 0, 4, 8, 3]))


def reconstruction(model: TransAE) -> torch.Tensor:
    head, _, tail = triples()
    out = torch.zeros((), dtype=torch.double)
    for name, encoder in model.encoders.items():
        there = [n for n in sorted({*head.tolist(), *tail.tolist()})
                 if encoder.mask[n]]
        rows = [features(model, bottleneck(model, n))[name] - encoder.x[n]
                for n in there]
        out = out + torch.stack(rows).square().mean()
    return 2.5 * out


def compare(model: TransAE, *outputs: torch.Tensor) -> None:
    params = [p for p in model.parameters() if p.numel() > 0]
    results = [[out, *torch.autograd.grad(out.sum(), params,
                                          materialize_grads=True)]
               for out in outputs]
    for x, y in zip(*results, strict=True):
        torch.testing.assert_close(x, y, rtol=1e-9, atol=1e-12)


def test_score() -> None:
    model = make()
    wanted = torch.stack([
        model.margin - (bottleneck(model, h) + model.rel_emb.weight[r]
                        - bottleneck(model, t)).abs().sum()
        for h, r, t in zip(*(x.tolist() for x in triples()))])
    compare(model, model(*triples()), wanted)
    assert model.node_emb.num_embeddings == 0  # Features are all it has.


def test_all_nodes_and_candidates() -> None:
    model = make()
    (head, rel, tail), table = triples(), model.encode()
    tails, heads = model.score_tails(head, rel), model.score_heads(rel, tail)
    index, side = torch.randint(N, (5, 6)), torch.rand(5, 6) < 0.5
    mixed = model.score_candidates(table, table[head], rel, table[tail],
                                   index, side)
    for i in range(5):
        h, t = table[head[i]], table[tail[i]]
        r = model.rel_emb.weight[rel[i]]
        for n in range(N):
            torch.testing.assert_close(
                tails[i, n], model.margin - (h + r - table[n]).abs().sum())
            torch.testing.assert_close(
                heads[i, n], model.margin - (table[n] + r - t).abs().sum())
        for k, n in enumerate(index[i]):
            torch.testing.assert_close(
                mixed[i, k], (heads if side[i, k] else tails)[i, n])


@pytest.mark.parametrize('masked', [False, True])
def test_reconstruction(masked: bool) -> None:
    model = make(masked)
    head, rel, tail = triples()
    # Rows of the table are not ids of nodes.
    index = torch.tensor([5, 8, 4, 3, 2, 1, 0])
    row = torch.full((N, ), -1)
    row[index] = torch.arange(7)
    views = model.embed(index)
    out = model.regularization(
        Encoded(index, views, model.fuse(views), row[head], row[tail]), rel)
    compare(model, out, reconstruction(model))


def test_reconstruction_is_part_of_the_loss() -> None:
    losses = []
    for weight in (0.0, 2.5):
        torch.manual_seed(1)
        model = make(True, reconstruction_weight=weight)
        torch.manual_seed(2)
        losses.append(model.loss(*triples()))
    torch.testing.assert_close(losses[1] - losses[0], reconstruction(model))


def test_features_are_standardised() -> None:
    x = torch.randn(N, 3).half() * torch.tensor([1.0, 50.0, 0.0]).half() + 7
    mask = torch.arange(N) > 1
    model = TransAE(N, R, D, modalities={'text': x}, masks={'text': mask},
                    missing='zeros')
    out = model.encoders['text'].features(torch.arange(N)).numpy()
    rows = x[mask].numpy().astype(np.float64)
    wanted = (rows - rows.mean(0)) / np.maximum(rows.std(0), 1e-6)
    np.testing.assert_allclose(out[2:], wanted, atol=1e-3)
    assert not out[:2].any() and np.isfinite(out).all()
    assert x[0, 0] != 0  # The graph keeps its own.


def test_what_is_missing_is_not_reconstructed() -> None:
    x = {'text': torch.randn(N, 3)}
    model = TransAE(N, R, D, modalities=x,
                    masks={'text': torch.arange(N) == 5})
    head, rel, tail = triples()
    encoded = Encoded(torch.arange(N), {}, model.encode(), head, tail)
    out = model.regularization(encoded, rel)
    assert out == 0


def test_errors() -> None:
    with pytest.raises(
            ModelError, match=r"'modalities' of TransAE.*\(got {}\)"):
        TransAE(N, R, D)
    with pytest.raises(
            ModelError, match=r"'masks'.*\['text'\] \(got \['audio'"):
        TransAE(N, R, D, modalities={'text': torch.randn(N, 3)},
                masks={'audio': torch.ones(N).bool()})
    with pytest.raises(ModelError, match=r"\(got {'visual': \[\d+, 2, 3\]}\)"):
        TransAE(N, R, D, modalities={'visual': torch.randn(N, 2, 3)})
    with pytest.raises(
            ModelError, match=r"'margin' to be positive \(got 0.0\)"):
        TransAE(N, R, D, modalities={'text': torch.randn(N, 3)}, margin=0.0)
