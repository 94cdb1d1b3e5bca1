"""Means, intervals and verdicts against scipy and tabulated values; SSR tables by hand."""

import itertools
import math

import numpy as np
import pandas as pd
import pytest
import scipy.stats

from utils.evidence import intervals, paper, robustness, suppression, verdicts

T_2, T_4 = 4.302653, 2.776445  # Student t, 97.5 %, 2 and 4 degrees of freedom
L2, FULL = "l2=0.001", {"dataset": "CIFAR-10", "scale": "full"}


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
    assert intervals.interval_text([1, math.nan, 2, 3], ".2f", n=4) == "2.00 ± 2.48 (n = 3)"


def test_intervals_cover_as_often_as_they_say():
    """The mean, and one further value: within 3 standard deviations of 95 %."""
    samples = np.random.default_rng(0).normal(3, 2, (2000, 5))
    for one_more, truth in ((False, np.full(2000, 3)), (True, samples[:, 4])):
        ends = [intervals.interval(row[:4], of_one_more=one_more)[1:] for row in samples]
        covered = [low <= x <= high for (low, high), x in zip(ends, truth)]
        assert abs(np.mean(covered) - 0.95) < 0.015


def test_ratios_are_averaged_as_logarithms():
    """Halves and doubles cancel; the interval is that of the logarithms."""
    mean, low, high = intervals.interval([0.5, 2.0], ratio=True)
    assert mean == pytest.approx(1) and low * high == pytest.approx(1)
    mean, low, high = intervals.interval([1, 2, 4, math.nan], ratio=True)
    half = T_2 * math.log(2) / math.sqrt(3)
    assert mean == pytest.approx(2)
    assert (low, high) == (pytest.approx(2 * math.exp(-half)), pytest.approx(2 * math.exp(half)))
    assert intervals.interval_text([1, 2, 4], ".2f", ratio=True) == f"2.00 [{low:.2f}, {high:.2f}]"


def accuracies(values: dict, level=0.05, corruption="Gaussian noise") -> pd.DataFrame:
    """Rows of accuracy from {(configuration, seed): (clean, corrupted)}."""
    rows = [
        (name, seed, 1, "test", *where, value)
        for (name, seed), pair in values.items()
        for where, value in zip((("none", 0.0), (corruption, level)), pair)
    ]
    columns = ["configuration", "seed", "epoch", "images", "corruption", "level", "accuracy"]
    return pd.DataFrame(rows, columns=columns)


@pytest.mark.parametrize("n", range(8))
def test_paired_tests_equal_scipys(n):
    """On random tables, seeds in any order and some runs lost."""
    rng = np.random.default_rng(n)
    seeds = rng.permutation(100)[: 1 + n]
    lost = [(("baseline", L2)[i % 2], seeds[i]) for i in rng.permutation(len(seeds))[: n % 3]]
    values = {
        (name, seed): (rng.normal(80, 3), rng.normal(60 - 5 * (name == L2), 3))
        for seed in seeds
        for name in ("dropout=0.5", L2, "baseline")
        if (name, seed) not in lost
    }
    table = accuracies(values).sample(frac=1, random_state=n)
    claims = verdicts.claim_table({"accuracy": table}, FULL)
    clean, noisy = (
        table[table.corruption == name].pivot(
            index="seed", columns="configuration", values="accuracy"
        )
        for name in ("none", "Gaussian noise")
    )
    found = claims[claims.family == "publication"].set_index("claim")
    for text, wide in (("", noisy), (", beyond the difference on clean images", noisy - clean)):
        wide = wide[["baseline", L2]].dropna()
        if not len(wide):
            assert found.empty
            continue
        row = found.loc[f"is more sensitive to noise{text}"]
        assert row.n == len(wide) and row.baseline == pytest.approx(wide.baseline.mean())
        assert row["mean"] == pytest.approx((wide[L2] - wide.baseline).mean())
        if len(wide) > 1:
            test = scipy.stats.ttest_rel(wide[L2], wide.baseline)
            ends = test.confidence_interval(0.95)
            assert row.p == pytest.approx(test.pvalue)
            assert (row.low, row.high) == (pytest.approx(ends.low), pytest.approx(ends.high))
        else:
            assert math.isnan(row.p) and math.isnan(row.low) and row.direction == "undecided"
    # The table for figures says the same.
    difference = robustness.difference_to_baseline(table)
    chosen = difference[(difference.configuration == L2) & (difference.corruption != "none")]
    both = (noisy[L2] - noisy.baseline, (noisy - clean)[L2] - (noisy - clean).baseline)
    for column, expected in zip(("lead", "excess"), both):
        np.testing.assert_allclose(chosen.set_index("seed")[column].sort_index(), expected.dropna())


