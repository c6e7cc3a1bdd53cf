"""AdaMF against its equations, written with complex numbers."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch_geometric.nn.kge.loader import KGTripletLoader
from torch_geometric.testing import withCUDA

from pyg_mmkgc.datasets import FakeMMKG
from pyg_mmkgc.errors import ModelError
from pyg_mmkgc.nn import AdaMF, MMKGEModel
from pyg_mmkgc.nn.kge import AdaMFMAT, NativE

N, R, D = 11, 3, 4
WIDTHS = {'visual': 6, 'text': 3, 'my sound': 1, '3d': 2}


def make(names: str = 'visual text', cls: type[AdaMF] = AdaMF,
         masked: bool = False, **kwargs: Any) -> AdaMF:
    chosen = [name for name in WIDTHS if name in names]
    x = {name: torch.randn(N, WIDTHS[name]) for name in chosen}
    masks = {name: torch.arange(N) % (i + 3) != 0
             for i, name in enumerate(chosen)} if masked else None
    return cls(N, R, D, modalities=x, masks=masks, **kwargs)


def joint(model: AdaMF, index: Tensor) -> Tensor:
    """Eqs. (2) to (5), complex [*, D]."""
    views: list[Tensor] = []
    present: dict[int, Tensor] = {}
    if model.drop_unseen:
        present[0] = model.seen[index]
    if model.structure:
        views.append(model.node_emb.weight[index])
    for name in model.modalities:
        encoder = model.encoders[name]
        view = torch.einsum('cf,...f->...c', encoder.lin.weight,
                            encoder.features(index).to(encoder.lin.weight))
        view = view + encoder.lin.bias
        there = encoder.mask[index].unsqueeze(-1)
        if encoder.missing == 'learned' and not encoder.mask.all():
            view = torch.where(there, view, encoder.fill)
        if encoder.missing == 'drop':
            present[len(views)] = there.squeeze(-1)
        elif model.drop_unseen:  # A fill is left out if there is more.
            rows = [model.encoders[m].mask[index] for m in model.modalities]
            present[len(views)] = (there.squeeze(-1) | model.seen[index]
                                   | ~sum(rows).bool())
        views.append(view)
    top = []
    for m, view in enumerate(views):
        w = torch.zeros_like(view[0])
        if model.fusion != 'mean':
            w = model.fuser.weight[m if model.fusion == 'adaptive' else 0]
        one = (w * view.tanh()).sum(-1).exp()
        top.append(one * present[m] if m in present else one)
    out = sum((a / sum(top)).unsqueeze(-1) * v for a, v in zip(top, views))
    return torch.complex(*out.chunk(2, dim=-1))


def score(model: AdaMF, head: Tensor, rel: Tensor, tail: Tensor) -> Tensor:
    """Eq. (6) with RotatE's sum of moduli, taken from the margin."""
    bound = (model.margin + 2) / D
    theta = model.rel_emb.weight[rel] * math.pi / bound
    turn = torch.polar(torch.ones_like(theta), theta)
    diff = joint(model, head) * turn - joint(model, tail)
    return model.margin - diff.abs().sum(-1)


def triples(num: int = 8) -> tuple[Tensor, Tensor, Tensor]:
    return (torch.randint(N, (num, )), torch.randint(R, (num, )),
            torch.randint(N, (num, )))


def check(model: AdaMF) -> None:
    """Scores and all gradients."""
    model = model.double()
    args = triples()
    weight = torch.randn(8, dtype=torch.double)
    params = [p for p in model.parameters() if p.numel() > 0]
    results = []
    for out in (model(*args), score(model, *args)):
        grads = torch.autograd.grad((out * weight).sum(), params,
                                    materialize_grads=True)
        results.append([out, *grads])
    for x, y in zip(*results):
        torch.testing.assert_close(x, y, rtol=1e-6, atol=1e-10)
    single = model.float()(*args)
    torch.testing.assert_close(single.double(), results[1][0], rtol=1e-6,
                               atol=1e-5)


