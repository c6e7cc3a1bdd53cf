from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Optional, Union, cast

import torch
from torch import Tensor

from pyg_mmkgc.data import KnowledgeGraph
from pyg_mmkgc.datasets import FakeMMKG
from pyg_mmkgc.nn.kge import MMKGEModel
from pyg_mmkgc.nn.path import PathModel
from pyg_mmkgc.sampler import BernoulliSampler, NegativeSampler
from pyg_mmkgc.training import Trainer

Build = Union[type[MMKGEModel], type[PathModel], Callable[..., MMKGEModel]]


def expect(holds: Any, message: str) -> None:
    r"""Raises :class:`AssertionError`, also where :obj:`python -O` drops
    :obj:`assert`.
    """
    if not bool(holds):
        raise AssertionError(message)


def expect_close(out: Tensor, wanted: Tensor, what: str,
                 rtol: float = 1e-6) -> None:
    r"""Two tensors are of one shape and equal but for rounding."""
    expect(out.shape == wanted.shape, f'{what}: expected the shape '
           f'{list(wanted.shape)}, got {list(out.shape)}')
    if out.numel() == 0:
        return
    error = (out - wanted).abs().max().item()
    expect(torch.allclose(out, wanted, rtol, rtol),
           f'{what}: differs by up to {error:.3g}')


@functools.cache
def _small_graph() -> KnowledgeGraph:
    return FakeMMKG(num_nodes=24, num_relations=3, num_edges=64,
                    modalities={'visual': 6, 'text': 5}, val_ratio=0.0,
                    test_ratio=0.0)[0]


def small_graph() -> KnowledgeGraph:
    r"""A graph of 24 nodes, 64 training triples and the modalities
    :obj:`visual` and :obj:`text`, each of four nodes out of five.
    """
    return _small_graph().clone()


def tree_graph() -> KnowledgeGraph:
    r"""A graph of 50 training triples that any model can learn by heart:
    five trees, each a root with five children under different relations, each
    of which has a child under one more. No two triples contradict each other
    in a translation, a rotation or a symmetric form.
    """
    generator = torch.Generator().manual_seed(0)
    # Root, then child r and grandchild r, of each tree.
    name = torch.randperm(55, generator=generator).view(5, 11)
    root, child, leaf = name[:, :1].expand(-1, 5), name[:, 1:6], name[:, 6:]
    rel = torch.arange(10).view(2, 1, 5).expand(-1, 5, -1)
    data = KnowledgeGraph(
        torch.stack([torch.cat([root, child]).flatten(),
                     torch.cat([child, leaf]).flatten()]), rel.flatten(),
        num_nodes=55, num_relations=10,
        train_mask=torch.ones(50, dtype=torch.bool))
    for modality, channels in (('visual', 6), ('text', 5)):
        mask = torch.rand(55, generator=generator) < 0.8
        x = torch.randn(55, channels, generator=generator)
        data[f'x_{modality}'] = x * mask.view(-1, 1)
        data[f'mask_{modality}'] = mask
    return data


@dataclass
class Subject:
    r"""The model that is checked, and how it is trained.

    Args:
        target: A class, or what makes a model of a graph.
        kwargs (dict): Arguments of the class.
        lr (float): The learning rate.
        epochs (int): Full-batch steps to learn 50 triples by heart.
        sampler (callable): Makes a negative sampler, or :obj:`None` for the
            model's own loss.
        loss (torch.nn.Module, optional): The loss of the scores.
    """
    target: Build
    kwargs: dict[str, Any] = field(default_factory=dict)
    lr: float = 0.05
    epochs: int = 100
    sampler: Optional[Callable[[], NegativeSampler]] = (
        lambda: BernoulliSampler(32))
    loss: Optional[torch.nn.Module] = None

    def model(self, data: Optional[KnowledgeGraph] = None, seed: int = 0,
              **kwargs: Any) -> MMKGEModel:
        r"""The model of a graph, its weights drawn from a seed."""
        data = small_graph() if data is None else data
        torch.manual_seed(seed)
        options: dict[str, Any] = {'hidden_channels': 8, **self.kwargs,
                                   **kwargs}
        build = getattr(self.target, 'from_data', None)
        model = (build(data, **options) if build is not None else
                 cast(Callable[..., Any], self.target)(data))
        expect(isinstance(model, MMKGEModel),
               f'expected a MMKGEModel, got {type(model).__name__}')
        # What a model knows of the graph, its scores may depend on.
        train = data.split('train')
        model.prepare(train.edge_index, train.edge_type)
        return model

    def fit(self, model: MMKGEModel, data: Optional[KnowledgeGraph] = None,
            steps: int = 2) -> MMKGEModel:
        r"""Trains for some full-batch steps; back in evaluation mode."""
        generators = model.generator_modules() is not None
        own = self.sampler is None or generators
        sampler = None if own or self.sampler is None else self.sampler()
        trainer = Trainer(
            model, small_graph() if data is None else data, sampler=sampler,
            loss=None if generators else self.loss,
            lr=self.lr, batch_size=64, epochs=steps, valid_every=None,
            progress=False)
        trainer.fit()
        return model.eval()

    def takes(self, name: str) -> bool:
        r"""Whether the class takes an argument, by name or passed on."""
        if not inspect.isclass(self.target):
            return False
        return any(name in inspect.signature(cls).parameters
                   for cls in inspect.getmro(self.target)
                   if issubclass(cls, MMKGEModel))


def triples(data: KnowledgeGraph) -> tuple[Tensor, Tensor, Tensor]:
    r"""The training triples as heads, relations and tails."""
    train = data.split('train')
    return train.edge_index[0], train.edge_type, train.edge_index[1]


def state(module: torch.nn.Module) -> dict[str, Tensor]:
    r"""A copy of the state of a module."""
    return {name: x.detach().clone()
            for name, x in module.state_dict().items()}


def changed(before: dict[str, Tensor], after: dict[str, Tensor]) -> list[str]:
    r"""The names of what is not the same, bit for bit."""
    return [name for name in sorted({*before, *after})
            if name not in before or name not in after
            or not torch.equal(before[name], after[name])]


def named(*checks: Callable[[Any], None]) -> dict[str, Any]:
    r"""Checks by their names, less :obj:`check_`."""
    return {check.__name__.removeprefix('check_'): check for check in checks}


def run_check(name: str, check: Callable[[Any], None], subject: Any) -> None:
    r"""Runs one check; the global random numbers stay untouched."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(12345)
        try:
            check(subject)
        except Exception as error:
            kind = '' if isinstance(error, AssertionError) else (
                f'{type(error).__name__}: ')
            raise AssertionError(f'{name}: {kind}{error}') from error
