"""Means, intervals and verdicts against tabulated values; SSR tables against hand counts."""

import math

import numpy as np
import pandas as pd
import pytest
import scipy.stats

from utils.evidence import intervals, paper, robustness, suppression, verdicts

T_2, T_4 = 4.302653, 2.776445  # Student t, 97.5 %, 2 and 4 degrees of freedom


def test_mean_interval():
    mean, low, high = intervals.interval([1, 2, 3])
    assert mean == 2 and high - mean == pytest.approx(T_2 * 1 / math.sqrt(3), rel=1e-6)
    assert mean - low == pytest.approx(high - mean)
    mean, low, high = intervals.interval([2, 4, 4, 4, 6])
    assert mean == 4
    assert high - mean == pytest.approx(T_4 * math.sqrt(2) / math.sqrt(5), rel=1e-6)
    assert math.isnan(intervals.interval([5])[1])
    assert all(map(math.isnan, intervals.interval([])))
    assert intervals.interval_text([1, 2, 3], ".2f") == "2.00 ± 2.48"
    assert intervals.interval_text([5], ".1f") == "5.0"
    assert intervals.interval_text([], ".1f") == "-"


def test_intervals_cover_the_truth_as_often_as_they_say():
    samples = np.random.default_rng(0).normal(3, 2, (2000, 4))
    covered = [low <= 3 <= high for _, low, high in map(intervals.interval, samples)]
    assert abs(np.mean(covered) - 0.95) < 0.015  # 3 standard deviations


def numbers(n, seeds, lost, rng):
    """Accuracies of baseline, L2 and dropout with a common part by seed; some runs lost."""
    common = dict(zip(seeds, rng.normal(50, 10, len(seeds))))
    rows = [
        (name, seed, common[seed] + rng.normal(shift, 1))
        for seed in seeds
        for name, shift in (("baseline", 0), ("l2=0.001", 2), ("dropout=0.5", -2))
        if (name, seed) not in lost
    ]
    return pd.DataFrame(rows, columns=["configuration", "seed", "x"]).sample(frac=1, random_state=n)


@pytest.mark.parametrize("n", range(20))
def test_paired_differences_equal_scipys(n):
    """On random tables with seeds in any order, some of them lost: t-tests of pairs by scipy."""
    rng = np.random.default_rng(n)
    seeds = rng.permutation(100)[: 1 + n % 7]
    runs = [(name, seed) for name in ("baseline", "l2=0.001") for seed in seeds]
    lost = [runs[i] for i in rng.permutation(len(runs))[: n % 3]] if len(seeds) > 2 else []
    table = numbers(n, seeds, lost, rng)
    table["difference"] = intervals.minus_baseline(table, "x")
    assert table[table.configuration == "baseline"].difference.isna().all()
    wide = table.pivot(index="seed", columns="configuration", values="x").dropna()
    found = table[table.configuration == "l2=0.001"].difference
    assert found.notna().sum() == len(wide)
    mean, low, high = intervals.interval(found)
    assert mean == pytest.approx((wide["l2=0.001"] - wide.baseline).mean())
    if len(wide) < 2:
        assert math.isnan(low) and math.isnan(high)
        return
    test = scipy.stats.ttest_rel(wide["l2=0.001"], wide.baseline)
    expected = test.confidence_interval(0.95)
    assert (low, high) == (pytest.approx(expected.low), pytest.approx(expected.high))
    # The verdict is that of the two-sided test at 5 %.
    claim = paper.Claim("", "", 1)
    verdict = "undecided"
    if test.pvalue < 0.05:
        verdict = "holds" if test.statistic > 0 else "contradicted"
    assert verdicts.judge(claim, found)["direction"] == verdict
    # As a table of accuracies, the same is a lead, and what goes beyond the clean lead.
    clean = table.assign(images="test", corruption="none", level=0.0).rename(
        columns={"x": "accuracy"}
    )
    noisy = clean.assign(corruption="noise", level=0.1, accuracy=2 * clean.accuracy)
    leads = robustness.leads(pd.concat([clean, noisy]))
    leads = leads[(leads.configuration == "l2=0.001") & (leads.level == 0.1)]
    assert intervals.interval(leads.lead)[1:] == pytest.approx((2 * low, 2 * high))
    assert intervals.interval(leads.excess)[1:] == pytest.approx((low, high))