@pytest.mark.parametrize('names', ['', 'visual', 'visual text',
                                   'visual text my sound 3d'])
@pytest.mark.parametrize('fusion', ['adaptive', 'shared', 'mean'])
def test_forward(names: str, fusion: str) -> None:
    check(make(names, fusion=fusion))


@pytest.mark.parametrize('missing', ['random', 'zeros', 'mean', 'learned',
                                     'drop'])
def test_missing(missing: str) -> None:
    check(make(masked=True, missing=missing))


@pytest.mark.parametrize('kwargs', [
    {'structure': False}, {'trainable_features': True}, {'margin': 4.0},
    {'trainable_features': True, 'masked': True, 'missing': 'learned'}])
def test_options(kwargs: dict[str, Any]) -> None:
    check(make(**kwargs))


@pytest.mark.parametrize('missing', ['random', 'drop'])
@pytest.mark.parametrize('cls', [AdaMF, AdaMFMAT])
def test_nodes_without_a_training_triple(cls: type[AdaMF],
                                         missing: str) -> None:
    model = make(cls=cls, masked=True, missing=missing, drop_unseen=True)
    before = model.encode()
    model.prepare(torch.tensor([[1, 4, 4], [2, 5, 6]]),
                  torch.zeros(3, dtype=torch.long))
    known = {1, 2, 4, 5, 6}
    if missing == 'drop':  # Node 0 has neither modality.
        known.add(0)
    assert model.seen.nonzero().flatten().tolist() == sorted(known)
    after, structure = model.encode(), model.node_emb.weight
    with torch.no_grad():
        structure[list(known)] += 1.0
        structure[[n for n in range(N) if n not in known]] += 100.0
    moved = model.encode()
    for n in range(N):
        assert torch.equal(after[n], before[n]) == (n in known)
        assert torch.equal(after[n], moved[n]) == (n not in known)
    check(model)
    copy = make(cls=cls, masked=True, missing=missing, drop_unseen=True)
    copy.load_state_dict(model.state_dict())
    assert torch.equal(copy.seen, model.seen)


def test_structure_dropout() -> None:
    """Represents nodes in training as if they were unseen."""
    model = make(masked=True, drop_unseen=True, structure_dropout=0.5)
    every = torch.tensor([list(range(0, N - 1)), list(range(1, N))])
    model.prepare(every, torch.zeros(N - 1, dtype=torch.long))
    kept = model.eval().encode()
    assert torch.equal(kept, model.encode())
    model.seen.fill_(False)
    dropped = model.encode()
    model.seen.fill_(True)
    described = torch.stack([model.encoders[m].mask
                             for m in model.modalities]).any(dim=0)
    assert not bool(described.all())
    out = model.train().encode(torch.arange(N).expand(2000, N))
    chosen = (out - kept).abs().amax(dim=-1) > 1e-4
    torch.testing.assert_close(out[chosen], dropped.expand_as(out)[chosen])
    # A node without a modality keeps its structure.
    assert torch.equal(chosen.any(dim=0), described)
    share = chosen[:, described].double().mean().item()
    assert share == pytest.approx(0.5, abs=0.02)


@pytest.mark.parametrize('kwargs', [
    {'structure_dropout': 1.0, 'drop_unseen': True},
    {'structure_dropout': -0.1, 'drop_unseen': True},
    {'structure_dropout': 0.2}])
def test_bad_structure_dropout(kwargs: dict[str, Any]) -> None:
    with pytest.raises(ModelError, match=r"'structure_dropout' .*\[0, 1\).*"
                       f'got {kwargs["structure_dropout"]}'):
        make(**kwargs)


