"""The knowledge alignment of MMKRL."""

import torch

from pyg_mmkgc.nn import MMKRL
from pyg_mmkgc.nn.encoded import Encoded

N, R, D = 8, 3, 4


def make(**kwargs: float) -> MMKRL:
    x = {'visual': torch.randn(N, 5), 'text': torch.randn(N, 3)}
    return MMKRL(N, R, D, modalities=x, **kwargs).double()


def alignment(model: MMKRL, head: torch.Tensor, rel: torch.Tensor,
              tail: torch.Tensor) -> torch.Tensor:
    """Five mean squared errors, entry by entry."""
    W, A = model.lin.weight, model.align.weight
    terms = torch.zeros(5, dtype=torch.double)
    rows = []
    for h, r, t in zip(head.tolist(), rel.tolist(), tail.tolist()):
        e = [model.node_emb.weight[h], model.rel_emb.weight[r],
             model.node_emb.weight[t]]
        m = {n: sum(enc.lin(enc.x[n].double())
                    for enc in model.encoders.values()) for n in (h, t)}
        bias = [model.bias[0], model.bias[2], model.bias[1]]  # h, r, t
        errors = [W @ x + b - x for x, b in zip(e, bias)]
        errors += [A @ e[0] - m[h], A @ e[2] - m[t]]
        rows.append(torch.stack([(x * x).sum() / D for x in errors]))
    terms = torch.stack(rows).sum(0) / len(rows)
    return terms.sum()


def test_alignment() -> None:
    model = make(align_weight=0.5)
    head, rel, tail = (torch.randint(k, (6, )) for k in (N, R, N))
    index = torch.arange(N)
    views = model.embed(index)
    encoded = Encoded(index, views, model.fuse(views), head, tail)
    results = []
    for out in (
            model.regularization(encoded, rel),
            0.5 * alignment(model, head, rel, tail)):
        grads = torch.autograd.grad(out, list(model.parameters()))
        results.append([out, *grads])
    for x, y in zip(*results, strict=True):
        torch.testing.assert_close(x, y, rtol=1e-9, atol=1e-12)


def test_dropped_modalities_align_nothing() -> None:
    x = {'text': torch.randn(N, 3)}
    mask = {'text': torch.arange(N) % 2 == 0}
    model = MMKRL(N, R, D, modalities=x, masks=mask, missing='drop').double()
    whole = MMKRL(N, R, D, modalities=x).double()
    whole.load_state_dict(model.state_dict(), strict=False)
    rel = torch.zeros(4, dtype=torch.long)

    def term(model: MMKRL, head: list[int], tail: list[int]) -> torch.Tensor:
        nodes = torch.arange(N)
        views = model.embed(nodes)
        return model.regularization(
            Encoded(nodes, views, model.fuse(views), torch.tensor(head),
                    torch.tensor(tail)), rel)

    even, odd = [0, 2, 4, 6], [1, 3, 5, 7]
    torch.testing.assert_close(term(model, even, even),
                               term(whole, even, even))
    # Nothing but the own alignment of the structure is left.
    e = model.node_emb.weight[odd]
    own = sum(((e @ model.lin.weight.t() + b - e) ** 2).mean()
              for b in model.bias[:2])
    r = model.rel_emb.weight[rel]
    own = own + ((r @ model.lin.weight.t() + model.bias[2] - r) ** 2).mean()
    torch.testing.assert_close(term(model, odd, odd), own)
    mixed = term(model, [0, 2, 1, 3], odd)
    m = model.encoders['text'](torch.tensor([0, 2]))
    error = model.node_emb.weight[[0, 2]] @ model.align.weight.t() - m
    e = model.node_emb.weight[[0, 2, 1, 3]]
    heads = ((e @ model.lin.weight.t() + model.bias[0] - e) ** 2).mean()
    before = model.node_emb.weight[odd]
    tails = ((before @ model.lin.weight.t() + model.bias[1] - before) ** 2
             ).mean()
    torch.testing.assert_close(
        mixed, heads + tails + error.square().mean() + (
            (r @ model.lin.weight.t() + model.bias[2] - r) ** 2).mean())


def test_alignment_is_part_of_the_loss() -> None:
    args = tuple(torch.randint(k, (6, )) for k in (N, R, N))
    losses = []
    for weight in (0.0, 2.0):
        torch.manual_seed(1)
        model = make(align_weight=weight)
        torch.manual_seed(2)
        losses.append(model.loss(*args))
    torch.testing.assert_close(losses[1] - losses[0],
                               2 * alignment(model, *args))