def test_holms_adjustment():
    """By hand: 4 x .005, 3 x .01, 2 x .03, and .04 not below the one before."""
    p = pd.Series([0.01, 0.04, math.nan, 0.03, 0.005])
    expected = [0.03, 0.06, math.nan, 0.06, 0.02]
    np.testing.assert_allclose(verdicts.holm(p), expected)
    assert verdicts.holm(pd.Series([0.6, 0.7])).tolist() == [1, 1]


RATIO = paper.CLAIMS["ratio"]
NOISE = paper.CLAIMS["noise"]
MORE = paper.CLAIMS["resolution"]


@pytest.mark.parametrize(
    "claim, values, direction, size",
    [
        (NOISE, [-8.1, -8.2, -8.3], "holds", "compatible"),
        (NOISE, [1.0, 1.1, 1.2], "contradicted", "not compatible"),
        (NOISE, [-20.0, -8.0, 3.0], "undecided", "compatible"),
        (NOISE, [-8.2], "undecided", "not judged"),
        (NOISE, [-8.1, -8.2], "holds", "not judged"),  # two are too few for a size
        (NOISE, [-1.0, -1.0, -1.0 - 1e-14], "undecided", "not compatible"),  # no spread
        (MORE, [1.0, 1.1, 1.2], "contradicted", "not compatible"),  # above 0, but not above 6
        (MORE, [7.0, 7.1, 7.2], "holds", "not compatible"),
        (MORE, [5.0, 7.1, 7.2], "undecided", "compatible"),
        (RATIO, [3.1, 3.2, 3.3], "holds", "compatible"),
        (RATIO, [0.5, 0.51, 0.52], "contradicted", "not compatible"),
        (RATIO, [1.0, 3.0, 5.0], "undecided", "compatible"),
        (RATIO, [math.nan, math.nan, 3.1, 3.2, 3.3], "not judged", "not judged"),
        (RATIO, [math.nan] * 3, "not judged", "not judged"),
        (paper.TESTS["sensitivity"], [-1, -1.1, -1.2], "holds", "nothing published"),
    ],
)
def test_verdicts(claim, values, direction, size):
    row = verdicts.statistics(claim, values) | verdicts.size(claim, values)
    row |= {"claimed": {1: "above", -1: "below"}[claim.side], "p_adjusted": row["p"]}
    assert (verdicts.verdict(row), row["size"]) == (direction, size)


def test_a_published_run_is_held_against_one_more_run():
    """6.9 lies far outside the interval of the mean, 2 +- 2.48, and within 2 +- 4.97 of a run."""
    for published, said in ((6.9, "compatible"), (7.0, "not compatible")):
        found = verdicts.size(paper.Claim("", paper.CLEAN, 0, published), [1, 2, 3])
        assert found["size"] == said
    assert found["expected_high"] == pytest.approx(2 + T_2 * math.sqrt(4 / 3), rel=1e-6)


