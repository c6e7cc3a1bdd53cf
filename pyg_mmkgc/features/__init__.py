r"""Feature tables from raw images, texts and numbers (extra ``features``)."""
from pyg_mmkgc.features.catalogue import make_encoder
from pyg_mmkgc.features.descriptor import DescriptorEncoder, HashingEncoder
from pyg_mmkgc.features.encoder import Encoder, FunctionEncoder
from pyg_mmkgc.features.extract import extract
from pyg_mmkgc.features.folder import FeatureFolder, load_feature_folder
from pyg_mmkgc.features.inspect import FeatureReport, inspect_features
from pyg_mmkgc.features.items import Item
from pyg_mmkgc.features.numbers import extract_numbers, read_numbers
from pyg_mmkgc.features.pooling import mean_pool
from pyg_mmkgc.features.sources import read_folder, read_table
from pyg_mmkgc.features.textual import (
    BERTEncoder,
    SentenceEncoder,
    WordPieceEncoder,
)
from pyg_mmkgc.features.visual import TimmEncoder, TransformersEncoder

__all__ = classes = [
    'Encoder',
    'FeatureFolder',
    'FeatureReport',
    'FunctionEncoder',
    'Item',
    'BERTEncoder',
    'DescriptorEncoder',
    'HashingEncoder',
    'SentenceEncoder',
    'TimmEncoder',
    'TransformersEncoder',
    'WordPieceEncoder',
    'extract',
    'extract_numbers',
    'inspect_features',
    'load_feature_folder',
    'make_encoder',
    'mean_pool',
    'read_folder',
    'read_numbers',
    'read_table',
]
