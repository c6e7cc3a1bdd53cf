"""The calls that callbacks get, and early stopping on any metric."""

import pytest

from pyg_mmkgc.errors import ModelError
from pyg_mmkgc.evaluation import evaluate
from pyg_mmkgc.training import Callback, EarlyStopping
from pyg_mmkgc.training.trainer import CHECKPOINT


class Record(Callback):
    def __init__(self, stop_after=None):
        self.calls, self.stop_after = [], stop_after

    def on_fit_begin(self, trainer):
        self.calls.append(('begin', len(trainer.history.epochs)))

    def on_validation(self, trainer, epoch, metrics):
        self.calls.append(('validation', epoch))
        # The weights are still those of this epoch.
        assert metrics == evaluate(trainer.model, trainer.data,
                                   'val').metrics()

    def on_epoch_end(self, trainer, entry):
        assert trainer.history.epochs[-1] is entry
        assert ('val_hits@10' in entry) == (
            self.calls[-1] == ('validation', entry['epoch']))
        self.calls.append(('epoch', entry['epoch']))
        if entry['epoch'] == self.stop_after:
            trainer.stop()

    def on_fit_end(self, trainer):
        self.calls.append(('end', len(trainer.history.epochs)))


def test_calls(make):
    record = Record()
    make('pyg', epochs=5, valid_every=2, callbacks=[record]).fit()
    assert record.calls == [
        ('begin', 0), ('epoch', 1), ('validation', 2), ('epoch', 2),
        ('epoch', 3), ('validation', 4), ('epoch', 4), ('validation', 5),
        ('epoch', 5), ('end', 5)]


def test_an_error_ends_the_fit(make, interrupted, tmp_path):
    record = Record()
    interrupted(tmp_path, 'pyg', 5, callbacks=[record])
    assert record.calls == [('begin', 0), ('validation', 1), ('epoch', 1),
                            ('end', 1)]


def test_stop(make, tmp_path):
    history = make('pyg', epochs=9, valid_every=4, folder=tmp_path,
                   callbacks=[Record(stop_after=3)]).fit()
    assert history.stopped_early and len(history.epochs) == 3
    # The last epoch is in the checkpoint, although it was not due.
    record = Record()
    more = make('pyg', epochs=5, valid_every=4, folder=tmp_path,
                callbacks=[record])
    assert len(more.fit(resume=True).epochs) == 5
    assert record.calls[:2] == [('begin', 3), ('validation', 4)]
    assert (tmp_path / CHECKPOINT).is_file()


@pytest.mark.parametrize('stopping, values, stops_after', [
    (EarlyStopping('hits@1', 2), [.1, .3, .3, .2, .9, .1], 4),
    (EarlyStopping('mr', 2), [9, 5, 6, 4, 5, 4, 3], 6),
    (EarlyStopping('val_mr', 2), [9, 5, 6, 4, 5, 4, 3], 6),
    (EarlyStopping('mr', 2, mode='max'), [9, 5, 6, 4, 5, 4], 3),
    (EarlyStopping('mrr', 1, min_delta=.1), [.1, .3, .35, .9], 3),
    (EarlyStopping('mrr', 1), [.1, .3, .35, .9, .9, .9], 5),
    (EarlyStopping('mrr', 9), [.3, .2, .1, .1], None),
    (EarlyStopping('mrr', 2), [.3, .2, .1], None),  # After the last epoch.
])
def test_early_stopping(stopping, values, stops_after, make, monkeypatch):
    """After `patience` values that are not better than the best."""
    given = iter(values)

    class Result:
        def metrics(self):
            return {'mrr': 0.5} | {
                stopping.metric.removeprefix('val_'): next(given)}

    monkeypatch.setattr('pyg_mmkgc.training.trainer.evaluate',
                        lambda *args, **kwargs: Result())
    history = make('pyg', epochs=2 * len(values), valid_every=2,
                   callbacks=[stopping]).fit()
    assert history.stopped_early == (stops_after is not None)
    assert len(history.epochs) == 2 * (stops_after or len(values))


def test_early_stopping_on_the_loss(make):
    """The loss of a diverging training rises from epoch to epoch."""
    history = make('pyg', epochs=40, lr=5.0, valid_every=None,
                   callbacks=[EarlyStopping('loss', 2)]).fit()
    losses = [entry['loss'] for entry in history.epochs]
    assert history.stopped_early and 3 <= len(losses) < 40
    best = losses.index(min(losses))
    assert len(losses) == best + 3