CLAIMED = {  # of L2 minus baseline, of the first convolution the ratio: where it is said to lie
    "conv1": 1,
    "hidden (mean)": -1,
    "blocks 0 to 3 (mean)": -1,
    "blocks 6 and 7 (mean)": -1,
    "share of the input sensitivity": -1,
    ("Gaussian noise", 0.05): -1,
    ("low resolution, bilinear", 24): 1,
    ("low resolution, antialiased", 24): 1,
    ("Gaussian blur", 3): 1,
    ("Gaussian blur", 11): -1,
    ("band noise", 0.65): 1,
    ("band noise", 0.15): -1,
    ("ideal high-pass", 0.2): -1,
}


def tables_in_which_all_is(sign: int) -> dict[str, pd.DataFrame]:
    """Five seeds of baseline and L2 that differ as claimed (1), or the other way round (-1)."""
    rng, tables = np.random.default_rng(0), {"training": [], "ssr": [], "accuracy": []}
    tables["sensitivity"] = []
    for name, seed in itertools.product(("baseline", L2), range(5)):
        changes = iter(sign * (name == L2) * rng.normal(1, 0.01, 20))
        run = {"configuration": name, "seed": seed}
        tables["training"].append(run | {"epoch": 1, "test_accuracy": 90.0})
        test = run | {"epoch": 1, "images": "test"}
        tables["accuracy"].append(test | {"corruption": "none", "level": 0.0, "accuracy": 90.0})
        for where, side in CLAIMED.items():
            change = side * next(changes)
            if isinstance(where, tuple):
                row = {"corruption": where[0], "level": where[1], "accuracy": 50 + 10 * change}
                tables["accuracy"].append(test | row)
            elif where in ("conv1", *suppression.PLACES.values()):
                row = {"layer": where, "weights": "raw", "corner_final": 0.2 + 0.05 * change}
                ratio = 3.19**change if (name, where) == (L2, "conv1") else math.nan
                tables["ssr"].append(run | row | {"corner_ssr": change, "published_ratio": ratio})
            else:
                tables["sensitivity"].append(run | {"epoch": 1, "high_share": 0.9 + 0.1 * change})
    return {name: pd.DataFrame(rows) for name, rows in tables.items()}


def test_the_side_of_every_claim():
    """Where the data are as claimed everything holds, else everything is contradicted."""
    for sign, verdict in ((1, "holds"), (-1, "contradicted")):
        tables = tables_in_which_all_is(sign)
        claims = verdicts.claim_table(tables, FULL)
        claims = claims[claims.family != "values"]
        assert claims.direction.tolist() == [verdict] * 15
        assert claims.judged.tolist() == [9] * 9 + [6] * 6
        corner = claims[claims.quantity == "corner share, raw, hidden layers"].iloc[0]
        rows = tables["ssr"][tables["ssr"].layer == "hidden (mean)"]
        mean = rows.groupby("configuration").corner_final.mean()
        assert corner["mean"] == pytest.approx(mean[L2] - mean["baseline"])
        assert corner.baseline == pytest.approx(mean["baseline"])


def test_claims_of_a_family_are_judged_together():
    """With noise in the accuracies: some claims would hold alone, and do not among the others."""
    tables = tables_in_which_all_is(1)
    noise = np.random.default_rng(0).normal(0, 6, len(tables["accuracy"]))
    tables["accuracy"]["accuracy"] += noise
    claims = verdicts.claim_table(tables, FULL)
    for family in ("publication", "conclusion"):
        rows = claims[claims.family == family].sort_values("p")
        adjusted = np.maximum.accumulate(rows.p * np.arange(len(rows), 0, -1)).clip(upper=1)
        np.testing.assert_allclose(rows.p_adjusted, adjusted)
        assert ((rows.direction != "undecided") == (adjusted < 0.05)).all()
        assert ((rows.p < 0.05) & (adjusted > 0.05)).any()


