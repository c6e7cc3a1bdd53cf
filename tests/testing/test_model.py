"""Tests that check_model passes a sound model and finds planted faults."""

import random
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import Embedding, ModuleDict, Parameter
from torch.nn.functional import softplus
from torch_geometric.nn import TransE

from pyg_mmkgc.data import KnowledgeGraph
from pyg_mmkgc.errors import ModelError
from pyg_mmkgc.kernels.candidates import candidate_scores
from pyg_mmkgc.kernels.dense import dense_scores
from pyg_mmkgc.nn import MMKGEModel, ModalityEncoder
from pyg_mmkgc.nn.encoded import Encoded
from pyg_mmkgc.testing import MODEL_CHECKS, check_model
from pyg_mmkgc.typing import Side


class Sound(MMKGEModel):
    """A translation of the weighted sum of all views with fast kernels."""
    def __init__(self, num_nodes: int, num_relations: int,
                 hidden_channels: int,
                 modalities: dict[str, Tensor] | None = None,
                 masks: dict[str, Tensor] | None = None,
                 margin: float = 4.0) -> None:
        super().__init__(num_nodes, num_relations, hidden_channels,
                         modalities)
        self.margin = margin
        self.encoders = ModuleDict({
            name: ModalityEncoder(x, hidden_channels, (masks or {})[name])
            for name, x in (modalities or {}).items()})
        self.gate = Parameter(torch.empty(hidden_channels))
        self.node_emb = Embedding(num_nodes, hidden_channels)
        self.rel_emb = Embedding(num_relations, hidden_channels)
        self.more()
        self.reset_parameters()

    def more(self) -> None:
        """Adds the parameters of a faulty model."""

    def reset_parameters(self) -> None:
        super().reset_parameters()
        torch.nn.init.normal_(self.gate, 1.0, 0.1)
        for encoder in self.encoders.values():
            encoder.reset_parameters()

    def embed(self, index: Tensor) -> dict[str, Tensor]:
        return super().embed(index) | {
            name: encoder(index) for name, encoder in self.encoders.items()}

    def fuse(self, views: dict[str, Tensor]) -> Tensor:
        first, *rest = views.values()
        return first + sum(0.3 * self.gate * x for x in rest)

    def score(self, head: Tensor, rel_type: Tensor, tail: Tensor) -> Tensor:
        diff = head + self.rel_emb(rel_type) - tail
        return self.margin - diff.abs().sum(-1)

    def candidate_scores(self, table: Tensor, head: Tensor, rel_type: Tensor,
                         tail: Tensor, index: Tensor,
                         corrupt_head: Tensor) -> Tensor:
        rel = self.rel_emb(rel_type)
        query = torch.stack([head + rel, tail - rel])
        return self.margin - candidate_scores(query, table, index,
                                              corrupt_head, group=1)

    def node_scores(self, x: Tensor, rel_type: Tensor, side: Side,
                    table: Tensor) -> Tensor:
        rel = self.rel_emb(rel_type)
        query = x + rel if side == 'tail' else x - rel
        return self.margin - dense_scores(query, table, group=1)


FAULTS: dict[str, tuple[type[Sound], str]] = {}


def fault(message: str) -> Any:
    """Registers a broken model with the expected message."""
    def add(cls: type[Sound]) -> type[Sound]:
        FAULTS[cls.__name__] = (cls, message)
        return cls
    return add


@fault('score_tails: Expected equal values for score_tails against forward')
class SlowScoreOfAnotherSign(Sound):
    def forward(self, *args: Tensor) -> Tensor:
        return -super().forward(*args)


@fault('overfits: Expected a training MRR of more than 0.95 .*got 0')
class FarIsGood(Sound):
    def score(self, *args: Tensor) -> Tensor:
        return -super().score(*args)


@fault('score_heads: .* for score_heads against forward in training mode .got')
class HeadsAsTails(Sound):
    def score_heads(self, rel_type: Tensor, tail_index: Tensor,
                    table: Tensor | None = None) -> Tensor:
        return self.score_tails(tail_index, rel_type, table)


@fault('score_tails: .* for score_tails against forward in training mode .got')
class EuclideanTails(Sound):
    def node_scores(self, x: Tensor, rel_type: Tensor, side: Side,
                    table: Tensor) -> Tensor:
        if side == 'head':
            return super().node_scores(x, rel_type, side, table)
        return self.margin - torch.cdist(x + self.rel_emb(rel_type), table)


