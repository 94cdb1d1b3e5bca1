"""Means, intervals and verdicts against scipy and tabulated values; SSR tables by hand."""

import collections
import itertools
import math

import numpy as np
import pandas as pd
import pytest
import scipy.stats

from utils.evidence import intervals, paper, robustness, suppression, verdicts

T_2, T_4 = 4.302653, 2.776445  # Student t, 97.5 %, 2 and 4 degrees of freedom
L2, FULL = "l2=0.001", {"dataset": "CIFAR-10", "scale": "full"}
nan = math.nan


def test_intervals():
    mean, low, high = intervals.interval([1, 2, 3, nan])
    assert mean == 2 and high - mean == pytest.approx(T_2 / math.sqrt(3), rel=1e-6)
    assert mean - low == pytest.approx(high - mean)
    mean, _, high = intervals.interval([2, 4, 4, 4, 6])
    assert high - mean == pytest.approx(T_4 * math.sqrt(2) / math.sqrt(5), rel=1e-6)
    assert np.isnan(intervals.interval([5])).tolist() == [False, True, True]
    # Of logarithms: halves and doubles cancel.
    half = T_2 * math.log(2) / math.sqrt(3)
    found = intervals.interval([1, 2, 4, nan], ratio=True)
    assert found == pytest.approx((2, 2 * math.exp(-half), 2 * math.exp(half)))
    text = f"2.00 [{found[1]:.2f}, {found[2]:.2f}]"
    assert intervals.interval_text([1, 2, 4], ".2f", ratio=True) == text
    assert intervals.interval_text([1, 2, 3], ".2f", n=3) == "2.00 ± 2.48"
    assert intervals.interval_text([1, nan, 2, 3], ".2f", n=4) == "2.00 ± 2.48 (n = 3)"
    assert intervals.interval_text([5], ".1f") == "5.0"
    assert intervals.interval_text([], ".1f") == "-"


@pytest.mark.parametrize("n", [0, 2, 5])
def test_paired_tests_equal_scipys(n):
    """On random tables, seeds in any order and some runs lost."""
    rng, rows = np.random.default_rng(n), []
    seeds = rng.permutation(100)[: 1 + n].tolist()
    lost = [(("baseline", L2)[i], seed) for i, seed in enumerate(seeds[1:3])]
    for seed, name in itertools.product(seeds, ("dropout=0.5", L2, "baseline")):
        for place in (("none", 0.0), ("Gaussian noise", 0.05)) if (name, seed) not in lost else ():
            accuracy = rng.normal(60 - 5 * (name == L2), 3)
            rows.append((name, seed, 1, "test", *place, accuracy))
    columns = ["configuration", "seed", "epoch", "images", "corruption", "level", "accuracy"]
    table = pd.DataFrame(rows, columns=columns).sample(frac=1, random_state=n)
    claims = verdicts.claim_table({"accuracy": table}, FULL)
    claims = claims[claims.family == "publication"].set_index("claim")
    difference = robustness.difference_to_baseline(table)
    difference = difference[(difference.configuration == L2) & (difference.level > 0)]
    wide = table.pivot(index="seed", columns=["corruption", "configuration"], values="accuracy")
    clean, noisy = wide["none"], wide["Gaussian noise"]
    for text, column, wide in (
        ("", "lead", noisy),
        (", beyond the difference on clean images", "excess", noisy - clean),
    ):
        wide = wide[["baseline", L2]].dropna()
        found = difference.set_index("seed")[column].sort_index()
        np.testing.assert_allclose(found, wide[L2] - wide.baseline)  # what figures show
        row = claims.loc[f"is more sensitive to noise{text}"]
        assert row.n == len(wide) and row.baseline == pytest.approx(wide.baseline.mean())
        assert row["mean"] == pytest.approx((wide[L2] - wide.baseline).mean())
        if len(wide) == 1:
            assert np.isnan([row.p, row.low]).all() and row.direction == "undecided"
            continue
        test = scipy.stats.ttest_rel(wide[L2], wide.baseline)
        ends = test.confidence_interval(0.95)
        assert (row.p, row.low, row.high) == pytest.approx((test.pvalue, ends.low, ends.high))


