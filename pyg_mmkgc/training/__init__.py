r"""Trainers and adversaries."""
from .adversarial_trainer import AdversarialTrainer
from .adversary import Adversary
from .batch import Batch
from .comat import CoMAT
from .history import History
from .kbgan import KBGAN
from .mat import MAT
from .trainer import Trainer

__all__ = classes = [
    'Trainer',
    'AdversarialTrainer',
    'Adversary',
    'MAT',
    'CoMAT',
    'KBGAN',
    'Batch',
    'History',
]