@pytest.mark.parametrize('cls', [AdaMF, AdaMFMAT, NativE])
def test_drop_unseen_refuses_to_train_unprepared(cls: type[AdaMF],
                                                 tmp_path: Path) -> None:
    """In a loop of one's own, that is; else it would have no effect."""
    make(cls=cls).loss(*triples())
    fresh = make(cls=cls, drop_unseen=True)
    model = make(cls=cls, drop_unseen=True)
    model.load_state_dict(fresh.state_dict())
    with pytest.raises(ModelError, match=rf'{cls.__name__}\(drop_unseen=True'):
        model.loss(*triples())
    edge_index = torch.tensor([[1, 4, 4], [2, 5, 6]])
    model.prepare(edge_index, torch.zeros(3, dtype=torch.long))
    model.loss(*triples())
    # Its state is prepared, too.
    fresh.load_state_dict(model.state_dict())
    model.save_pretrained(tmp_path)
    for copy in (fresh, cls.from_pretrained(tmp_path)):
        copy.loss(*triples())
        assert torch.equal(copy.seen, model.seen)


def test_one_image_of_two_is_enough() -> None:
    """Without structure, every node needs a row of some modality."""
    x = {'visual': torch.randn(N, 2, 5), 'text': torch.randn(N, 3)}
    masks = {'visual': torch.ones(N, 2).bool(), 'text': torch.ones(N).bool()}
    masks['visual'][:, 1] = False
    masks['text'][0] = False
    for names in (('visual', ), ('visual', 'text')):
        model = AdaMF(N, R, D, {n: x[n] for n in names},
                      {n: masks[n] for n in names}, structure=False,
                      missing='drop')
        assert bool(model.encode().isfinite().all())
    masks['visual'][0] = False
    with pytest.raises(ModelError, match='a modality at every node.*got '):
        AdaMF(N, R, D, x, masks, structure=False, missing='drop')


def test_nothing_stands_for_nodes_without_a_training_triple() -> None:
    for names, structure in (('', True), ('visual', False)):
        with pytest.raises(
                ModelError, match='at least one modality with drop_unseen='
                fr'True \(got structure={structure} and modalities=\['):
            make(names, structure=structure, drop_unseen=True)


def test_without_modalities_it_is_rotate() -> None:
    model = make('').double()
    head, rel, tail = triples()
    h = torch.complex(*model.node_emb.weight[head].chunk(2, -1))
    t = torch.complex(*model.node_emb.weight[tail].chunk(2, -1))
    theta = model.phase(rel)
    turn = torch.polar(torch.ones_like(theta), theta)
    torch.testing.assert_close(model(head, rel, tail),
                               12.0 - (h * turn - t).abs().sum(-1))
    assert model.modalities == []


@withCUDA
def test_all_nodes_at_once(device: torch.device) -> None:
    model = make(masked=True).double().to(device)
    head, rel, tail = (x.to(device) for x in triples())
    table = model.encode()
    torch.testing.assert_close(
        torch.complex(*table.chunk(2, -1)),
        joint(model, torch.arange(N, device=device)))
    for given in (None, table):
        tails = model.score_tails(head, rel, given)
        heads = model.score_heads(rel, tail, given)
        assert tails.shape == heads.shape == (8, N)
        for n in range(N):
            node = torch.full_like(head, n)
            torch.testing.assert_close(tails[:, n],
                                       score(model, head, rel, node))
            torch.testing.assert_close(heads[:, n],
                                       score(model, node, rel, tail))


@withCUDA
def test_candidates(device: torch.device) -> None:
    """The fused path equals single triples and the base class' own path."""
    model = make(masked=True).double().to(device)
    head, rel, tail = (x.to(device) for x in triples())
    index = torch.randint(N, (8, 6), device=device)
    side = torch.rand(8, 6, device=device) < 0.5
    weight = torch.randn(8, 6, device=device).double()
    params = list(model.parameters())
    results = []
    for method in (AdaMF.score_candidates, MMKGEModel.candidate_scores):
        table = model.encode()
        out = method(model, table, table[head], rel, table[tail], index, side)
        grads = torch.autograd.grad((out * weight).sum(), params)
        results.append([out, *grads])
    corrupted = score(model, torch.where(side, index, head[:, None]),
                      rel[:, None].expand_as(index),
                      torch.where(side, tail[:, None], index))
    torch.testing.assert_close(results[0][0], corrupted)
    for x, y in zip(*results):
        torch.testing.assert_close(x, y)