def test_holms_adjustment():
    """By hand: 4 x .005, 3 x .01, 2 x .03, and .04 not below the one before."""
    p = pd.Series([0.01, 0.04, nan, 0.03, 0.005])
    np.testing.assert_allclose(verdicts.holm(p), [0.03, 0.06, nan, 0.06, 0.02])
    assert verdicts.holm(pd.Series([0.6, 0.7])).tolist() == [1, 1]


def test_verdicts():
    ratio, _, noise, _, more, *_ = paper.CLAIMS
    cases = [
        (noise, [-8.1, -8.2, -8.3], "holds", "compatible"),
        (noise, [1.0, 1.1, 1.2], "contradicted", "not compatible"),
        (noise, [-20.0, -8.0, 3.0], "undecided", "compatible"),
        (noise, [-8.2], "undecided", "not judged"),
        (noise, [-8.1, -8.2], "holds", "not judged"),  # two are too few for a size
        (noise, [-1.0, -1.0, -1.0 - 1e-14], "undecided", "not compatible"),  # no spread
        (more, [1.0, 1.1, 1.2], "contradicted", "not compatible"),  # above 0, but not above 6
        (more, [7.0, 7.1, 7.2], "holds", "not compatible"),
        (more, [5.0, 7.1, 7.2], "undecided", "compatible"),
        (ratio, [3.1, 3.2, 3.3], "holds", "compatible"),
        (ratio, [0.5, 0.51, 0.52], "contradicted", "not compatible"),
        (ratio, [1.0, 3.0, 5.0], "undecided", "compatible"),
        (ratio, [nan, nan, 3.1, 3.2, 3.3], "not judged", "not judged"),
        (ratio, [nan] * 3, "not judged", "not judged"),
        (paper.TESTS[3], [-1, -1.1, -1.2], "holds", "nothing published"),
        # The mean lies in 2 +- 2.48; one further run, as the published one, in 2 +- 4.97.
        (paper.Claim("", paper.CLEAN, 1, 6.9), [1, 2, 3], "undecided", "compatible"),
        (paper.Claim("", paper.CLEAN, 1, 7.0), [1, 2, 3], "undecided", "not compatible"),
    ]
    rows = [
        {"family": i, "configuration": "", "claimed": {1: "above", -1: "below"}[claim.side]}
        | verdicts.measure(claim, values)
        for i, (claim, values, *_) in enumerate(cases)
    ]
    found = verdicts.judge(pd.DataFrame(rows))
    assert list(zip(found.direction, found["size"])) == [tuple(case[2:]) for case in cases]


def tables_of(values) -> dict[str, pd.DataFrame]:
    """The tables that hold (configuration, seed, quantity, value); 90 % on clean images."""
    rows = collections.defaultdict(list)
    for name, seed, quantity, value in values:
        run = {"configuration": name, "seed": seed, "epoch": 1}
        rows[quantity.table].append(run | quantity.rows | {quantity.column: value})
        clean = {"images": "test", "corruption": "none", "level": 0.0, "accuracy": 90.0}
        rows["accuracy"].append(run | clean)
    return {name: pd.DataFrame(rows[name]) for name in rows}


def tables_in_which_all_is(sign: int) -> dict[str, pd.DataFrame]:
    """Five seeds of baseline and L2 that differ as claimed (1), or the other way round (-1)."""
    rng, values = np.random.default_rng(0), []
    for claim, seed in itertools.product((*paper.CLAIMS, *paper.TESTS), range(5)):
        change = sign * claim.side * rng.normal(1, 0.01)
        level, scale = {"accuracy": (50, 10), "ssr": (0.2, 0.05), "sensitivity": (0.9, 0.1)}[
            claim.quantity.table
        ]
        pair = (nan, 3.19**change) if claim.ratio else (level, level + scale * change)
        values += [(name, seed, claim.quantity, x) for name, x in zip(("baseline", L2), pair)]
    return tables_of(values)


