from __future__ import annotations

from torch import Tensor

from pyg_mmkgc.nn.kge.multi_view import MultiViewModel


class IKRL(MultiViewModel):
    r"""The IKRL model from the `"Image-embodied Knowledge Representation
    Learning" <https://arxiv.org/abs/1609.07028>`_ paper, which applies `TransE
    <https://papers.nips.cc/paper/2013/hash/
    1cecc7a77928ca8133fa24680a88d2f9-Abstract.html>`_ to a structural and an
    image-based embedding of each entity.

    .. math::
        E(h, r, t) = E_{SS} + E_{II} + E_{SI} + E_{IS}, \qquad
        E_{XY} = \| \hat{\mathbf{h}}_X + \hat{\mathbf{r}} -
        \hat{\mathbf{t}}_Y \|_1, \qquad s = \gamma - E

    :class:`~pyg_mmkgc.nn.kge.multi_view.MultiViewModel` scores the pairs of
    views.

    The images of an entity are projected to :math:`\mathbf{p}_i = \mathbf{M}
    \mathbf{x}_i` and aggregated to :math:`\mathbf{e}_I = \sum_i a_i
    \mathbf{p}_i` with the attention weights :math:`a_i` of
    :func:`~pyg_mmkgc.nn.encoder.attention_weights`. To use several images per
    entity, pass features of shape :obj:`[N, I, F]` with a mask :obj:`[N, I]`.

    The paper has images as its only modality. Here, any modality can take
    their place, and with several modalities the sum is over all pairs of
    views. Four details follow public re-implementations: the projection has a
    bias, all vectors are normalized to length one (the paper bounds their
    length), the energies are summed in one loss (the authors' code has one
    hinge per energy), and triples are ranked by the sum of all energies (the
    authors' code ranks by :math:`E_{II}`). Gradients flow through the
    attention, which is constant in the authors' code. Relations are not
    corrupted, unlike in the authors' code.

    Args:
        num_nodes (int): The number of nodes/entities :obj:`N` in the graph.
        num_relations (int): The number of relations in the graph.
        hidden_channels (int): The width of an embedding.
        **kwargs (optional): Additional arguments of
            :class:`~pyg_mmkgc.nn.kge.multi_view.MultiViewModel`.
    """
    @property
    def pairs(self) -> list[tuple[int, int]]:
        views = range(1 + len(self.modalities))
        return [(x, y) for x in views for y in views]

    def embed(self, index: Tensor) -> dict[str, Tensor]:
        structure = self.node_emb(index)
        return {'structure': structure} | {
            name: encoder(index, query=structure)
            for name, encoder in self.encoders.items()}

    def parts(self, views: dict[str, Tensor]) -> list[Tensor]:
        return [views[name] for name in ('structure', *self.modalities)]
