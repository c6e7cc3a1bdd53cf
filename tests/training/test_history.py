import json

from pyg_mmkgc.training import History


def test_plain_values_and_text() -> None:
    history = History(
        [{'epoch': 1, 'loss': 2.0, 'seconds': 1.5, 'val_mrr': 0.25},
         {'epoch': 2, 'loss': 1.0, 'seconds': 0.5}], 1, {'mrr': 0.25}, True)
    assert str(history) == ('2 epochs, loss 1.0000, 2.0 s, best validation '
                            'MRR 0.2500 at epoch 1, stopped early')
    again = History(**json.loads(json.dumps(history.to_dict())))
    assert again == history
    assert str(History()) == '0 epochs'