def test_the_side_of_every_claim():
    """Where the data are as claimed everything holds, else everything is contradicted."""
    for sign, verdict in ((1, "holds"), (-1, "contradicted")):
        tables = tables_in_which_all_is(sign)
        claims = verdicts.claim_table(tables, FULL)
        claims = claims[claims.family != "values"]
        sides = "above below below below above above above above below "
        sides += "above below below below below below"
        assert claims.claimed.tolist() == sides.split()
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
    tables["accuracy"]["accuracy"] += np.random.default_rng(0).normal(0, 6, len(tables["accuracy"]))
    claims = verdicts.claim_table(tables, FULL)
    for family in ("publication", "conclusion"):
        rows = claims[claims.family == family].sort_values("p")
        adjusted = np.maximum.accumulate(rows.p * np.arange(len(rows), 0, -1)).clip(upper=1)
        np.testing.assert_allclose(rows.p_adjusted, adjusted)
        assert ((rows.direction != "undecided") == (adjusted < 0.05)).all()
        assert ((rows.p < 0.05) & (adjusted > 0.05)).any()


def test_claims_of_some_seeds_settings_and_configurations():
    tables = tables_in_which_all_is(1)
    assert set(verdicts.claim_table(tables, FULL, seeds=[2, 3, 4, 9]).n) == {3}
    assert {"compatible", "not compatible"} < set(verdicts.claim_table(tables, FULL)["size"])
    for key, value in (
        ("scale", "quick"),
        ("scale", "full, changed: width"),
        ("dataset", "CIFAR-10, whitened"),
    ):
        claims = verdicts.claim_table(tables, FULL | {key: value})
        assert set(claims["size"]) == {"not judged", "nothing published"}
        assert "compatible with" not in verdicts.claim_text(claims)
    # Of the norm, and of other strengths: judged for themselves, and never by size.
    for other, count in (("fixed-norm=1", 6), ("l2=0.01", 15)):
        renamed = {name: table.replace({L2: other}) for name, table in tables.items()}
        both = {name: pd.concat([table, renamed[name]]) for name, table in tables.items()}
        claims = verdicts.claim_table(both, FULL)
        rows = claims[claims.configuration == other]
        assert len(rows) == count and not {"compatible", "not compatible"} & set(rows["size"])
        assert set(claims[claims.family == "publication"].judged) == {9}
    assert "L2 0.01" not in verdicts.claim_text(claims)
    # Without a baseline, and without tables, nothing is claimed.
    alone = {name: table[table.configuration == L2] for name, table in tables.items()}
    for some in (alone, {}, {"accuracy": tables["accuracy"][:0]}):
        assert verdicts.claim_text(verdicts.claim_table(some, FULL)).startswith("No claim")


def test_what_is_told_of_a_claim():
    tables = tables_in_which_all_is(1)
    text = verdicts.claim_text(verdicts.claim_table(tables, FULL))
    assert "among 9 claims judged together" in text and "among 6 claims" in text
    one = verdicts.claim_text(verdicts.claim_table(tables, FULL, seeds=[2]))
    assert one.count("one seed, so no verdict.") == 15
    assert "undecided" not in one and "not judged" not in one
    tables["ssr"].loc[tables["ssr"].seed == 1, "published_ratio"] = nan
    claims = verdicts.claim_table(tables, FULL)
    (row,) = claims[claims.quantity.str.startswith("ratio")].to_dict("records")
    assert (row["n"], row["not_defined"], row["direction"]) == (4, 1, "not judged")
    assert row["size"] == "not judged" and set(claims.judged[:9]) == {8}
    assert "(not defined in 1 of 5 seeds), n = 4" in verdicts.claim_text(claims)


