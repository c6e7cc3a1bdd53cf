"""MRP by ranking every triple in a loop."""

import pytest
import torch

from pyg_mmkgc.nn.kge.rsme import mean_rank_percentage

N, R = 8, 4


def test_by_loops() -> None:
    x = torch.randn(N, 3, dtype=torch.double)
    x[5] = x[2]  # Nodes that tie.
    edge_index = torch.randint(N, (2, 20))
    edge_index[:, 0] = torch.tensor([2, 5])
    edge_type = torch.randint(R - 1, (20, ))
    out = mean_rank_percentage(x, edge_index, edge_type, R)
    for r in range(R):
        shares = []
        for h, t, rel in zip(*edge_index.tolist(), edge_type.tolist()):
            if rel != r:
                continue
            for a, b in ((h, t), (t, h)):
                own = float(x[a] @ x[b])
                others = [float(x[a] @ x[n]) for n in range(N) if n != b]
                shares.append(sum(
                    1.0 if s > own + 1e-12 else 0.5 if s > own - 1e-12 else 0
                    for s in others) / (N - 1))
        wanted = sum(shares) / len(shares) if shares else 0.5
        assert out[r].item() == pytest.approx(wanted)


def test_extremes() -> None:
    """Zero where the true node is nearest, one where it is farthest."""
    x = torch.tensor([[1., 0.], [1., 0.1], [-1., 0.]])
    edge_index = torch.tensor([[0, 0], [1, 2]])
    out = mean_rank_percentage(x / x.norm(dim=1, keepdim=True), edge_index,
                               torch.tensor([0, 1]), 2)
    # Node 0 is nearer to itself than to node 1: one of two others.
    assert out.tolist() == [0.5, 1.0]
