r"""Trains AdaMF-MAT in a plain PyG loop, with one optimizer and PyG's triplet
loader.
"""

import argparse

import torch

from pyg_mmkgc import AdaMFMAT, evaluate
from pyg_mmkgc.datasets import Countries

parser = argparse.ArgumentParser()
parser.add_argument('--hidden_channels', type=int, default=64)
parser.add_argument('--batch_size', type=int, default=512)
parser.add_argument('--lr', type=float, default=0.003)
parser.add_argument('--epochs', type=int, default=20)
parser.add_argument('--seed', type=int, default=0)
args = parser.parse_args()

torch.manual_seed(args.seed)
device = torch.device('cuda' if torch.cuda.is_available() else 'cpu')

kg = Countries()[0]
train_kg = kg.split('train')

model = AdaMFMAT.from_data(kg, hidden_channels=args.hidden_channels)
model = model.to(device)
optimizer = torch.optim.Adam(model.parameters(), lr=args.lr)

loader = model.loader(
    head_index=train_kg.edge_index[0].to(device),
    rel_type=train_kg.edge_type.to(device),
    tail_index=train_kg.edge_index[1].to(device),
    batch_size=args.batch_size,
    shuffle=True,
)


def train() -> float:
    model.train()
    total_loss = total_examples = 0
    for head_index, rel_type, tail_index in loader:
        optimizer.zero_grad()
        loss = model.loss(head_index, rel_type, tail_index)
        loss.backward()
        optimizer.step()
        total_loss += float(loss.detach()) * head_index.numel()
        total_examples += head_index.numel()
    return total_loss / total_examples


def test(split: str):
    model.eval()
    return evaluate(model, kg, split)


for epoch in range(1, args.epochs + 1):
    print(f'Epoch: {epoch:03d}, Loss: {train():.4f}')
    if epoch % 5 == 0:
        print(f'Epoch: {epoch:03d}, Val MRR: {test("val").mrr:.4f}')

print(test('test'))
