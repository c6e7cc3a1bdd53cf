from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn import Linear
from torch_geometric.nn.kge import KGEModel

from pyg_mmkgc.errors import check_whole
from pyg_mmkgc.kernels.host import drawn_for
from pyg_mmkgc.nn.encoded import Entities, encode
from pyg_mmkgc.nn.kge import MMKGEModel
from pyg_mmkgc.nn.share import draw
from pyg_mmkgc.training.adversary import Adversary, check_views
from pyg_mmkgc.training.batch import Batch, Completion


class CollaborativeGenerator(torch.nn.Module):
    r"""Generates all modalities of an entity from all of its views.

    Args:
        names (list[str]): The modalities.
        channels (int): The width :obj:`C` of a view.
        noise_channels (int): The width of the noise.
        hidden_channels (int): The hidden width.
    """
    def __init__(self, names: list[str], channels: int, noise_channels: int,
                 hidden_channels: int) -> None:
        super().__init__()
        self.names = list(names)
        self.noise_channels = noise_channels
        self.lin1 = Linear(noise_channels + (1 + len(names)) * channels,
                           hidden_channels)
        self.lin2 = Linear(hidden_channels, len(names) * channels)

    def forward(self, views: dict[str, Tensor],
                generator: torch.Generator) -> dict[str, Tensor]:
        r"""Generates synthetic views :obj:`[B, C]` of entities from their real
        views :obj:`[B, C]`. The noise is drawn from :obj:`generator`.
        """
        structure = views['structure']
        noise = draw(torch.randn, structure.size(0), self.noise_channels,
                     generator=generator, device=generator.device)
        x = torch.cat([drawn_for(structure, noise), structure,
                       *(views[name] for name in self.names)], dim=-1)
        # Under autocast, products are in half precision, but scores are not.
        out = self.lin2(F.leaky_relu(self.lin1(x))).to(structure.dtype)
        return dict(zip(self.names, out.chunk(len(self.names), dim=-1),
                        strict=True))

    def extra_repr(self) -> str:
        return f'{self.names}, noise_channels={self.noise_channels}'


class CoMAT(Adversary):
    r"""The collaborative modality adversarial training of the `"NativE:
    Multi-modal Knowledge Graph Completion in the Wild"
    <https://arxiv.org/abs/2406.17605>`_ paper, for any
    :class:`~pyg_mmkgc.nn.kge.MMKGEModel` with a structural view and
    modalities.

    A single generator takes all views of an entity as input, and generates all
    of its modalities as :math:`[\mathbf{e}^*_1; \ldots; \mathbf{e}^*_M] =
    G([\mathbf{z}; \mathbf{e}_S; \mathbf{e}_1; \ldots; \mathbf{e}_M])` with
    :math:`\mathbf{z} \sim \mathcal{N}(\mathbf{0}, \mathbf{I})`. Model and
    generator play the game of a Wasserstein GAN, in which the score is the
    critic:

    .. math::
        \mathcal{L}_{\mathcal{D}} = \sum_{s^* \in \mathcal{S}} \big(
        \overline{s^*} - \overline{s} \big), \qquad \mathcal{L}_{\mathcal{G}}
        = - \frac{1}{|\mathcal{S}|} \sum_{s^* \in \mathcal{S}} \overline{s^*}

    Here, the bars denote means over the batch, and :math:`\mathcal{S}` holds
    the scores of :math:`(h^*, r, t)`, :math:`(h, r, t^*)` and :math:`(h^*, r,
    t^*)`. The gradient penalty is left out. For a sum of complex moduli, the
    gradient of the score with respect to a head has length :math:`\sqrt{D}`
    for any weights, so the penalty of the released code is a constant. In the
    step of the model, the gradient also reaches the real views through the
    input of the generator, as in :class:`~pyg_mmkgc.training.MAT`.

    Args:
        generator (CollaborativeGenerator): The generator :math:`G`.
        weight (float, optional): The weight in the loss of the model. The same
            weight has twice the effect in the released code, which halves the
            loss of link prediction, unlike
            :class:`~pyg_mmkgc.nn.SelfAdversarialLoss`. (default: :obj:`1e-4`)
    """
    splits_batch = True

    def __init__(self, generator: CollaborativeGenerator,
                 weight: float = 1e-4) -> None:
        super().__init__(weight)
        self.generator = generator

    @classmethod
    def from_model(cls, model: MMKGEModel, *, noise_channels: int = 64,
                   generator_channels: int = 512, **kwargs: Any) -> CoMAT:
        r"""Builds CoMAT for all modalities of a model.

        Args:
            model (MMKGEModel): The model.
            noise_channels (int, optional): The width of the noise.
                (default: :obj:`64`)
            generator_channels (int, optional): The hidden width of the
                generator. (default: :obj:`512`)
            **kwargs (optional): Arguments of :class:`CoMAT`.

        Raises:
            ModelError: If the model has no structural embedding or no
                modality.
        """
        check_views('CoMAT', model)
        check_whole(noise_channels=noise_channels,
                    generator_channels=generator_channels)
        return cls(CollaborativeGenerator(
            model.modalities, model.node_emb.embedding_dim, noise_channels,
            generator_channels), **kwargs)

    def check(self, model: KGEModel) -> None:
        check_views('CoMAT', model, self.generator.names)

    def discriminator_loss(self, model: MMKGEModel, batch: Batch,
                           done: Completion) -> Tensor:
        assert done.encoded is not None
        head, tail = done.encoded.entities(done.scored)
        pos = (model.score(head.joint, batch.rel_type, tail.joint)
               if done.scored is None else done.scored.pos)
        fake = self._scores(model, head, batch, tail)
        return (fake - pos).mean(dim=-1).sum()

    def generator_loss(self, model: MMKGEModel, batch: Batch,
                       done: Completion) -> Tensor:
        with torch.no_grad():  # The step of the model changed its views.
            head, tail = encode(model, batch.head_index,
                                batch.tail_index).entities()
        return -self._scores(model, head, batch, tail).mean()

    def _scores(self, model: MMKGEModel, head: Entities, batch: Batch,
                tail: Entities) -> Tensor:
        r"""Returns the scores :obj:`[3, B]` of the three kinds of synthetic
        triples.
        """
        fake_head, fake_tail = (
            model.fuse({**x.views, **self.generator(x.views, batch.generator)})
            for x in (head, tail))
        return torch.stack([
            model.score(fake_head, batch.rel_type, tail.joint),
            model.score(head.joint, batch.rel_type, fake_tail),
            model.score(fake_head, batch.rel_type, fake_tail)])

    def extra_repr(self) -> str:
        return f'weight={self.weight}'
