from __future__ import annotations

from torch import Tensor

from pyg_mmkgc.nn.kge.multi_view import MultiViewModel


class TBKGC(MultiViewModel):
    r"""The TBKGC model from the `"A Multimodal Translation-Based Approach for
    Knowledge Graph Representation Learning"
    <https://aclanthology.org/S18-2027>`_ paper.

    .. math::
        E(h, r, t) = E_{SS} + E_{MM} + E_{MS} + E_{SM} + E_{(S+M)(S+M)},
        \qquad E_{XY} = \| \hat{\mathbf{h}}_X + \hat{\mathbf{r}} -
        \hat{\mathbf{t}}_Y \|_1, \qquad s = \gamma - E

    where :math:`S` is the structural embedding, :math:`M` is a projection of
    the concatenated features of all modalities, and :math:`S + M` is the sum
    of the two embeddings. :class:`~pyg_mmkgc.nn.kge.multi_view.MultiViewModel`
    scores the pairs of views.

    The authors' code passes the features and the structural embeddings of a
    trained TransE through tanh layers, and trains only these layers. Here, as
    in the public re-implementations behind the published tables, the
    structural embeddings are trained, the projection is linear, and all
    vectors are normalized to length one. The re-implementations assign half of
    the channels of :math:`M` to each modality. Here, as in the paper, all
    modalities share all channels.

    Args:
        num_nodes (int): The number of nodes/entities :obj:`N` in the graph.
        num_relations (int): The number of relations in the graph.
        hidden_channels (int): The width of an embedding.
        **kwargs (optional): Additional arguments of
            :class:`~pyg_mmkgc.nn.kge.multi_view.MultiViewModel`.
    """
    @property
    def pairs(self) -> list[tuple[int, int]]:
        return [(0, 0), (1, 1), (1, 0), (0, 1), (2, 2)]

    def parts(self, views: dict[str, Tensor]) -> list[Tensor]:
        structure, modal = views['structure'], self.modal(views)
        return [structure, modal, structure + modal]