def test_claims_of_some_seeds_settings_and_configurations():
    tables = tables_in_which_all_is(1)
    some = verdicts.claim_table(tables, FULL, seeds=[2, 3, 4, 9])
    assert set(some.n) == {3}
    said = set(verdicts.claim_table(tables, FULL)["size"])
    assert {"compatible", "not compatible"} < said
    for change in (
        {"scale": "quick"},
        {"dataset": "PLANTED CUES"},
        {"scale": "full, changed: width"},
        {"dataset": "CIFAR-10, whitened"},
    ):
        claims = verdicts.claim_table(tables, FULL | change)
        assert set(claims["size"]) == {"not judged", "nothing published"}
        assert "compatible with" not in verdicts.claim_text(claims)
    # Of the norm, and of other strengths: judged for themselves, and never by size.
    for other, families in (
        ("fixed-norm=1", {"conclusion"}),
        ("l2=0.01", {"publication", "conclusion"}),
    ):
        renamed = {name: table.replace({L2: other}) for name, table in tables.items()}
        both = {name: pd.concat([table, renamed[name]]) for name, table in tables.items()}
        claims = verdicts.claim_table(both, FULL)
        rows = claims[claims.configuration == other]
        assert set(rows.family) == families and "compatible" not in set(rows["size"])
        assert set(claims[claims.family == "publication"].judged) == {9}
    # Without a baseline, and without tables, nothing is claimed.
    alone = {name: table[table.configuration == L2] for name, table in tables.items()}
    for some in (alone, {}, {"training": tables["training"]}):
        text = verdicts.claim_text(verdicts.claim_table(some, FULL))
        assert text.startswith("No claim")


def test_what_is_told_of_a_claim():
    tables = tables_in_which_all_is(1)
    text = verdicts.claim_text(verdicts.claim_table(tables, FULL))
    assert "among 9 claims judged together" in text and "among 6 claims" in text
    one = verdicts.claim_text(verdicts.claim_table(tables, FULL, seeds=[2]))
    assert one.count("one seed, so no verdict.") == 15
    assert "undecided" not in one and "not judged" not in one
    tables["ssr"].loc[tables["ssr"].seed == 1, "published_ratio"] = math.nan
    claims = verdicts.claim_table(tables, FULL)
    (row,) = claims[claims.quantity.str.startswith("ratio")].to_dict("records")
    assert (row["n"], row["not_defined"], row["direction"]) == (4, 1, "not judged")
    assert row["size"] == "not judged" and set(claims.judged[:9]) == {8}
    assert "(not defined in 1 of 5 seeds), n = 4" in verdicts.claim_text(claims)


def test_published_numbers_add_up():
    """Sums over levels, by configuration, and over configurations, by level: from the paper."""
    by_configuration = {  # resolutions in the two rows of its table
        "Gaussian noise": (130.57, 107.84, 116.94),
        "low resolution, bilinear": (225.73 + 121.16, 240.06 + 129.31, 219.04 + 112.62),
        "Gaussian blur": (131.75, 124.92, 121.66),
    }
    pixels = {28: 236.70, 24: 232.10, 20: 216.03, 16: 126.62, 12: 99.22, 10: 76.81, 8: 60.44}
    by_level = {
        "Gaussian noise": {0.05: 216.79, 0.1: 93.16, 0.15: 45.40},
        "low resolution, bilinear": pixels,
        "Gaussian blur": {3: 148.76, 5: 66.13, 7: 56.62, 9: 53.67, 11: 53.15},
    }
    for name, levels in paper.ACCURACY.items():
        cells = np.array(list(levels.values()))
        np.testing.assert_allclose(cells.sum(0), by_configuration[name])
        assert dict(zip(levels, cells.sum(1))) == pytest.approx(by_level[name])
    assert sum(paper.CLEAN_ACCURACY) == pytest.approx(278.14)
    assert paper.CLEAN_ACCURACY[1] - paper.CLEAN_ACCURACY[0] == pytest.approx(2.43)
    assert sum(paper.SSR) == pytest.approx(-7.458)
    published = {key: claim.published for key, claim in paper.CLAIMS.items()}
    expected = {"ratio": 3.19, "noise": -8.2, "noise beyond clean": -10.63, "resolution": 6.31}
    expected |= {"resolution beyond clean": 3.88, "blur 3": 1.75, "blur 11": -4.1}
    assert {k: v for k, v in published.items() if not math.isnan(v)} == pytest.approx(expected)
    learned = pd.DataFrame(paper.EXPLAINED_VARIANCE).to_numpy()
    np.testing.assert_allclose(learned.sum(0), [1.224, 1.006, 0.685])
    np.testing.assert_allclose(learned.sum(1), [2.15, 0.617, 0.148])


