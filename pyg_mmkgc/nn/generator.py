from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn import Linear


class ModalityGenerator(torch.nn.Module):
    r"""The modality adversarial generator, eq. (9) of `AdaMF-MAT
    <https://arxiv.org/abs/2402.15444>`_.

    .. math::
        G_m(\mathbf{e}_s, \mathbf{z}) = \mathbf{W}_2 \, \delta(\mathbf{W}_1
        [\mathbf{e}_s ; \mathbf{z}] + \mathbf{b}_1) + \mathbf{b}_2, \qquad
        \mathbf{z} \sim \mathcal{N}(\mathbf{0}, \mathbf{I})

    where :math:`\delta` is a LeakyReLU. The paper does not state the hidden
    width. The released code uses 512.

    Args:
        channels (int): The width of structural and generated embeddings.
        noise_channels (int, optional): The width of :math:`\mathbf{z}`.
            (default: :obj:`64`)
        hidden_channels (int, optional): The hidden width.
            (default: :obj:`512`)
    """
    def __init__(self, channels: int, noise_channels: int = 64,
                 hidden_channels: int = 512) -> None:
        super().__init__()
        self.noise_channels = noise_channels
        self.lin1 = Linear(channels + noise_channels, hidden_channels)
        self.lin2 = Linear(hidden_channels, channels)

    def reset_parameters(self) -> None:
        r"""Resets all learnable parameters of the module."""
        self.lin1.reset_parameters()
        self.lin2.reset_parameters()

    def forward(self, structure: Tensor, noise: Tensor) -> Tensor:
        r"""Generates synthetic embeddings :obj:`[*, C]` from structural
        embeddings :obj:`[*, C]` and noise :obj:`[*, noise_channels]`, which
        broadcast.
        """
        shape = torch.broadcast_shapes(structure.shape[:-1], noise.shape[:-1])
        x = torch.cat([structure.expand(*shape, -1),
                       noise.expand(*shape, -1)], dim=-1)
        # Autocast computes the products in half precision, but scores need
        # full precision.
        return self.lin2(F.leaky_relu(self.lin1(x))).to(structure.dtype)