def test_base_class_ranks_alike() -> None:
    model = make().double()
    head, rel, tail = triples()
    table = model.encode()
    torch.testing.assert_close(
        MMKGEModel.node_scores(model, table[head], rel, 'tail', table),
        model.score_tails(head, rel))
    torch.testing.assert_close(
        MMKGEModel.node_scores(model, table[tail], rel, 'head', table),
        model.score_heads(rel, tail))


def test_a_subclass_with_its_own_score_keeps_no_fast_path() -> None:
    class Diagonal(AdaMF):
        def score(self, head: Tensor, rel_type: Tensor,
                  tail: Tensor) -> Tensor:
            rel = self.rel_emb(rel_type)
            return (head * torch.cat([rel, rel], -1) * tail).sum(dim=-1)

    class Same(AdaMF):
        def fuse(self, views: dict[str, Tensor]) -> Tensor:
            return views['structure']

    same = Same(N, R, D)
    same.score = None  # type: ignore[assignment,method-assign]
    assert same.score_tails(*triples()[:2]).shape == (8, N)
    model = Diagonal(N, R, D).double()
    head, rel, tail = triples()
    every, b = torch.arange(N), head.numel()
    tails, heads = model.score_tails(head, rel), model.score_heads(rel, tail)
    table, index = model.encode(), every.expand(b, -1)
    side = torch.rand(b, N) < 0.5
    mixed = model.score_candidates(table, table[head], rel, table[tail],
                                   index, side)
    for i in range(b):
        one = [x[i].expand(N) for x in (head, rel, tail)]
        torch.testing.assert_close(tails[i], model(*one[:2], every))
        torch.testing.assert_close(heads[i], model(every, *one[1:]))
        torch.testing.assert_close(
            mixed[i], torch.where(side[i], heads[i], tails[i]))


def test_loss_replays() -> None:
    """Eqs. (7) and (8) with the draws of the seed."""
    model = make(num_negatives=5).double()
    head, rel, tail = triples()
    torch.manual_seed(3)
    loss = model.loss(head, rel, tail)
    grads = torch.autograd.grad(loss, list(model.parameters()))

    torch.manual_seed(3)
    pool = torch.randint(N, (5, ))
    side = torch.rand(8, 5) < 0.5
    total = torch.zeros((), dtype=torch.double)
    for b in range(8):
        one = [x[b:b + 1] for x in (head, rel, tail)]
        total = total - score(model, *one).sigmoid().log().sum()
        neg = torch.cat([
            score(model, pool[k:k + 1], *one[1:]) if side[b, k] else
            score(model, *one[:2], pool[k:k + 1]) for k in range(5)])
        p = neg.detach().exp() / neg.detach().exp().sum()
        total = total - (p * (-neg).sigmoid().log()).sum()
    torch.testing.assert_close(loss, total / 8)
    expected = torch.autograd.grad(total / 8, list(model.parameters()))
    for x, y in zip(grads, expected):
        torch.testing.assert_close(x, y)


