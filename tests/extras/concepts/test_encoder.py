"""Codes from images: clusters of patches, what patches share, and the graph behind them."""

import itertools

import numpy as np
import pytest

pytest.importorskip("sklearn")
pytest.importorskip("networkx")

from robust_rl.errors import InvalidArgumentError
from robust_rl.extras.concepts import (
    ConceptEncoder,
    HierarchicalConceptDiscovery,
    code_accuracy,
    concept_images,
    skeleton_f1,
)
from robust_rl.extras.concepts.encoder import PatchMixtures
from robust_rl.extras.concepts.factoring import factor, shared_states


@pytest.mark.parametrize("concepts", [3, 5])
def test_codes_of_new_images_are_right(concepts):
    images, codes, _ = concept_images(concepts, n=3000, seed=200 + concepts)
    encoder = ConceptEncoder(n_concepts=concepts).fit(images[:2000])
    accuracy, order = code_accuracy(encoder.transform(images[2000:]), codes[2000:])
    assert accuracy > 0.95
    assert sorted(order) == list(range(concepts))
    assert all(concept.identified for concept in encoder.concepts_)
    assert encoder.n_components_[:concepts] == [4] * concepts


def test_images_give_the_graph_of_their_concepts():
    images, codes, truth = concept_images(6, n=4000, seed=201)
    found = ConceptEncoder(n_concepts=6).fit_transform(images)
    accuracy, order = code_accuracy(found, codes)
    assert accuracy > 0.95
    assert skeleton_f1(HierarchicalConceptDiscovery(n_states=2).fit(found[:, order]), truth.graph) == 1.0


def test_what_labels_share_is_found_among_all_combinations():
    states = np.array(list(itertools.product(range(3), repeat=3)) * 20)
    rng = np.random.default_rng(0)
    one = rng.permutation(9)[states[:, 0] * 3 + states[:, 1]]
    other = rng.permutation(9)[states[:, 1] * 3 + states[:, 2]]
    count, ours, theirs = shared_states(one, other)
    assert count == 3
    assert code_accuracy(ours[one][:, None], states[:, [1]])[0] == 1.0
    np.testing.assert_array_equal(ours[one], theirs[other])
    assert shared_states(states[:, 0], states[:, 2])[0] == 1


def test_a_concept_of_one_patch_is_marked_as_not_identified():
    states = np.array(list(itertools.product(range(2), repeat=2)) * 50)
    patch = states[:, 0] * 2 + states[:, 1]
    centres = np.array([[0.0, 0.0], [0.0, 1.0], [3.0, 0.1], [3.0, 1.1]])  # the second concept moves both by the same
    concepts = factor([states[:, 0], patch], [centres[[0, 2]], centres], 2)
    assert [concept.identified for concept in concepts] == [True, False]
    codes = np.stack([concept.codes([states[:, 0], patch], 2) for concept in concepts], axis=1)
    assert code_accuracy(codes, states)[0] == 1.0


def test_accuracy_is_of_the_best_names():
    true = np.random.default_rng(0).integers(2, size=(100, 3))
    found = np.stack([1 - true[:, 2], true[:, 0], true[:, 1]], axis=1)
    assert code_accuracy(found, true) == (1.0, [1, 2, 0])
    found[:10, 1] = 1 - found[:10, 1]
    assert code_accuracy(found, true)[0] == pytest.approx(1 - 0.1 / 3)


def test_errors_name_the_remedy():
    images, _, _ = concept_images(3, n=300, seed=1)
    with pytest.raises(InvalidArgumentError, match="must divide 8 and 8"):
        ConceptEncoder(patch_size=3).fit(images)
    with pytest.raises(InvalidArgumentError, match=r"n_concepts is 9; try another patch_size"):
        ConceptEncoder(n_concepts=9).fit(images)
    with pytest.raises(InvalidArgumentError, match="n, height, width"):
        ConceptEncoder().fit(images[0])
    with pytest.raises(InvalidArgumentError, match="3 to 6"):
        concept_images(7)


def test_a_fit_goes_on_where_it_stopped(tmp_path):
    images, _, _ = concept_images(3, n=300, seed=1)
    patches = ConceptEncoder()._patches(images)
    whole, part = PatchMixtures(patches, 2), PatchMixtures(patches, 2)
    while not whole.done:
        whole.step()
    part.step()
    part.save_checkpoint(tmp_path)
    again = PatchMixtures(patches, 2)
    again.load_checkpoint(tmp_path)
    while not again.done:
        again.step()
    for one, other, pixels in zip(whole.mixtures, again.mixtures, patches, strict=True):
        np.testing.assert_array_equal(one.predict(pixels), other.predict(pixels))
