"""Words, search, the grammar's judge, metrics, the loader, and the model's refusals and files."""

import io
import itertools
import os
import tarfile

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("zuko")

import torch
from hypothesis import given
from hypothesis import strategies as st

from robust_rl.errors import FileFormatError, InvalidArgumentError, UnknownNameError
from robust_rl.extras.matte import (
    MatteConfig,
    Sentences,
    StyleClassifier,
    TextMatte,
    TrigramModel,
    antonym_baseline,
    content_overlap,
    distinct_n,
    g_score,
    grammar_score,
    load_vader_domains,
    perplexity,
    self_bleu,
    synthetic_sentences,
    transfer_accuracy,
)
from robust_rl.extras.matte.search import beam_search
from robust_rl.extras.matte.vader import ARCHIVE, FILES
from robust_rl.extras.matte.vocabulary import END, Vocabulary, joined, words
from robust_rl.training import Trainer

TINY = {
    "c_dim": 3,
    "s_dim": 2,
    "enc_hidden": 8,
    "dec_hidden": 8,
    "embedding": 4,
    "domain_dim": 3,
    "flow_hidden": 8,
    "batch_size": 16,
}


@pytest.fixture(scope="module")
def model():
    data = synthetic_sentences(100, seed=0)
    return TextMatte(MatteConfig(**TINY, steps=3)).fit(data.labelled(5))


@given(st.lists(st.text(alphabet="abc'.,! é", min_size=1).filter(words), min_size=1, max_size=4))
def test_words_and_sentences_go_back_and_forth(texts):
    vocabulary = Vocabulary.of(texts)
    again = [vocabulary.decode(row) for row in vocabulary.encode(texts)]
    assert [words(text) for text in again] == [words(text) for text in texts]


def test_a_vocabulary_keeps_the_frequent_words():
    vocabulary = Vocabulary.of(["a b b", "b c c d"], size=2)
    assert vocabulary.known == ["b", "c"]
    assert Vocabulary.of(["a b b"], min_count=2).known == ["b"]
    ids = vocabulary.encode(["b b b b", "c"], max_tokens=2)
    assert ids.tolist() == [[4, 4, END], [5, END, 0]]


@pytest.mark.parametrize("seed", range(3))
def test_a_wide_beam_finds_the_likeliest_sentence(seed):
    """Against all sentences of at most three words over two words, under a random Markov chain."""
    generator = torch.Generator().manual_seed(seed)
    table = (2 * torch.randn(2, 6, 6, generator=generator)).log_softmax(2)
    table = table.masked_fill(torch.isin(torch.arange(6), torch.tensor([0, 2])), -torch.inf)  # no padding, no start

    def follow(last, rows, state):
        return table[rows, last], state

    found, scores = beam_search(follow, (torch.zeros(2, 1),), sentences=2, beams=40, max_tokens=3)
    for row in range(2):
        best = (-np.inf, ())
        for length in range(4):
            for body in itertools.product((1, 4, 5), repeat=length):
                path = (2, *body, END)
                best = max(best, (sum(table[row, a, b].item() for a, b in itertools.pairwise(path)), path[1:]))
        ended = found[row].tolist()
        assert scores[row].item() >= best[0] - 1e-5, "an unfinished one may be likelier"
        if END in ended:
            assert tuple(ended[: ended.index(END) + 1]) == best[1]


def test_the_grammar_is_judged_word_by_word():
    source = "the pasta with the sauce was bland , i hated it"
    outputs = {
        "the pasta with the sauce was tasty, i loved it": (1, 1, 1),
        "the pasta with the sauce was tasty, i hated it": (0, 1, 1),
        "the pasta with the sauce was thrilling, i loved it": (1, 1, 0),
        "the soup with the bread was tasty, i loved it": (1, 0, 1),
        "the pasta with the sauce was bland, i hated it": (0, 1, 1),
        "the pasta with the sauce was": (0, 1, 0),
        "the pasta with the sauce was tasty bland": (0, 1, 1),
    }
    for output, expected in outputs.items():
        found = grammar_score([output], [source], ["restaurant"], ["positive"])
        assert (found.flipped, found.noun_kept, found.domain_right) == expected
        assert found.all == float(all(expected))


def test_the_grammar_makes_sentences_whose_style_depends_on_the_domain():
    data = synthetic_sentences(4000, correlation=0.3, seed=1)
    good = {
        home: np.mean([s == "positive" for s, d in zip(data.styles, data.domains) if d == home]) for home in set(data.domains)
    }
    assert good["restaurant"] == pytest.approx(0.8, abs=0.06)
    assert good["movie"] == pytest.approx(0.2, abs=0.06)
    same = grammar_score(data.texts, data.texts, data.domains, data.styles)
    assert same.all == 1.0
    shown = data.labelled(7, "hotel")
    named = [(style, home) for style, home in zip(shown.styles, shown.domains) if style]
    assert len(named) == 14
    assert {home for _, home in named} == {"hotel"}