def test_published_numbers_add_up():
    """Sums over levels, by configuration, and over configurations, by level: from the paper."""
    sums = [  # resolutions in the two rows of its table
        ((130.57, 107.84, 116.94), {0.05: 216.79, 0.1: 93.16, 0.15: 45.40}),
        (
            (225.73 + 121.16, 240.06 + 129.31, 219.04 + 112.62),
            {28: 236.70, 24: 232.10, 20: 216.03, 16: 126.62, 12: 99.22, 10: 76.81, 8: 60.44},
        ),
        ((131.75, 124.92, 121.66), {3: 148.76, 5: 66.13, 7: 56.62, 9: 53.67, 11: 53.15}),
    ]
    for levels, (by_configuration, by_level) in zip(paper.ACCURACY.values(), sums, strict=True):
        cells = pd.DataFrame(levels).T
        np.testing.assert_allclose(cells.sum(), by_configuration)
        assert dict(cells.sum(axis=1)) == pytest.approx(by_level)
    assert sum(paper.CLEAN_ACCURACY) == pytest.approx(278.14)
    assert paper.CLEAN_ACCURACY[1] - paper.CLEAN_ACCURACY[0] == pytest.approx(2.43)
    assert sum(paper.SSR) == pytest.approx(-7.458)
    published = [claim.published for claim in (*paper.CLAIMS, *paper.TESTS)]
    expected = [3.19, nan, -8.2, -10.63, 6.31, 3.88, nan, 1.75, -4.1, *[nan] * 6]
    assert published == pytest.approx(expected, nan_ok=True)
    learned = pd.DataFrame(paper.EXPLAINED_VARIANCE).to_numpy()
    np.testing.assert_allclose(learned.sum(0), [1.224, 1.006, 0.685])
    np.testing.assert_allclose(learned.sum(1), [2.15, 0.617, 0.148])


def test_published_values_beside_what_was_measured():
    values = [
        (name, seed, quantity, value + seed - 1)
        for quantity, cells in paper.VALUES
        for name, value in zip(("baseline", L2, "dropout=0.5"), cells, strict=True)
        for seed in range(3)
    ]
    claims = verdicts.claim_table(tables_of(values), FULL)
    claims = claims[claims.family == "values"]
    assert len(claims) == 3 * (2 + 15) and set(claims["size"]) == {"compatible"}
    np.testing.assert_allclose(claims["mean"], claims.published)


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


WHITE = (1, 4, 4)


def suppression_of(runs: dict) -> pd.DataFrame:
    """Of 3x3 layers, from energies by radius: {(configuration, seed): {layer: [epoch 0, 1, ..]}}."""
    rows = [
        (*run, epoch, layer, weights, *of_radius)
        for (run, layers), weights in itertools.product(runs.items(), ("raw", "folded"))
        for layer, epochs in layers.items()
        for epoch, energies in enumerate(epochs)
        for of_radius in zip((0, 1 / 3, math.sqrt(2) / 3), (1, 4, 4), energies)
    ]
    columns = ["configuration", "seed", "epoch", "layer", "weights", "radius", "multiplicity"]
    return suppression.suppression_table(pd.DataFrame(rows, columns=[*columns, "energy"]), 0.25)


def history_of(rows) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=["configuration", "seed", "epoch", "test_accuracy"])


def test_suppression_by_hand():
    runs = {}
    for name, first, second in (("l2", (4, 4, 0), (5, 5, 0)), ("baseline", WHITE, (5, 4, 1))):
        layers = {"conv1": [WHITE, (2, 4, 4), first], "second": [WHITE, WHITE, second]}
        runs = {(name, 0): layers} | runs
    runs["l2", 1] = {"conv1": [WHITE, WHITE]}  # not finished: left out
    table = suppression_of(runs)
    assert set(table.seed) == {0}
    rows = table[table.weights == "raw"].set_index(["configuration", "layer"])
    pooled = 1 - (13 / 19) / (16 / 18)
    for column, name, layer, expected in (
        # baseline: shares 8/9 -> 8/9 and 8/9 -> 1/2; l2: 8/9 -> 1/2 both times.
        ("ssr", "baseline", "conv1", 0),
        ("ssr", "baseline", "second", 1 - 9 / 16),
        ("ssr", "baseline", "all (mean)", (1 - 9 / 16) / 2),
        ("ssr", "baseline", "hidden (mean)", 1 - 9 / 16),
        ("ssr", "baseline", "all (energy-weighted)", pooled),
        ("corner_final", "baseline", "second", 0.1),
        ("corner_ssr", "baseline", "second", 1 - 0.1 / (4 / 9)),
        ("share_ratio", "l2", "conv1", (8 / 9) / (1 / 2)),
        ("share_ratio", "l2", "all (mean)", math.sqrt((8 / 9) / (1 / 2))),  # geometric, with 1
        ("energy_ratio", "l2", "conv1", (8 / 8) / (4 / 8)),
        ("energy_ratio", "l2", "second", (5 / 8) / (5 / 8)),
        # h is the sum of density / density at 0: 2/2 after epoch 1; then 2/1 and 1/4.
        ("published_ssr", "baseline", "conv1", 1 - 2 / 1),
        ("published_ssr", "l2", "conv1", 1 - 0.25),
        ("published_ratio", "l2", "conv1", nan),  # energy fell in one of the two
    ):
        found = rows[column][name, layer]
        assert found == pytest.approx(expected, nan_ok=True), (column, name, layer)
    assert rows.share_ratio["baseline"].isna().all()
    assert table.published_ssr.notna().sum() == 2  # of the first layer, raw, alone