@pytest.mark.parametrize("n", range(10))
def test_geometric_means_equal_scipys(n):
    rng = np.random.default_rng(n)
    values = rng.lognormal(0.3, 0.5, 2 + n % 5)
    mean, low, high = intervals.interval([*values, math.nan], ratio=True)
    assert mean == pytest.approx(scipy.stats.gmean(values))
    test = scipy.stats.ttest_1samp(np.log(values), 0)
    expected = test.confidence_interval(0.95)
    assert (math.log(low), math.log(high)) == (
        pytest.approx(expected.low),
        pytest.approx(expected.high),
    )
    claim = paper.Claim("", "", 1, published=1.5, no_effect=1, ratio=True)
    verdict = "undecided"
    if test.pvalue < 0.05:
        verdict = "holds" if test.statistic > 0 else "contradicted"
    assert verdicts.judge(claim, values)["direction"] == verdict
    inside = scipy.stats.ttest_1samp(np.log(values), math.log(1.5)).pvalue > 0.05
    size = "reproduced" if verdict == "holds" else "inconclusive"
    assert verdicts.judge(claim, values)["size"] == (size if inside else "not reproduced")


def test_ratios_are_averaged_as_logarithms():
    """Halves and doubles cancel; the interval is that of the logarithms."""
    mean, low, high = intervals.interval([0.5, 2.0], ratio=True)
    assert mean == pytest.approx(1) and low * high == pytest.approx(1)
    mean, low, high = intervals.interval([1, 2, 4], ratio=True)
    half = T_2 * math.log(2) / math.sqrt(3)
    assert mean == pytest.approx(2)
    assert (low, high) == (pytest.approx(2 * math.exp(-half)), pytest.approx(2 * math.exp(half)))
    assert intervals.interval_text([1, 2, 4], ".2f", ratio=True) == f"2.00 [{low:.2f}, {high:.2f}]"


def test_a_lost_value_is_left_out_and_told():
    assert intervals.interval_text([1, math.nan, 2, 3], ".2f", n=4) == "2.00 ± 2.48 (n = 3)"
    assert intervals.interval_text([1, 2, 3], ".2f", n=3) == "2.00 ± 2.48"
    assert intervals.interval_text([math.nan], ".1f", n=1) == "-"


UP = paper.Claim("", "", 1, published=3.19, no_effect=1, ratio=True)
DOWN = paper.Claim("", "", -1, published=-8.2)
MORE = paper.Claim("", "", 1, published=6.31, bound=6)


@pytest.mark.parametrize(
    "claim, values, direction, size",
    [
        (UP, [3.1, 3.2, 3.3], "holds", "reproduced"),
        (UP, [2.0, 2.01, 1.99], "holds", "not reproduced"),  # an effect, but another one
        (UP, [0.5, 0.51, 0.52], "contradicted", "not reproduced"),
        (UP, [1.0, 3.0, 5.0], "undecided", "inconclusive"),  # holds both values
        (UP, [3.19], "undecided", "inconclusive"),
        (UP, [math.nan, math.nan, 3.1, 3.2, 3.3], "holds", "reproduced"),
        (UP, [math.nan, 3.1], "undecided", "inconclusive"),
        (DOWN, [-8.1, -8.2, -8.3], "holds", "reproduced"),
        (DOWN, [1.0, 1.1, 1.2], "contradicted", "not reproduced"),
        (DOWN, [-20.0, -8.0, 3.0], "undecided", "inconclusive"),
        (MORE, [7.0, 7.1, 7.2], "holds", "reproduced"),
        (MORE, [5.0, 5.1, 5.2], "holds", "not reproduced"),
        (MORE, [5.0, 7.1, 7.2], "holds", "inconclusive"),
        (MORE, [70.0], "undecided", "inconclusive"),
        (paper.Claim("", "", -1), [-1, -1.1, -1.2], "holds", "nothing published"),
    ],
)
def test_verdicts(claim, values, direction, size):
    row = verdicts.judge(claim, values)
    assert (row["direction"], row["size"]) == (direction, size)