@fault('the gradient of rel_emb.weight through score_tails')
class DetachedTails(Sound):
    def node_scores(self, x: Tensor, rel_type: Tensor, side: Side,
                    table: Tensor) -> Tensor:
        if side == 'head':
            return super().node_scores(x, rel_type, side, table)
        query = x + self.rel_emb(rel_type).detach()
        return self.margin - dense_scores(query, table, group=1)


@fault('score_candidates: .* for score_candidates against .* mode .got a dif')
class OtherSide(Sound):
    def candidate_scores(self, *args: Tensor) -> Tensor:
        return super().candidate_scores(*args[:-1], ~args[-1])


@fault('score_candidates: .* for score_candidates against .* mode .got a dif')
class IdsForRows(Sound):
    def candidate_scores(self, table: Tensor, *args: Tensor) -> Tensor:
        return super().candidate_scores(self.encode(), *args)


@fault('eval_is_deterministic: Expected forward to keep the random state')
class NoiseInEvaluation(Sound):
    def embed(self, index: Tensor) -> dict[str, Tensor]:
        return {name: torch.dropout(x, 0.1, True)
                for name, x in super().embed(index).items()}


@fault('seed: Expected equal trainings .* .got different .*emb')
class NoiseOfItsOwn(Sound):
    def embed(self, index: Tensor) -> dict[str, Tensor]:
        scale = 1.0 + self.training * random.SystemRandom().random()
        return {name: scale * x for name, x in super().embed(index).items()}


@fault("gradients: Expected a gradient of 'unused'")
class UnusedParameter(Sound):
    def more(self) -> None:
        self.unused = Parameter(torch.zeros(3))

    def reset_parameters(self) -> None:
        super().reset_parameters()
        torch.nn.init.zeros_(self.unused)


@fault("gradients: Expected a gradient of 'gate'")
class DetachedGate(Sound):
    def fuse(self, views: dict[str, Tensor]) -> Tensor:
        first, *rest = views.values()
        return first + sum(0.3 * self.gate.detach() * x for x in rest)


@fault("reset_parameters: Expected reset_parameters to reset 'gate'")
class ForgottenGate(Sound):
    def more(self) -> None:
        torch.nn.init.normal_(self.gate)

    def reset_parameters(self) -> None:
        self.node_emb.reset_parameters()
        self.rel_emb.reset_parameters()
        for encoder in self.encoders.values():
            encoder.reset_parameters()


@fault('finite: Expected finite scores from forward')
class NotANumber(Sound):
    def score(self, *args: Tensor) -> Tensor:
        return super().score(*args).log()


@fault('finite: Expected a finite gradient of')
class RootOfZero(Sound):
    def score(self, head: Tensor, rel_type: Tensor, tail: Tensor) -> Tensor:
        change = (head - tail).square().sum(-1).sqrt()
        return super().score(head, rel_type, tail) - 0.1 * change


@fault(r'shapes: Expected the shape \[5\] for forward \(got \[5, 1\]\)')
class ColumnOfScores(Sound):
    def forward(self, *args: Tensor) -> Tensor:
        return super().forward(*args).unsqueeze(-1)


@fault('broadcasting: RuntimeError')
class NoBroadcasting(Sound):
    def score(self, head: Tensor, rel_type: Tensor, tail: Tensor) -> Tensor:
        half = head.size(-1)
        x = torch.cat([head, tail], dim=-1)
        return -(x[..., :half] + self.rel_emb(rel_type) - x[..., half:]
                 ).abs().sum(-1)


@fault('broadcasting: .* for a batch of triples .got a difference')
class ScoreOfTheBatch(Sound):
    def forward(self, *args: Tensor) -> Tensor:
        out = super().forward(*args)
        return out - out.mean()


@fault('out_of_range: .* -1 in argument 1 of 3')
class CountsFromTheEnd(Sound):
    def score(self, head: Tensor, rel_type: Tensor, tail: Tensor) -> Tensor:
        return super().score(head, rel_type % self.num_relations, tail)


@fault('batch_of_0_and_1: RuntimeError')
class NeedsABatch(Sound):
    def score(self, head: Tensor, rel_type: Tensor, tail: Tensor) -> Tensor:
        if head.dim() < 2:
            raise RuntimeError('expected head [B, C]')
        return super().score(head, rel_type, tail)


@fault('batch_of_0_and_1: ValueError')
class NormOfTheBatch(Sound):
    def more(self) -> None:
        self.norm = torch.nn.BatchNorm1d(self.hidden_channels)

    def reset_parameters(self) -> None:
        super().reset_parameters()
        self.norm.reset_parameters()

    def regularization(self, encoded: Encoded, rel_type: Tensor) -> Tensor:
        return self.norm(encoded.table[encoded.head]).square().mean()


