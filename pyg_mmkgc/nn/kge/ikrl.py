from __future__ import annotations

from torch import Tensor

from pyg_mmkgc.nn.kge.multi_view import MultiViewModel


class IKRL(MultiViewModel):
    r"""The model of the `"Image-embodied Knowledge Representation Learning"
    <https://arxiv.org/abs/1609.07028>`_ paper: `TransE
    <https://papers.nips.cc/paper/2013/hash/
    1cecc7a77928ca8133fa24680a88d2f9-Abstract.html>`_ on a structural and an
    image-based embedding of each entity.

    .. math::
        E(h, r, t) = E_{SS} + E_{II} + E_{SI} + E_{IS}, \qquad
        E_{XY} = \| \hat{\mathbf{h}}_X + \hat{\mathbf{r}} -
        \hat{\mathbf{t}}_Y \|_1, \qquad s = \gamma - E

    The score of a list of pairs is that of
    :class:`~pyg_mmkgc.nn.kge.multi_view.MultiViewModel`.

    The images of an entity are projected, :math:`\mathbf{p}_i = \mathbf{M}
    \mathbf{x}_i`, and aggregated by attention, :math:`\mathbf{e}_I = \sum_i
    a_i \mathbf{p}_i` with the :math:`a_i` of
    :func:`~pyg_mmkgc.nn.encoder.attention_weights`; several images are
    features of shape :obj:`[N, I, F]` with a mask :obj:`[N, I]`.

    The paper has one modality, images; any takes their place here, and with
    more than one the sum goes over all pairs of views. As in the public
    re-implementations, the projection has a bias, all vectors are normalised
    to length one (the paper bounds it), the energies are summed in one loss
    (the authors' code has a hinge for each), and triples are ranked by the sum
    (the authors' code by :math:`E_{II}`). Gradients go through the attention,
    which the authors' code takes for constant. The relation corruption of the
    authors' code is left out.

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