def test_claims_are_judged_in_the_published_setting_only():
    labels = {"dataset": "CIFAR-10", "scale": "full"}
    noise = paper.CLAIMS["noise"]
    values = [(noise, "l2=0.001", pd.Series([-8.1, -8.2, -8.3], index=[0, 1, 2]))]
    (row,) = verdicts.claim_table(values, labels).to_dict("records")
    assert (row["direction"], row["size"], row["n"]) == ("holds", "reproduced", 3)
    assert row["mean"] == pytest.approx(-8.2) and row["published"] == -8.2
    for change in (
        {"scale": "quick"},
        {"dataset": "PLANTED CUES"},
        {"scale": "full, changed: epochs"},
        {"dataset": "CIFAR-10, whitened"},
    ):
        (row,) = verdicts.claim_table(values, labels | change).to_dict("records")
        assert (row["direction"], row["size"]) == ("holds", "not judged")
        text = verdicts.claim_text(pd.DataFrame([row]))
        assert "direction: holds" in text and "not judged" in text and "reproduced" not in text
    other = [(noise, "l2=0.01", values[0][2])]
    assert verdicts.claim_table(other, labels)["size"].item() == "not judged"


def test_no_claim_is_told():
    """Of a job without a baseline, or of nothing but the baseline."""
    labels = {"dataset": "CIFAR-10", "scale": "full"}
    table = pd.DataFrame({"configuration": ["baseline"], "seed": [0], "x": [92.0]})
    values = verdicts.published_values(table, "x", "clean accuracy, %", (92.03, 94.46, 91.65))
    assert len(values) == 1
    for some in (values, []):
        assert verdicts.claim_text(verdicts.claim_table(some, labels)).startswith("No claim")


def test_a_ratio_that_is_not_defined_is_told_not_judged():
    labels = {"dataset": "CIFAR-10", "scale": "full"}
    ratio = paper.CLAIMS["ratio"]
    values = [(ratio, "l2=0.001", pd.Series([math.nan] * 3))]
    (row,) = verdicts.claim_table(values, labels).to_dict("records")
    assert (row["n"], row["not_defined"]) == (0, 3)
    assert (row["direction"], row["size"]) == ("undecided", "inconclusive")
    assert "here in no seed defined" in verdicts.claim_text(pd.DataFrame([row]))
    values = [(ratio, "l2=0.001", pd.Series([3.1, math.nan, 3.3]))]
    (row,) = verdicts.claim_table(values, labels).to_dict("records")
    text = verdicts.claim_text(pd.DataFrame([row]))
    assert "n = 2; in 1 more not defined" in text


def test_published_numbers():
    """Of the claims, from the published table."""
    claims = paper.CLAIMS
    assert claims["ratio"].published == pytest.approx(4.463 / 1.397, abs=0.01)
    assert claims["noise"].published == -8.20 and claims["resolution"].published == 6.31
    assert claims["noise excess"].published == pytest.approx(-8.20 - 2.43)
    assert claims["resolution excess"].published == pytest.approx(6.31 - 2.43)
    assert (claims["blur 3"].published, claims["blur 11"].published) == (1.75, -4.10)


