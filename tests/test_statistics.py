"""Means, intervals and verdicts against tabulated values; SSR tables against hand counts."""

import math

import numpy as np
import pandas as pd
import pytest

from utils import statistics

T_2, T_4 = 4.302653, 2.776445  # Student t, 97.5 %, 2 and 4 degrees of freedom


def test_mean_interval():
    mean, half = statistics.mean_interval([1, 2, 3])
    assert mean == 2 and half == pytest.approx(T_2 * 1 / math.sqrt(3), rel=1e-6)
    mean, half = statistics.mean_interval([2, 4, 4, 4, 6])
    assert mean == 4
    assert half == pytest.approx(T_4 * math.sqrt(2) / math.sqrt(5), rel=1e-6)
    assert math.isnan(statistics.mean_interval([5])[1])
    assert all(map(math.isnan, statistics.mean_interval([])))
    assert statistics.interval_text([1, 2, 3], ".2f") == "2.00 ± 2.48"
    assert statistics.interval_text([5], ".1f") == "5.0"
    assert statistics.interval_text([], ".1f") == "-"


def test_intervals_cover_the_truth_as_often_as_they_say():
    samples = np.random.default_rng(0).normal(3, 2, (2000, 4))
    covered = [abs(mean - 3) <= half for mean, half in map(statistics.mean_interval, samples)]
    assert abs(np.mean(covered) - 0.95) < 0.015  # 3 standard deviations


@pytest.mark.parametrize(
    "values, outcome",
    [
        ([3.1, 3.2, 3.3], "reproduced"),
        ([1.0, 1.1, 0.9], "not reproduced"),
        ([1.0, 3.0, 5.0], "inconclusive"),  # holds the published value and no effect
        ([2.0, 2.01, 1.99], "not reproduced"),  # an effect, but another one
        ([3.19], "inconclusive"),
    ],
)
def test_verdict(values, outcome):
    assert statistics.verdict(values, published=3.19, no_effect=1) == outcome


def test_exceeds():
    assert statistics.exceeds([7.0, 7.1, 7.2], 6) == "reproduced"
    assert statistics.exceeds([5.0, 5.1, 5.2], 6) == "not reproduced"
    assert statistics.exceeds([5.0, 7.1, 7.2], 6) == "inconclusive"
    assert statistics.exceeds([70.0], 6) == "inconclusive"


def test_claims_are_judged_at_the_published_scale_only():
    labels = {"dataset": "CIFAR-10", "scale": "full"}
    assert statistics.claim([7, 7.1, 7.2], "reproduced", labels, " points") == (
        "Here 7.10 ± 0.25 points, n = 3: reproduced."
    )
    for change in ({"scale": "quick"}, {"dataset": "PLANTED CUES"}):
        line = statistics.claim([7, 7.1, 7.2], "reproduced", labels | change, "x")
        assert "not judged" in line and "reproduced" not in line
    changed = labels | {"scale": "full, changed: epochs"}
    assert "not judged" in statistics.claim([7], "reproduced", changed, "x")


def spectra(runs):
    """Rows of two 3x3 layers at epochs 0, 1, 2 from energies by (run, layer, epoch)."""
    rows = [
        {
            "configuration": configuration,
            "seed": seed,
            "epoch": epoch,
            "layer": layer,
            "weights": weights,
            "radius": radius,
            "multiplicity": multiplicity,
            "energy": energy,
        }
        for (configuration, seed), layers in runs.items()
        for weights in ("raw", "folded")
        for layer, epochs in layers.items()
        for epoch, energies in enumerate(epochs)
        for radius, multiplicity, energy in zip((0, 1 / 3, math.sqrt(2) / 3), (1, 4, 4), energies)
    ]
    return pd.DataFrame(rows)


def test_suppression_by_hand():
    white = (1, 4, 4)
    table = statistics.suppression_table(
        spectra(
            {
                ("baseline", 0): {
                    "first": [white, (2, 4, 4), (1, 4, 4)],
                    "second": [white, white, (5, 4, 1)],
                },
                ("l2", 0): {
                    "first": [white, (2, 4, 4), (4, 4, 0)],
                    "second": [white, white, (5, 5, 0)],
                },
                ("l2", 1): {"first": [white, white]},  # not finished: left out
            }
        ),
        cutoff=0.25,
    )
    assert set(table.seed) == {0}
    rows = table[table.weights == "raw"].set_index(["configuration", "layer"])
    # baseline: shares 8/9 -> 8/9 and 8/9 -> 1/2; l2: 8/9 -> 1/2 both times.
    assert rows.ssr["baseline", "first"] == pytest.approx(0)
    assert rows.ssr["baseline", "second"] == pytest.approx(1 - 9 / 16)
    assert rows.ssr["baseline", "all (mean)"] == pytest.approx((1 - 9 / 16) / 2)
    assert rows.ssr["baseline", "hidden (mean)"] == pytest.approx(1 - 9 / 16)
    pooled = 1 - (13 / 19) / (16 / 18)
    assert rows.ssr["baseline", "all (energy-weighted)"] == pytest.approx(pooled)
    assert rows.corner_final["baseline", "second"] == pytest.approx(0.1)
    assert rows.share_ratio["l2", "first"] == pytest.approx((8 / 9) / (1 / 2))
    assert rows.energy_ratio["l2", "first"] == pytest.approx((8 / 8) / (4 / 8))
    assert rows.energy_ratio["l2", "second"] == pytest.approx((5 / 8) / (5 / 8))
    assert rows.share_ratio.isna()["baseline"].all()
    # Published: h is the sum of density / density at 0: 2/2 after epoch 1; then 2/1 and 1/4.
    assert rows.published_ssr["baseline", "first"] == pytest.approx(1 - 2 / 1)
    assert rows.published_ssr["l2", "first"] == pytest.approx(1 - 0.25)
    assert rows.published_ratio["l2", "first"] == pytest.approx(-1 / 0.75)
    assert rows.published_ssr.notna().sum() == 2  # of the first layer, raw, alone
    assert table[table.weights == "folded"].published_ssr.isna().all()
