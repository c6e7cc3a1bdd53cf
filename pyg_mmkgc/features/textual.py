r"""Textual encoders of transformers and sentence-transformers."""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Iterable
from typing import Any, Union

import torch
from torch import Tensor

from pyg_mmkgc.errors import MMKGCError, check_whole
from pyg_mmkgc.features.items import Item
from pyg_mmkgc.features.reading import read_item
from pyg_mmkgc.features.weights import (
    PretrainedEncoder,
    from_hub,
    load_library,
    load_pair,
    model_name,
)


class _TokenizedEncoder(PretrainedEncoder):
    r"""An encoder by a model of :obj:`transformers` and its tokenizer.

    Args:
        library (str): The prefix of the names of such encoders.
        model (str or transformers.PreTrainedModel): The name or folder of a
            pre-trained model, or a model.
        tokenizer (transformers.PreTrainedTokenizerBase or None): The
            tokenizer. If set to :obj:`None`, it is loaded with the model.
        revision (str or None): The branch, tag or commit of the model on the
            hub.
        device (torch.device or str): The device.
        **options (optional): Further options that determine the vectors.
    """
    kind = 'text'

    def __init__(self, library: str, model: Any, tokenizer: Any,
                 revision: str | None, device: Union[str, torch.device],
                 **options: Any) -> None:
        name = model_name(library, model)
        model, tokenizer = load_pair(model, tokenizer, 'AutoTokenizer',
                                     revision)
        super().__init__(
            name, model, device, architecture=type(model).__name__,
            preprocessing={'class': type(tokenizer).__name__,
                           'vocabulary': len(tokenizer), **options})
        self.tokenizer = tokenizer
        self.prepare = str


class BERTEncoder(_TokenizedEncoder):
    r"""The output of a model of :obj:`transformers` at the first token of a
    text, which is :obj:`[CLS]` for BERT.

    Args:
        model (str or transformers.PreTrainedModel): The name or folder of a
            pre-trained model, or a model.
        tokenizer (transformers.PreTrainedTokenizerBase, optional): The
            tokenizer. If set to :obj:`None`, it is loaded with the model.
            (default: :obj:`None`)
        revision (str, optional): The branch, tag or commit of the model on
            the hub. (default: :obj:`None`)
        max_length (int, optional): The number of tokens after which a text
            is cut off. (default: :obj:`512`)
        device (torch.device or str, optional): The device.
            (default: :obj:`"cpu"`)

    Raises:
        DownloadError: If the weights cannot be found or downloaded.
    """
    def __init__(
        self,
        model: Any,
        tokenizer: Any = None,
        revision: str | None = None,
        max_length: int = 512,
        device: Union[str, torch.device] = 'cpu',
    ) -> None:
        super().__init__('bert', model, tokenizer, revision, device,
                         max_length=max_length)
        self.max_length = max_length

    def encode(self, batch: list[str]) -> Tensor:
        tokens = self.tokenizer(batch, padding=True, truncation=True,
                                max_length=self.max_length,
                                return_tensors='pt').to(self.device)
        return self.model(**tokens).last_hidden_state[:, 0]