def test_metrics_against_hand_and_sacrebleu():
    import sacrebleu

    sources, outputs = ["the pasta was very bland", "a fine film"], ["the pasta was very tasty", "a dull film"]
    assert self_bleu(outputs, sources) == pytest.approx(sacrebleu.BLEU().corpus_score(outputs, [sources]).score)
    assert g_score([80, 0], [20, 0]) == pytest.approx(20.0)
    assert g_score([80, 0], [20, 0], "harmonic") == pytest.approx(16.0)
    assert g_score(0, 0) == g_score(0, 0, "harmonic") == 0
    assert distinct_n(["a b", "a b", "c"], 2) == 0.5
    assert content_overlap(outputs, sources, ignored={"a"}) == pytest.approx((4 / 5 + 1 / 2) / 2)
    assert antonym_baseline(["good and bad"]) == ["bad and good"]
    with pytest.raises(InvalidArgumentError, match="kind 'mean'"):
        g_score(1, 2, "mean")


def test_trigrams_are_distributions_and_perplexity_is_theirs():
    model = TrigramModel(["the pasta was bland", "the film was dull", "the pasta was dull"])
    for before in (("<s>", "<s>"), ("<s>", "the"), ("pasta", "was"), ("never", "seen"), ("never", "the")):
        assert sum(model.probability(word, before) for word in model.words) == pytest.approx(1)
    # p(film | <s> the): n = 1 of 3, two followers; below, "film" follows one kind of neighbour of two that "the" has
    unigram = (1 - 0.75) / 9 + 0.75 * 7 / 9 / 8  # nine bigram kinds, seven words in them; <unk> makes eight
    bigram = (1 - 0.75) / 2 + 0.75 * 2 / 2 * unigram
    assert model.probability("film", ("<s>", "the")) == pytest.approx((1 - 0.75) / 3 + 0.75 * 2 / 3 * bigram)
    logs = model.log_probabilities("the film was dull")
    assert perplexity(["the film was dull"], model) == pytest.approx(np.exp(-np.mean(logs)))
    assert perplexity(["dull was film the"], model) > perplexity(["the film was dull"], model)


def test_a_classifier_learns_the_grammar():
    data, other = synthetic_sentences(200, seed=0), synthetic_sentences(100, seed=1)
    classifier = StyleClassifier().fit(data.texts, data.styles)
    assert transfer_accuracy(other.texts, other.styles, classifier) == 1.0
    np.testing.assert_allclose(classifier.confidence(["nothing known"]).sum(), 1)


def test_a_saved_model_writes_the_same(model, tmp_path):
    model.save(tmp_path / "model.safetensors")
    again = TextMatte.load(tmp_path / "model.safetensors")
    ask = (["the pasta with the sauce was bland"], "restaurant")
    assert again.counterfactual(*ask, to="positive") == model.counterfactual(*ask, to="positive")
    assert again.influence() == model.influence()
    assert again.reconstruct(*ask) == model.reconstruct(*ask)
    (tmp_path / "broken.safetensors").write_bytes(b"no")
    with pytest.raises(FileFormatError):
        TextMatte.load(tmp_path / "broken.safetensors")


def test_a_counterfactual_takes_names_or_sentences(model):
    texts = ["the pasta with the sauce was bland"]
    good = Sentences(["the room with the bed was cozy"], ["hotel"])
    by_sentences = model.counterfactual(texts, "restaurant", to=good, source="negative", direction="classifier")
    assert by_sentences[0].source == texts[0]
    assert by_sentences[0].score < 0
    moved = model.counterfactual(texts, ["restaurant"], to_domain="movie", beams=1)
    assert np.isfinite([moved[0].c_shift, moved[0].s_shift]).all()


def test_words_the_decoder_is_not_told_are_a_share():
    network = TextMatte(MatteConfig(**TINY, steps=1, word_dropout=0.3)).fit(synthetic_sentences(50, seed=0)).network
    data = torch.full((200, 10), 9)
    inputs = network.decoder.inputs(data, torch.Generator().manual_seed(0))
    assert (inputs[:, 0] == 2).all()
    assert (inputs[:, 1:] == 1).float().mean().item() == pytest.approx(0.3, abs=0.03)
    assert (network.decoder.inputs(data, None)[:, 1:] == 9).all()