@fault('float64: Expected torch.float64 from forward .got torch.float32')
class SinglePrecision(Sound):
    def forward(self, *args: Tensor) -> Tensor:
        return super().forward(*args).float()


@fault('state_dict: Expected equal scores of forward after state_dict')
class StateOutsideOfTheState(Sound):
    def more(self) -> None:
        self.steps = 0

    def after_step(self) -> None:
        self.steps += 1

    def score(self, *args: Tensor) -> Tensor:
        return super().score(*args) * (1 + self.steps)


@fault("pretrained: ModelError: .* to keep the argument 'scale'")
class ArgumentNotKept(Sound):
    def __init__(self, num_nodes: int, num_relations: int,
                 hidden_channels: int, scale: float = 2.0,
                 **kwargs: Any) -> None:
        super().__init__(num_nodes, num_relations, hidden_channels, **kwargs)


@fault('pretrained: .* scores of forward after from_pretrained .got diff')
class ArgumentKeptWrongly(Sound):
    def __init__(self, num_nodes: int, num_relations: int,
                 hidden_channels: int, scale: float = 2.0,
                 **kwargs: Any) -> None:
        super().__init__(num_nodes, num_relations, hidden_channels, **kwargs)
        self.factor, self.scale = scale, 1.0

    def score(self, *args: Tensor) -> Tensor:
        return super().score(*args) * self.factor


@fault('modality_dropped: KeyError')
class NeedsAModality(Sound):
    def fuse(self, views: dict[str, Tensor]) -> Tensor:
        return views['structure'] + self.gate * (
            views['visual'] + views['text'])


@fault('modality_missing: Expected the features of masked nodes')
class MaskIgnored(Sound):
    def __init__(self, num_nodes: int, num_relations: int,
                 hidden_channels: int, modalities: Any, masks: Any) -> None:
        everyone = {name: torch.ones_like(x) for name, x in masks.items()}
        super().__init__(num_nodes, num_relations, hidden_channels,
                         modalities, everyone)


@fault('mat: .* the step of the adversary to keep the model .got .*calls')
class FuseThatCounts(Sound):
    def more(self) -> None:
        self.register_buffer('calls', torch.zeros(()))

    def fuse(self, views: dict[str, Tensor]) -> Tensor:
        if self.training:
            self.calls += 1
        return super().fuse(views)


@fault('mat: RuntimeError')
class ViewsOfTwoDimensionsOnly(Sound):
    def fuse(self, views: dict[str, Tensor]) -> Tensor:
        for x in views.values():
            if x.dim() == 3 and x.size(0) == 1:
                raise RuntimeError('expected views [B, C]')
        return super().fuse(views)


def test_a_sound_model_passes() -> None:
    before = torch.get_rng_state()
    check_model(Sound, lr=0.1)
    assert torch.equal(before, torch.get_rng_state())


def test_a_function_can_make_the_model() -> None:
    check_model(lambda data: Sound.from_data(data, 8, margin=5.0), lr=0.1)


@pytest.mark.parametrize('name', FAULTS)
def test_planted_fault_is_found(name: str) -> None:
    cls, message = FAULTS[name]
    # This check must find the fault, but others may find it as well.
    checks = [message.partition(':')[0]]
    if checks[0] not in MODEL_CHECKS:
        checks = list(MODEL_CHECKS)
    with pytest.raises(AssertionError, match=message):
        check_model(cls, checks=checks, lr=0.1)


class Flipped(torch.nn.Module):
    def forward(self, pos: Tensor, neg: Tensor) -> Tensor:
        return softplus(pos).mean() + softplus(-neg).mean()


def test_learning_the_wrong_way_is_found() -> None:
    with pytest.raises(AssertionError, match='higher_is_better: Exp.*got a'):
        check_model(Sound, loss=Flipped(), checks=['higher_is_better'])


def test_only_this_librarys_models() -> None:
    def build(data: KnowledgeGraph) -> Any:
        return TransE(data.num_nodes, data.num_relations, 4)

    with pytest.raises(AssertionError, match="'MMKGEModel' .got 'TransE'"):
        check_model(build)


def test_refusing_without_a_reason_is_a_fault() -> None:
    def build(data: KnowledgeGraph) -> Sound:
        if len(data.modalities) < 2:
            raise ModelError('no')
        return Sound.from_data(data, 8)

    with pytest.raises(AssertionError, match="a reason without .*got 'no'"):
        check_model(build, checks=['modality_dropped'])