class WordPieceEncoder(_TokenizedEncoder):
    r"""The input embeddings of the word pieces of texts, which are the tokens
    of :class:`~pyg_mmkgc.nn.MyGO`.

    :func:`~pyg_mmkgc.features.extract` encodes the most frequent word pieces
    in the texts of an entity instead of the texts, without stop words and
    punctuation. Equally frequent pieces are taken in the order in which they
    occur. With :obj:`pool="all"`, each piece is a row of the entity.

    Args:
        model (str or transformers.PreTrainedModel): The name or folder of a
            pre-trained model of :obj:`transformers`, or a model.
        tokenizer (transformers.PreTrainedTokenizerBase, optional): The
            tokenizer. If set to :obj:`None`, it is loaded with the model.
            (default: :obj:`None`)
        revision (str, optional): The branch, tag or commit of the model on
            the hub. (default: :obj:`None`)
        num_tokens (int, optional): The maximum number of word pieces of an
            entity. (default: :obj:`8`)
        device (torch.device or str, optional): The device.
            (default: :obj:`"cpu"`)

    Raises:
        DownloadError: If the weights cannot be found or downloaded.
        MMKGCError: If :obj:`transformers` or :obj:`scikit-learn`, which lists
            the stop words, is not installed.
    """
    def __init__(
        self,
        model: Any,
        tokenizer: Any = None,
        revision: str | None = None,
        num_tokens: int = 8,
        device: Union[str, torch.device] = 'cpu',
    ) -> None:
        check_whole(num_tokens=num_tokens)
        library = load_library('sklearn')
        words = load_library('sklearn.feature_extraction.text')
        super().__init__('word-pieces', model, tokenizer, revision, device,
                         num_tokens=num_tokens,
                         stop_words=f'scikit-learn {library.__version__}')
        self.num_tokens = num_tokens
        self.stop_words = words.ENGLISH_STOP_WORDS

    def expand(self, items: Iterable[Item]) -> list[Item]:
        r"""Returns an item for each word piece to encode. Texts of entities
        without any word piece are kept as unusable items.

        Args:
            items (iterable[Item]): The texts.
        """
        texts: dict[str, list[Item]] = {}
        for item in items:
            texts.setdefault(item.entity, []).append(item)
        out = []
        for entity, rows in texts.items():
            read = [read_item(item, self.kind) for item in rows]
            # A counter keeps the order in which pieces occur.
            pieces = Counter(piece for sample in read if sample.reason == ''
                             for piece in self._pieces(sample.value))
            best = pieces.most_common(self.num_tokens)
            out += [Item(entity, piece, f'word piece {i}')
                    for i, (piece, _) in enumerate(best, start=1)]
            if not best:
                out += [item._replace(problem=sample.reason or
                                      'no word pieces except for stop words')
                        for item, sample in zip(rows, read, strict=True)]
        return out

    def _pieces(self, text: Any) -> list[str]:
        # Bytes that are not UTF-8 were read as surrogates.
        pieces = self.tokenizer.tokenize(text.encode(
            'utf-8', 'replace').decode('utf-8'))
        return [piece for piece in pieces if piece not in self.stop_words
                and any(char.isalnum() for char in piece)
                and piece not in self.tokenizer.all_special_tokens]

    def encode(self, batch: list[str]) -> Tensor:
        index = torch.tensor(self.tokenizer.convert_tokens_to_ids(batch),
                             device=self.device)
        return self.model.get_input_embeddings()(index)


class SentenceEncoder(PretrainedEncoder):
    r"""A model of :obj:`sentence-transformers`, version 6.0 or newer.

    Args:
        model (str or sentence_transformers.SentenceTransformer): The name or
            folder of a pre-trained model, or a model.
        revision (str, optional): The branch, tag or commit of the model on
            the hub. (default: :obj:`None`)
        device (torch.device or str, optional): The device.
            (default: :obj:`"cpu"`)

    Raises:
        DownloadError: If the weights cannot be found or downloaded.
        MMKGCError: If the library is not installed, or too old.
    """
    kind = 'text'

    def __init__(
        self,
        model: Any,
        revision: str | None = None,
        device: Union[str, torch.device] = 'cpu',
    ) -> None:
        name = model_name('sentence-transformers', model)
        if isinstance(model, str):
            library = load_library('sentence_transformers')
            # Older versions may run code from the folder of a model.
            if int(library.__version__.partition('.')[0]) < 6:
                raise MMKGCError("Expected 'sentence_transformers' to be 6.0 "
                                 f'or newer (got {library.__version__}). '
                                 'Run: pip install "pyg_mmkgc[features]"')
            load = functools.partial(library.SentenceTransformer,
                                     device='cpu')
            model = from_hub(load, model, revision)
        super().__init__(name, model, device, preprocessing={
            'max_length': model.get_max_seq_length(),
            'modules': [str(module) for module in model],
        })
        self.prepare = str

    def encode(self, batch: list[str]) -> Tensor:
        return self.model.encode(batch, batch_size=len(batch),
                                 convert_to_tensor=True,
                                 show_progress_bar=False)
