"""The table of recipes: its laws, and what makes weights stale."""

from __future__ import annotations

from dataclasses import replace

import pytest

from dissensus.demo import classical, networks, other
from dissensus.demo.families import FULL, SMALL, recipes_for
from dissensus.demo.recipes import BASE, CATEGORIES, METHODS, REINITIALISATION, Recipe, Training

ZOOS = {"digits": recipes_for(8, flips=False), "fashion-mnist": recipes_for(28, flips=True)}


@pytest.mark.parametrize(("name", "least"), [("digits", 20), ("fashion-mnist", 40)])
def test_zoo_is_large_enough_and_spans_all_categories(name, least):
    zoo = ZOOS[name]
    assert len(zoo) >= least
    assert {recipe.category for recipe in zoo} == set(CATEGORIES)
    assert [recipe.model_id for recipe in zoo if recipe.category == BASE] == ["base"]


@pytest.mark.parametrize("zoo", ZOOS.values(), ids=ZOOS)
def test_ids_and_digests_are_unique(zoo):
    assert len({recipe.model_id for recipe in zoo}) == len(zoo)
    assert len({recipe.digest("data") for recipe in zoo}) == len(zoo)


@pytest.mark.parametrize("zoo", ZOOS.values(), ids=ZOOS)
def test_every_name_in_a_recipe_is_known(zoo):
    import timm

    for recipe in zoo:
        assert recipe.method in METHODS
        assert recipe.images in other.SUBSETS
        assert (recipe.pretraining_images in other.FOREIGN) == (recipe.method == "transfer")
        if recipe.is_timm:
            assert timm.is_model(recipe.architecture.removeprefix("timm/"))
        else:
            assert recipe.architecture in {**networks.BODIES, **classical.ESTIMATORS}


@pytest.mark.parametrize("zoo", ZOOS.values(), ids=ZOOS)
def test_reinitialised_models_differ_from_the_base_model_in_the_seed_only(zoo):
    base = next(recipe for recipe in zoo if recipe.category == BASE)
    again = [recipe for recipe in zoo if recipe.category == REINITIALISATION]
    as_base = {"model_id": "base", "category": BASE, "note": base.note, "seed": base.seed}
    assert len(again) >= 3
    assert all(recipe.seed != base.seed and replace(recipe, **as_base) == base for recipe in again)


def test_flips_only_where_mirrored_images_are_natural():
    assert any(recipe.training and recipe.training.flip for recipe in ZOOS["fashion-mnist"])
    assert not any(recipe.training and recipe.training.flip for recipe in recipes_for(28, flips=False))


def test_small_images_get_the_small_zoo():
    assert recipes_for(8, flips=False)[0].training == SMALL.base
    assert recipes_for(28, flips=True)[0].training == FULL.base


@pytest.mark.parametrize("zoo", ZOOS.values(), ids=ZOOS)
def test_json_round_trip_keeps_the_digest(zoo):
    for recipe in zoo:
        assert Recipe.from_json(recipe.to_json()).digest("data") == recipe.digest("data")


def test_digest_changes_with_what_is_trained_and_not_with_words():
    recipe = Recipe("a", "base", "supervised", "mlp", "a note", {"hidden": 8}, Training(epochs=1, lr=0.1))
    digest = recipe.digest("data")
    assert replace(recipe, note="another", category="architecture").digest("data") == digest
    changed = [
        recipe.digest("other data"),
        replace(recipe, seed=1).digest("data"),
        replace(recipe, options={"hidden": 9}).digest("data"),
        replace(recipe, training=Training(epochs=2, lr=0.1)).digest("data"),
        replace(recipe, images="half").digest("data"),
    ]
    assert len({digest, *changed}) == 6