def test_published_cells():
    accuracy = pd.DataFrame(
        [("baseline", s, "test", "Gaussian blur", 3, 51.0 + s / 10) for s in range(3)],
        columns=["configuration", "seed", "images", "corruption", "level", "accuracy"],
    )
    cells = verdicts.accuracy_values(accuracy, accuracy.iloc[:0])
    (row,) = verdicts.claim_table(cells, {"dataset": "CIFAR-10", "scale": "full"}).to_dict(
        "records"
    )
    assert row["published"] == 51.13 and row["mean"] == pytest.approx(51.1)
    assert row["size"] == "reproduced" and row["direction"] == "-"
    (row,) = verdicts.claim_table(cells, {"dataset": "CIFAR-10", "scale": "quick"}).to_dict(
        "records"
    )
    assert row["size"] == "not judged"


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
    table = suppression.suppression_table(
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
    # Energy fell in one of the two: the published ratio is not defined.
    assert math.isnan(rows.published_ratio["l2", "first"])
    assert rows.corner_ssr["baseline", "second"] == pytest.approx(1 - 0.1 / (4 / 9))
    mean = math.sqrt((8 / 9) / (1 / 2))  # geometric, of that and of 1
    assert rows.share_ratio["l2", "all (mean)"] == pytest.approx(mean)
    assert rows.published_ssr.notna().sum() == 2  # of the first layer, raw, alone
    assert table[table.weights == "folded"].published_ssr.isna().all()


def test_published_ratio_only_where_both_grew():
    """Relative to zero frequency energy grew fourfold and twofold: -3 / -1."""
    white, flat = (1, 4, 4), [(1, 4, 4), (1, 4, 4)]
    runs = {
        ("baseline", 0): {"first": [*flat, (0.25, 4, 4)]},
        ("l2", 0): {"first": [*flat, (0.5, 4, 4)]},
        ("baseline", 1): {"first": [*flat, (2, 4, 4)]},
        ("l2", 1): {"first": [*flat, (4, 4, 4)]},
    }
    table = suppression.suppression_table(spectra(runs), 0.25)
    rows = table[(table.layer == "first") & (table.weights == "raw")]
    rows = rows.set_index(["configuration", "seed"]).published_ratio
    assert rows["l2", 0] == pytest.approx(3) and math.isnan(rows["l2", 1])
    assert white == (1, 4, 4)


def test_one_lost_seed_leaves_the_others():
    """In every cell the pairs that exist, with their number."""
    layer = [(1, 4, 4), (1, 4, 4), (2, 4, 3)]
    runs = {(c, s): {"first": layer, "second": layer} for c in ("baseline", "l2") for s in range(3)}
    runs["l2", 1] = {name: layer[:2] for name in ("first", "second")}  # diverged in epoch 2
    ssr = suppression.suppression_table(spectra(runs), 0.25)
    history = pd.DataFrame(
        [(c, s, e, 50.0 + s) for c, s in runs for e in range(3) if (c, s, e) != ("l2", 1, 2)],
        columns=["configuration", "seed", "epoch", "test_accuracy"],
    )
    table = suppression.closing_table(history, ssr)
    assert table.loc["test accuracy %", "baseline"].startswith("51.00 ±")
    assert table.loc["test accuracy %", "l2"].endswith("(n = 2)")
    for name in table.index:
        assert table.loc[name, "l2"].endswith("(n = 2)") or table.loc[name, "l2"] == "-", name
    assert table.loc["share ratio", "l2"] == "1.000 [1.000, 1.000] (n = 2)"


def test_a_configuration_without_a_finished_run_keeps_its_column():
    """Every seed of L2 diverged: its column says so; nothing is claimed of it."""
    whole, short = [(1, 4, 4), (1, 4, 4), (2, 4, 3)], [(1, 4, 4), (1, 4, 4)]
    runs = {("baseline", s): {"first": whole, "second": whole} for s in range(2)}
    runs |= {("l2=0.001", s): {"first": short, "second": short} for s in range(2)}
    history = pd.DataFrame(
        [(c, s, e, 50.0) for c, s in runs for e in range(3) if c == "baseline" or e < 2],
        columns=["configuration", "seed", "epoch", "test_accuracy"],
    )
    ssr = suppression.suppression_table(spectra(runs), 0.25)
    table = suppression.closing_table(history, ssr)
    assert set(table["L2 1e-3"]) == {"-"}
    assert table.loc["test accuracy %", "baseline"] == "50.00 ± 0.00"
    finished = suppression.final_table(history, ssr).dropna(subset="ssr")
    assert verdicts.l2_values("ratio", finished, "published_ratio") == []


def test_doses():
    layer = [(1, 4, 4), (1, 4, 4)]
    names = ["baseline", "l2=0.0001", "l2=0.01", "l2=0.001", "dropout=0.5", "dropout=0.1"]
    runs = {
        (name, seed): {
            "first": layer,
            "second": [*layer, (1, 4, 4 - i / 2)][:1] + [(1, 4, 4), (1, 4, 4 - i / 2)],
        }
        for i, name in enumerate(names)
        for seed in (0, 1)
    }
    runs = {
        k: {n: (v if len(v) == 3 else [*v, v[-1]]) for n, v in r.items()} for k, r in runs.items()
    }
    ssr = suppression.suppression_table(spectra(runs), 0.25)
    history = pd.DataFrame(
        [(c, s, 2, 10.0 * names.index(c) + s) for c, s in runs],
        columns=["configuration", "seed", "epoch", "test_accuracy"],
    )
    dose = suppression.dose_table(history, ssr)
    assert set(dose.family) == {"l2"}  # dropout has two strengths only
    assert dose.strength.tolist() == [0, 0, 1e-4, 1e-4, 1e-3, 1e-3, 1e-2, 1e-2]
    assert dose.test_accuracy.tolist() == [0, 1, 10, 11, 30, 31, 20, 21]
    expected = [1 - (4 - i / 2) / (9 - i / 2) / (4 / 9) for i in (0, 1, 3, 2)]
    np.testing.assert_allclose(dose.corner_ssr[::2], expected)