def test_published_ratio_only_where_both_grew():
    """Relative to zero frequency energy grew fourfold and twofold: -3 / -1."""
    ends = {("baseline", 0): 0.25, ("l2", 0): 0.5, ("baseline", 1): 2, ("l2", 1): 4}
    ssr = suppression_of({run: {"conv1": [WHITE, WHITE, (x, 4, 4)]} for run, x in ends.items()})
    values = paper.RATIO.by_run({"ssr": ssr})["l2"]
    assert values.tolist() == pytest.approx([3, nan], nan_ok=True)


def test_lost_runs_leave_the_others():
    """The pairs that exist, with their number; a configuration without any keeps its column."""
    lost = {(L2, 1), *(("dropout=0.5", s) for s in range(3))}  # diverged in epoch 2
    runs = list(itertools.product(("baseline", L2, "dropout=0.5"), range(3)))
    epochs = {run: [WHITE, WHITE, (2, 4, 3)][: 2 if run in lost else 3] for run in runs}
    ssr = suppression_of({run: {"conv1": epochs[run], "b": epochs[run]} for run in runs})
    history = history_of((*run, e, 50.0 + run[1]) for run in runs for e in range(len(epochs[run])))
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
    run = {name: [WHITE, WHITE, (8, 1, i)] for i, name in enumerate(layers)}
    table = suppression_of({("baseline", 0): run})
    assert len(table) == 2 * (17 + 6)
    rows = table[table.weights == "raw"].set_index("layer").corner_final
    halved = table.corner_final.where(table.weights == "raw", table.corner_final / 2)
    history = history_of([("baseline", 0, 2, 50.0)])
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
    names += ["l2=0.1+dropout=0.1", "l2=0.1+dropout=0.2", "l2=0.1+dropout=0.3"]
    runs = list(itertools.product(names, (0, 1)))
    ends = {run: (1, 4, 4 - names.index(run[0]) / 2) for run in runs}
    ssr = suppression_of(
        {run: {"conv1": [WHITE] * 3, "second": [WHITE, WHITE, ends[run]]} for run in runs}
    )
    history = history_of((*run, 2, 10.0 * names.index(run[0]) + run[1]) for run in runs)
    dose = suppression.dose_table(history, ssr)
    assert set(dose.family) == {"l2"}
    assert dose.strength.tolist() == [0, 0, 1e-4, 1e-4, 1e-3, 1e-3, 1e-2, 1e-2]
    assert dose.test_accuracy.tolist() == [0, 1, 10, 11, 30, 31, 20, 21]
    expected = [1 - (4 - i / 2) / (9 - i / 2) / (4 / 9) for i in (0, 1, 3, 2)]
    np.testing.assert_allclose(dose.corner_ssr[::2], expected)
    # Of the model: the mean of its layers, of which the first stays white.
    high = np.array([(8 - i / 2) / (9 - i / 2) for i in (0, 1, 3, 2)])
    np.testing.assert_allclose(dose.ssr[::2], (1 - high / (8 / 9)) / 2, atol=1e-12)