def test_early_stopping_is_resumed(make, tmp_path):
    """It counts the validations before the interruption."""
    values = {'epochs': 30, 'lr': 0.5}
    whole = make('pyg', callbacks=[EarlyStopping('hits@3', 2)], **values)
    expected = whole.fit()
    assert expected.stopped_early and 3 <= len(expected.epochs) < 30
    for stop_after in (len(expected.epochs) - 1, len(expected.epochs)):
        folder = tmp_path / str(stop_after)
        make('pyg', folder=folder, callbacks=[Record(stop_after)],
             **values).fit()
        again = make('pyg', folder=folder,
                     callbacks=[EarlyStopping('hits@3', 2)],
                     **values).fit(resume=True)
        assert again.stopped_early
        assert len(again.epochs) == len(expected.epochs)


def test_patience_that_ends_with_the_training(make, tmp_path):
    """Only a longer training stops early."""
    def fit(epochs, resume=None, folder=tmp_path):
        return make('pyg', epochs=epochs, lr=0.5, patience=1,
                    folder=folder).fit(resume)

    count = len(fit(30, folder=None).epochs)
    assert count < 30
    for resume in (None, True):
        history = fit(count, resume)
        assert len(history.epochs) == count and not history.stopped_early
    history = fit(count + 1, resume=True)
    assert len(history.epochs) == count and history.stopped_early


def test_bad_arguments(make):
    with pytest.raises(ModelError, match="'patience' to be .*got 0"):
        EarlyStopping(patience=0)
    with pytest.raises(ModelError, match="'mode' to be .*got 'most'"):
        EarlyStopping(mode='most')
    with pytest.raises(ModelError, match="'min_delta' to be .*got -1"):
        EarlyStopping(min_delta=-1)
    with pytest.raises(ModelError, match="'metric' to be one of loss, mrr, "
                       r".*hits@10 \(got 'f1'\)"):
        make('pyg', callbacks=[EarlyStopping('f1')]).fit()
    with pytest.raises(ModelError, match="'metric' to be one of loss "
                       r"\(got 'mrr'\)"):
        make('pyg', valid_every=None, callbacks=[EarlyStopping()]).fit()
    with pytest.raises(ModelError, match="'callbacks' to be a list of "
                       r'Callback \(got <built-in function print>\)'):
        make('pyg', callbacks=[print])
    with pytest.raises(ModelError, match=r"'callbacks' .*\(got <.*EarlySto"):
        make('pyg', callbacks=EarlyStopping())


@pytest.mark.parametrize('options, warns', [
    ({'epochs': 5, 'valid_every': 3}, 2), ({'epochs': 3, 'valid_every': 5}, 1),
    ({'epochs': 5, 'valid_every': 2}, None), ({'epochs': 1}, None),
    ({'epochs': 2, 'valid_every': 1}, None), ({'valid_every': None}, None)])
def test_too_few_validations_to_choose_from(options, warns, make, recwarn):
    make('pyg', **options).fit()
    found = [x for x in recwarn if 'valid_every' in str(x.message)]
    if warns is None:
        assert not found
    else:
        warning, = found
        assert (f'(got {warns} in {options["epochs"]} epochs with '
                f'valid_every={options["valid_every"]})') in str(
                    warning.message)
        assert warning.filename == __file__


def test_a_schedule_is_extended(make, tmp_path):
    """The rest of the training follows the longer schedule, and says so."""
    options = {'lr_schedule': 'linear', 'valid_every': None}
    make('pyg', epochs=2, folder=tmp_path, **options).fit()
    longer = make('pyg', epochs=4, folder=tmp_path, **options)
    rates, run = [], longer.train_step

    def keep(batch, where):
        rates.append(longer.optimizers['model'].param_groups[0]['lr'])
        return run(batch, where)

    longer.train_step = keep
    with pytest.warns(UserWarning, match='extended from 6 to 12 steps.* '
                      'rises again') as found:
        assert len(longer.fit(resume=True).epochs) == 4
    assert found[0].filename == __file__
    assert rates == [pytest.approx(0.02 * (1 - i / 12)) for i in range(6, 12)]