def test_interface_of_pyg() -> None:
    """Batches of `loader`; `test` ranks tails from 0."""
    model = make(num_negatives=4)
    head, rel, tail = triples(20)
    loader = model.loader(head, rel, tail, batch_size=7)
    assert isinstance(loader, KGTripletLoader)
    batches = list(loader)
    assert [len(batch[0]) for batch in batches] == [7, 7, 6]
    for batch in batches:
        assert model.loss(*batch).isfinite()
    result = model.test(head, rel, tail, 5, 3, False)
    assert [type(x) for x in result] == [float, float, float]
    ranks = []
    for h, r, t in zip(head, rel, tail):
        scores = [model(h.view(1), r.view(1), torch.tensor([n])).item()
                  for n in range(N)]
        ranks.append(sum(s > scores[int(t)] for s in scores))
    mean = sum(ranks) / 20
    assert result[0] == pytest.approx(mean)
    assert result[1] == pytest.approx(sum(1 / (r + 1) for r in ranks) / 20)
    assert result[2] == pytest.approx(sum(r < 3 for r in ranks) / 20)


def test_start_of_training() -> None:
    """The ranges of the released code: relations on the whole circle."""
    model = AdaMF(2000, 500, 20, margin=12.0)
    assert 0.99 * 0.35 < model.node_emb.weight.abs().max().item() <= 0.35
    phase = model.phase(torch.arange(500))
    assert 0.99 * math.pi < phase.abs().max().item() <= math.pi + 1e-5
    assert abs(phase.mean().item()) < 5 * 1.82 / 100


def test_reset_parameters() -> None:
    model = make(cls=AdaMFMAT, masked=True, missing='learned')
    before = {name: p.detach().clone() for name, p in
              model.named_parameters()}
    ids = {name: id(p) for name, p in model.named_parameters()}
    model.reset_parameters()
    for name, param in model.named_parameters():
        assert not torch.equal(param, before[name]), name
        assert id(param) == ids[name]


def test_every_parameter_gets_a_gradient() -> None:
    for cls in (AdaMF, AdaMFMAT):
        model = make('visual text 3d', cls, True, missing='learned',
                     trainable_features=True)
        model.loss(*triples()).backward()
        for name, param in model.named_parameters():
            assert param.grad is not None and param.grad.any(), name


def test_from_data() -> None:
    kg = FakeMMKG(num_nodes=30, num_edges=100, coverage=0.5)[0]
    before = {name: x.clone() for name, x in kg.features().items()}
    model = AdaMF.from_data(kg, 4, missing='learned', margin=3.0)
    assert isinstance(model, AdaMF) and model.margin == 3.0
    assert (model.num_nodes, model.num_relations) == (30, kg.num_relations)
    assert model.modalities == kg.modalities
    for name, mask in kg.masks().items():
        assert torch.equal(model.encoders[name].mask, mask)
        assert torch.equal(kg[f'x_{name}'], before[name])
    model.from_data(kg, 4)  # Other policies fill rows, but not the graph's.
    assert all(torch.equal(x, before[name])
               for name, x in kg.features().items())


def test_bad_input() -> None:
    x = {'text': torch.randn(N, 3)}
    with pytest.raises(ModelError, match=r"'modalities'.*with structure=False "
                       r'\(got None\)'):
        AdaMF(N, R, D, structure=False)
    with pytest.raises(
            ModelError, match=r"'text'.*\[12, F\].*\(got \[11, 3\]"):
        AdaMF(N + 1, R, D, x)
    with pytest.raises(ModelError, match=r"'missing'.*\(got 'guess'\)"):
        AdaMF(N, R, D, x, missing='guess')
    with pytest.raises(ModelError, match=r"'fusion'.*\(got 'max'\)"):
        AdaMF(N, R, D, x, fusion='max')
    with pytest.raises(ModelError, match=r"'masks'.*\['text'\] \(got \['txt'"):
        AdaMF(N, R, D, x, {'txt': torch.arange(N) > 0})
    mask = {'text': torch.arange(N) > 0}
    with pytest.raises(ModelError, match='modality at every node'):
        AdaMF(N, R, D, x, mask, missing='drop', structure=False)
    both = x | {'visual': torch.randn(N, 2)}
    masks = mask | {'visual': torch.arange(N) == 0}
    AdaMF(N, R, D, both, masks, missing='drop', structure=False)
