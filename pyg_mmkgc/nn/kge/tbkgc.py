from __future__ import annotations

from torch import Tensor

from pyg_mmkgc.nn.kge.multi_view import MultiViewModel


class TBKGC(MultiViewModel):
    r"""The model of the `"A Multimodal Translation-Based Approach for
    Knowledge Graph Representation Learning"
    <https://aclanthology.org/S18-2027>`_ paper.

    .. math::
        E(h, r, t) = E_{SS} + E_{MM} + E_{MS} + E_{SM} + E_{(S+M)(S+M)},
        \qquad E_{XY} = \| \hat{\mathbf{h}}_X + \hat{\mathbf{r}} -
        \hat{\mathbf{t}}_Y \|_1, \qquad s = \gamma - E

    as :class:`~pyg_mmkgc.nn.kge.multi_view.MultiViewModel` scores a list of
    pairs, where :math:`M` is a projection of the features of all modalities,
    side by side, and :math:`S + M` the sum of both embeddings.

    The authors' code passes structural embeddings of a trained TransE and
    features through layers with a tanh, which are all it trains. Here, as in
    the public re-implementations that the published tables rest on, the
    structural embeddings are learnt, the projection is linear, and all
    vectors are normalised to length one. Those give each modality a half of
    the channels of :math:`M`; here all share them, as in the paper.

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