def test_published_values_beside_what_was_measured():
    """Each cell at its corruption, level and configuration."""
    names = paper.CONFIGURATIONS
    rows = [
        accuracies({(name, s): (0, value + s - 1) for s in range(3)}, level, corruption)
        for corruption, levels in paper.ACCURACY.items()
        for level, values in levels.items()
        for name, value in zip(names, values)
    ]
    history = pd.DataFrame(
        [(n, s, 50, x + s - 1) for n, x in zip(names, paper.CLEAN_ACCURACY) for s in range(3)],
        columns=["configuration", "seed", "epoch", "test_accuracy"],
    )
    claims = verdicts.claim_table({"accuracy": pd.concat(rows), "training": history}, FULL)
    values = claims[claims.family == "values"]
    assert len(values) == 3 * (1 + 15) and set(values["size"]) == {"compatible"}
    np.testing.assert_allclose(values["mean"], values.published)


def test_experiment_a():
    """Its cells are held against one more run, whatever the scale."""
    rows = [
        (strength, k, seed, x + 0.01 * (seed - 1) + 0.1 * (k == 50))
        for strength, cells in paper.EXPLAINED_VARIANCE.items()
        for k, x in cells.items()
        for seed in range(3)
    ]
    columns = ["strength", "frequency", "seed", "explained_variance"]
    claims = verdicts.learned_claims(pd.DataFrame(rows, columns=columns))
    assert claims["size"].tolist() == ["compatible", "compatible", "not compatible"] * 3


def spectra(runs: dict) -> pd.DataFrame:
    """Rows of 3x3 layers from energies by radius, {(configuration, seed): {layer: [epoch 0, ..]}}."""
    rows = [
        (name, seed, epoch, layer, weights, *of_radius)
        for ((name, seed), layers), weights in itertools.product(runs.items(), ("raw", "folded"))
        for layer, epochs in layers.items()
        for epoch, energies in enumerate(epochs)
        for of_radius in zip((0, 1 / 3, math.sqrt(2) / 3), (1, 4, 4), energies)
    ]
    columns = ["configuration", "seed", "epoch", "layer", "weights", "radius", "multiplicity"]
    return pd.DataFrame(rows, columns=[*columns, "energy"])


def test_suppression_by_hand():
    white = (1, 4, 4)
    runs = {("l2", 1): {"first": [white, white]}}  # not finished: left out
    for name, first, second in (("baseline", (1, 4, 4), (5, 4, 1)), ("l2", (4, 4, 0), (5, 5, 0))):
        layers = {"first": [white, (2, 4, 4), first], "second": [white, white, second]}
        runs = {(name, 0): layers} | runs
    table = suppression.suppression_table(spectra(runs), cutoff=0.25)
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
    ends = {("baseline", 0): 0.25, ("l2", 0): 0.5, ("baseline", 1): 2, ("l2", 1): 4}
    runs = {run: {"conv1": [(1, 4, 4)] * 2 + [(x, 4, 4)]} for run, x in ends.items()}
    ssr = suppression.suppression_table(spectra(runs), 0.25)
    assert by_seed(ssr, paper.RATIO) == pytest.approx([3, math.nan], nan_ok=True)


def by_seed(ssr: pd.DataFrame, quantity: paper.Quantity) -> list[float]:
    return verdicts.of(verdicts.by_run({"ssr": ssr}, quantity), "l2").tolist()