def test_training_lowers_the_loss_and_goes_on_where_it_was_stopped(tmp_path):
    data, config = synthetic_sentences(200, seed=0), MatteConfig(**TINY, steps=40, learning_rate=2e-2, jacobian_every=2)
    TextMatte(config).fit(data, run=tmp_path / "whole", checkpoint_every=20)
    TextMatte(config).fit(data, run=tmp_path / "parts", checkpoint_every=20, max_steps=17)
    TextMatte(config).fit(data, run=tmp_path / "parts", checkpoint_every=20)
    whole, parts = (Trainer(tmp_path / name).run.metrics() for name in ("whole", "parts"))
    losses = [line["train/loss"] for line in whole]
    assert losses == [line["train/loss"] for line in parts]
    assert np.mean(losses[-5:]) < 0.8 * np.mean(losses[:5])
    names = {f"train/{name}" for name in ("reconstruction", "kl_c", "kl_s", "sparse", "partial", "mask", "active_s", "open_c")}
    assert names <= whole[0].keys()
    with pytest.raises(InvalidArgumentError, match="another problem: its steps"):
        TextMatte(MatteConfig(**TINY, steps=41, learning_rate=2e-2, jacobian_every=2)).fit(data, run=tmp_path / "whole")


def test_bad_data_is_refused_with_the_offender(model):
    with pytest.raises(InvalidArgumentError, match=r"text 1 \('  '\) has no words"):
        Sentences(["fine", "  "], ["a", "b"])
    with pytest.raises(InvalidArgumentError, match="2 texts, 1 domains"):
        Sentences(["fine", "too"], ["a"])
    with pytest.raises(InvalidArgumentError, match="one domain"):
        TextMatte(MatteConfig(**TINY)).fit(Sentences(["fine", "too"], ["a", "a"]))
    with pytest.raises(UnknownNameError, match="unknown domain 'restaurants'; did you mean restaurant"):
        model.encode(["fine"], "restaurants")
    with pytest.raises(UnknownNameError, match="unknown style 'positiv'; did you mean positive"):
        model.counterfactual(["fine"], "hotel", to="positiv")
    with pytest.raises(InvalidArgumentError, match="give to="):
        model.counterfactual(["fine"], "hotel")
    with pytest.raises(InvalidArgumentError, match="no words"):
        model.counterfactual([""], "hotel", to="positive")


def archive(files):
    """Return a tar.gz of names and contents."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


def test_the_loader_reads_an_sdist_a_folder_and_its_files(tmp_path):
    files = {
        f"hutto/{name}": f"1_1\t1.5\tGood {i}\r\n1_2\t-2\tbad\r\n2_1\t0\tso so\r\n".encode()
        for i, name in enumerate(FILES.values())
    }
    inner = archive(files)
    (tmp_path / "vaderSentiment-3.3.2.tar.gz").write_bytes(archive({f"v/additional_resources/{ARCHIVE}": inner}))
    found = load_vader_domains(tmp_path / "vaderSentiment-3.3.2.tar.gz")
    assert len(found) == 12
    assert found.styles[:3] == ["positive", "negative", None]
    assert found.documents[:3] == ("product/1", "product/1", "product/2")
    assert load_vader_domains(tmp_path) == found
    (tmp_path / "plain").mkdir()
    for name, content in files.items():
        (tmp_path / "plain" / name.split("/")[1]).write_bytes(content)
    assert load_vader_domains(tmp_path / "plain") == found
    learned, away = found.split(held_out=0.25, seed=0)
    assert not set(learned.documents) & set(away.documents)
    assert len(learned) + len(away) == 12
    with pytest.raises(InvalidArgumentError, match="pip download"):
        load_vader_domains(tmp_path / "nowhere")
    (tmp_path / "plain" / FILES["tweet"]).unlink()
    (tmp_path / "plain" / FILES["tweet"]).mkdir()
    with pytest.raises(FileFormatError, match="plain is no sound folder of the texts"):
        load_vader_domains(tmp_path / "plain")
    (tmp_path / "plain" / FILES["tweet"]).rmdir()
    (tmp_path / "plain" / FILES["tweet"]).write_text("no tabs here")
    with pytest.raises(FileFormatError, match="line 1: expected id, rating and text"):
        load_vader_domains(tmp_path / "plain")


SDIST = os.environ.get("VADER_SDIST", "")


@pytest.mark.skipif(not SDIST, reason="set VADER_SDIST to vaderSentiment-3.3.2.tar.gz; pip download has it")
def test_the_real_archive_holds_what_is_said_of_it():
    """Rows, and rows rated above and below 0, as counted from the files by another program."""
    found = load_vader_domains(SDIST)
    counts = {
        "product": (3708, 2128, 1482),
        "movie": (10605, 5242, 5326),
        "editorial": (5190, 2204, 2742),
        "tweet": (4200, 2897, 1299),
    }
    for domain, expected in counts.items():
        ratings = np.array([rating for rating, home in zip(found.ratings, found.domains, strict=True) if home == domain])
        assert (len(ratings), (ratings > 0).sum(), (ratings < 0).sum()) == expected


def test_sentences_are_joined_as_people_write_them():
    assert joined(words("Good, isn't it?")) == "good, isn't it?"
