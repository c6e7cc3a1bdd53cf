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
    r"""Raises an :class:`AssertionError` if a condition does not hold, even
    with :obj:`python -O`, which disables :obj:`assert`.
    """
    if not bool(holds):
        raise AssertionError(message)


def expect_close(out: Tensor, wanted: Tensor, what: str,
                 rtol: float = 1e-6) -> None:
    r"""Checks that two tensors have the same shape, and are equal up to
    rounding.
    """
    expect(out.shape == wanted.shape, f'Expected the shape '
           f'{list(wanted.shape)} for {what} (got {list(out.shape)})')
    if out.numel() == 0:
        return
    error = (out - wanted).abs().max().item()
    expect(torch.allclose(out, wanted, rtol, rtol),
           f'Expected equal values for {what} (got a difference of '
           f'{error:.3g})')


@functools.cache
def _small_graph() -> KnowledgeGraph:
    return FakeMMKG(num_nodes=24, num_relations=3, num_edges=64,
                    modalities={'visual': 6, 'text': 5}, val_ratio=0.0,
                    test_ratio=0.0)[0]


def small_graph() -> KnowledgeGraph:
    r"""Returns a graph with 24 nodes, 64 training triples, and the modalities
    :obj:`visual` and :obj:`text`, each of which covers four out of five nodes.
    """
    return _small_graph().clone()


def tree_graph() -> KnowledgeGraph:
    r"""Returns a graph with 50 training triples that any model can memorize.

    The graph consists of five trees. Each root has five children under
    different relations, and each child has one child under another relation.
    No two triples contradict each other for translations, rotations or
    symmetric scores.
    """
    generator = torch.Generator().manual_seed(0)
    # Each tree has a root, and a child and a grandchild per relation.
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
    r"""The model to check, and the settings of its training.

    Args:
        target: A class, or a function that builds a model for a graph.
        kwargs (dict): The arguments of the class.
        lr (float): The learning rate.
        epochs (int): The number of full-batch steps to memorize 50 triples.
        sampler (callable): A function that builds a negative sampler, or
            :obj:`None` for the model's own loss.
        loss (torch.nn.Module, optional): The loss of the scores.
            (default: :obj:`None`)
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
        r"""Builds a model for a graph, with weights drawn from a seed."""
        data = small_graph() if data is None else data
        torch.manual_seed(seed)
        options: dict[str, Any] = {'hidden_channels': 8, **self.kwargs,
                                   **kwargs}
        build = getattr(self.target, 'from_data', None)
        model = (build(data, **options) if build is not None else
                 cast(Callable[..., Any], self.target)(data))
        expect(isinstance(model, MMKGEModel),
               "Expected an 'MMKGEModel' (got "
               f"'{type(model).__name__}')")
        # Scores may depend on the training triples.
        train = data.split('train')
        model.prepare(train.edge_index, train.edge_type)
        return model

    def fit(self, model: MMKGEModel, data: Optional[KnowledgeGraph] = None,
            steps: int = 2) -> MMKGEModel:
        r"""Trains a model for some full-batch steps, and returns it in
        evaluation mode.
        """
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
        r"""Returns :obj:`True` if the class or one of its bases takes an
        argument.
        """
        if not inspect.isclass(self.target):
            return False
        return any(name in inspect.signature(cls).parameters
                   for cls in inspect.getmro(self.target)
                   if issubclass(cls, MMKGEModel))


def triples(data: KnowledgeGraph) -> tuple[Tensor, Tensor, Tensor]:
    r"""Returns the training triples as heads, relations and tails."""
    train = data.split('train')
    return train.edge_index[0], train.edge_type, train.edge_index[1]


def state(module: torch.nn.Module) -> dict[str, Tensor]:
    r"""Returns a copy of the state of a module."""
    return {name: x.detach().clone()
            for name, x in module.state_dict().items()}


def changed(before: dict[str, Tensor], after: dict[str, Tensor]) -> list[str]:
    r"""Returns the names of tensors that are not equal bit for bit."""
    return [name for name in sorted({*before, *after})
            if name not in before or name not in after
            or not torch.equal(before[name], after[name])]


def named(*checks: Callable[[Any], None]) -> dict[str, Any]:
    r"""Returns a dictionary of checks by name, without :obj:`check_`."""
    return {check.__name__.removeprefix('check_'): check for check in checks}


def run_check(name: str, check: Callable[[Any], None], subject: Any) -> None:
    r"""Runs a check without changing the global random state."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(12345)
        try:
            check(subject)
        except Exception as error:
            kind = '' if isinstance(error, AssertionError) else (
                f'{type(error).__name__}: ')
            raise AssertionError(f'{name}: {kind}{error}') from error
