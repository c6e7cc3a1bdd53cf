r"""Trainers, adversaries and callbacks."""
from .adversarial_trainer import AdversarialTrainer
from .adversary import Adversary
from .batch import Batch
from .callbacks import Callback, EarlyStopping
from .club import CLUB
from .comat import CoMAT
from .ensemble import fit_ensemble
from .history import History
from .kbgan import KBGAN
from .maco import MACO, fill_missing
from .mat import MAT
from .perturbation import Perturbation
from .row_adagrad import RowAdagrad
from .tracking import CSVLogger, TensorBoard, WandB
from .trainer import Trainer
from .weights import WeightFit, fit_weights

__all__ = classes = [
    'Trainer',
    'AdversarialTrainer',
    'Adversary',
    'MAT',
    'CoMAT',
    'CLUB',
    'KBGAN',
    'Perturbation',
    'MACO',
    'fill_missing',
    'fit_ensemble',
    'fit_weights',
    'WeightFit',
    'RowAdagrad',
    'Batch',
    'Callback',
    'EarlyStopping',
    'CSVLogger',
    'TensorBoard',
    'WandB',
    'History',
]