def test_lost_runs_leave_the_others():
    """The pairs that exist, with their number; a configuration without any keeps its column."""
    whole = [(1, 4, 4), (1, 4, 4), (2, 4, 3)]
    lost = {(L2, 1), *(("dropout=0.5", s) for s in range(3))}  # diverged in epoch 2
    runs = list(itertools.product(("baseline", L2, "dropout=0.5"), range(3)))
    layers = {run: dict.fromkeys(("a", "b"), whole[: 2 if run in lost else 3]) for run in runs}
    ssr = suppression.suppression_table(spectra(layers), 0.25)
    rows = [(*run, e, 50.0 + run[1]) for run in runs for e in range(2 if run in lost else 3)]
    columns = ["configuration", "seed", "epoch", "test_accuracy"]
    history = pd.DataFrame(rows, columns=columns)
    table = suppression.closing_table(history, ssr)
    assert table.loc["test accuracy %", "baseline"].startswith("51.00 ±")
    assert table.loc["test accuracy %", "L2 1e-3"] == (
        "51.00 ± 12.71 (n = 2) (+0.00 ± 0.00 (n = 2))"
    )
    assert all("(n = 2)" in cell or cell == "-" for cell in table["L2 1e-3"])
    assert table.loc["share ratio", "L2 1e-3"] == "1.000 [1.000, 1.000] (n = 2)"
    assert set(table["dropout 0.5"]) == {"-"}
    claims = verdicts.claim_table({"training": history, "ssr": ssr}, FULL)
    assert set(claims.configuration) == {"baseline", L2}


def test_means_over_the_stages_of_a_network():
    layers = ["conv1", *(f"blocks.{i}.conv{j}" for i in range(8) for j in (1, 2))]
    runs = {("baseline", 0): {n: [(1, 4, 4)] * 2 + [(8, 1, i)] for i, n in enumerate(layers)}}
    table = suppression.suppression_table(spectra(runs), 0.25)
    assert len(table) == 2 * (17 + 6)
    rows = table[table.weights == "raw"].set_index("layer").corner_final
    halved = table.corner_final.where(table.weights == "raw", table.corner_final / 2)
    history = pd.DataFrame([{"configuration": "baseline", "seed": 0, "epoch": 2}])
    closing = suppression.closing_table(history, table.assign(corner_final=halved))
    for name, first, last in (("0 to 3", 1, 8), ("4 and 5", 9, 12), ("6 and 7", 13, 16)):
        mean = np.mean([i / (9 + i) for i in range(first, last + 1)])
        assert rows[f"blocks {name} (mean)"] == pytest.approx(mean)
        told = closing.baseline.filter(like=f", blocks {name}")
        assert dict(told) == {
            f"corner share, raw, blocks {name}": f"{mean:.3f}",
            f"corner share, folded, blocks {name}": f"{mean / 2:.3f}",
        }


def test_doses():
    """Of families with three strengths, the baseline as strength 0, weak before strong."""
    names = ["baseline", "l2=0.0001", "l2=0.01", "l2=0.001", "dropout=0.5", "dropout=0.1"]
    runs = list(itertools.product(names, (0, 1)))
    ends = {run: (1, 4, 4 - names.index(run[0]) / 2) for run in runs}
    layers = {
        run: {"first": [(1, 4, 4)] * 3, "second": [(1, 4, 4)] * 2 + [ends[run]]} for run in runs
    }
    ssr = suppression.suppression_table(spectra(layers), 0.25)
    rows = [(*run, 2, 10.0 * names.index(run[0]) + run[1]) for run in runs]
    columns = ["configuration", "seed", "epoch", "test_accuracy"]
    dose = suppression.dose_table(pd.DataFrame(rows, columns=columns), ssr)
    assert set(dose.family) == {"l2"}
    assert dose.strength.tolist() == [0, 0, 1e-4, 1e-4, 1e-3, 1e-3, 1e-2, 1e-2]
    assert dose.test_accuracy.tolist() == [0, 1, 10, 11, 30, 31, 20, 21]
    expected = [1 - (4 - i / 2) / (9 - i / 2) / (4 / 9) for i in (0, 1, 3, 2)]
    np.testing.assert_allclose(dose.corner_ssr[::2], expected)
