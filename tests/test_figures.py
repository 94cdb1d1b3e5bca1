"""Figures hold the numbers of their tables: lines, bars and images, computed again here."""

import itertools

import numpy as np
import pandas as pd
import pytest

from utils import statistics, suppression, visualizer

LABELS = {"dataset": "CIFAR-10", "scale": "quick", "device": "cpu"}
NAMES = ["baseline", "l2=0.0001", "l2=0.001", "l2=0.01", "dropout=0.5", "l2=0.001+dropout=0.3"]
LAYERS = ["conv1", "blocks.0.conv1", "blocks.0.conv2"]
WHITE = {0.0: 1 / 9, 1 / 3: 4 / 9, 2**0.5 / 3: 4 / 9}
RNG = np.random.default_rng(0)


def rows(columns, **values):
    """Every combination of the columns' values, with random numbers beside it."""
    table = pd.DataFrame(list(itertools.product(*columns.values())), columns=list(columns))
    for name, (low, high) in values.items():
        table[name] = RNG.uniform(low, high, len(table))
    return table.assign(**LABELS)


@pytest.fixture(scope="module")
def tables():
    runs = {"configuration": NAMES, "seed": [0, 1, 2]}
    spectrum = rows(
        runs
        | {"epoch": [0, 0.25, 1, 2], "layer": LAYERS, "weights": ["raw", "folded"]}
        | {"radius": list(WHITE)},
        energy=(1, 5),
    )
    spectrum["multiplicity"] = np.where(spectrum.radius == 0, 1, 4)
    key = ["configuration", "seed", "epoch", "layer", "weights"]
    spectrum["share"] = spectrum.energy / spectrum.groupby(key).energy.transform("sum")
    numbers = {f"{s}_{q}": (10, 90) for s in ("test", "train") for q in ("accuracy", "loss")}
    training = rows(runs | {"epoch": [0, 1, 2]}, **numbers)
    ssr = suppression.suppression_table(spectrum, 0.25).assign(**LABELS)
    dose = suppression.dose_table(training, ssr).assign(**LABELS)
    levels = [("none", 0.0), ("Gaussian noise", 0.05), ("Gaussian noise", 0.1)]
    accuracy = rows(runs | {"images": ["test"], "place": levels}, accuracy=(10, 90))
    accuracy["corruption"], accuracy["level"] = zip(*accuracy.pop("place"))
    return {"spectrum": spectrum, "training": training, "ssr": ssr, "dose": dose, "c": accuracy}


def drawn(figure):
    """All numbers that lines, bars and images of a figure show, rounded."""
    found = set()
    for ax in figure.axes:
        for line in ax.lines:
            found |= set(np.round(np.asarray(line.get_ydata(), float), 6))
        for bar in ax.patches:
            found.add(round(float(bar.get_height()), 6))
        for image in ax.images:
            found |= set(np.round(np.ma.filled(image.get_array(), np.nan).ravel(), 6))
    return found


def assert_shown(figure, values):
    missing = set(np.round(np.asarray(list(values), float), 6)) - drawn(figure)
    assert not missing, (
        f"{len(missing)} of {len(list(values))} are not drawn: {sorted(missing)[:5]}"
    )
    for ax in figure.axes:  # and only because of what is drawn
        for artist in [*ax.lines, *ax.patches, *ax.images]:
            artist.remove()
    assert not set(np.round(np.asarray(list(values), float), 6)) & drawn(figure)


def test_spectrum_evolution(tables):
    """Mean share over layers and seeds against white, in dB, high frequencies on top."""
    raw = tables["spectrum"][tables["spectrum"].weights == "raw"]
    raw = raw[raw.epoch % 1 == 0]
    figure = visualizer.spectrum_evolution(tables["spectrum"])
    images = [ax.images[0] for ax in figure.axes if ax.images and ax.get_title()]
    assert len(images) == len(NAMES) and len({image.get_clim() for image in images}) == 1
    low, high = images[0].get_clim()
    assert low == -high
    expected = []
    for image, name in zip(images, NAMES):
        share = raw[raw.configuration == name].groupby(["radius", "epoch"]).share.mean().unstack()
        db = 10 * np.log10(share.div(pd.Series(WHITE), axis=0)).to_numpy()
        np.testing.assert_allclose(image.get_array(), db, atol=1e-9)
        assert image.origin == "lower"
        expected += db.ravel().tolist()
    assert_shown(figure, expected)


def test_training(tables):
    table = tables["training"]
    means = [table.groupby(["configuration", "epoch"])[c].mean() for c in table if "accuracy" in c]
    assert_shown(visualizer.training(table), pd.concat(means))


def test_ssr_comparison(tables):
    ssr = tables["ssr"]
    bars = []
    for layer, weights in itertools.product(
        ("all (mean)", "all (energy-weighted)"), ("raw", "folded")
    ):
        chosen = ssr[(ssr.layer == layer) & (ssr.weights == weights)]
        bars += chosen.groupby("configuration").ssr.mean().tolist()
    assert_shown(visualizer.ssr_comparison(ssr), bars)


def test_layers(tables):
    ssr = tables["ssr"]
    single = ssr[(ssr.weights == "raw") & ssr.layer.isin(LAYERS)]
    means = single.groupby(["configuration", "layer"]).corner_final.mean()
    assert_shown(visualizer.layers(ssr), means)


def test_dose_response(tables):
    dose = tables["dose"]
    assert dose.strength.nunique() == 4
    for column in ("corner_final", "ssr", "test_accuracy"):
        values = [*dose[column], *dose.groupby("strength")[column].mean()]
        assert_shown(visualizer.dose_response(dose), values)


def test_robustness(tables):
    accuracy = tables["c"]
    leads = statistics.leads(accuracy).assign(comparison="last epoch")
    noisy = accuracy[accuracy.corruption == "Gaussian noise"]
    of = noisy.set_index(["configuration", "seed", "level"]).accuracy
    lead = (of - of["baseline"].reindex(of.index.droplevel(0)).to_numpy()).drop("baseline")
    means = [s.groupby(["configuration", "level"]).mean() for s in (of, lead)]
    figure = visualizer.robustness(accuracy, leads, ["Gaussian noise"], "title")
    assert_shown(figure, pd.concat(means))


def test_sensitivity():
    runs = {"configuration": ["baseline", "l2=0.001"], "seed": [0, 1], "epoch": [0, 10]}
    spectra = rows(runs | {"radius": [0, 0.1, 0.2, 0.5]}, white_db=(-9, 9))
    modes = [(u, v) for u in range(-3, 5) for v in range(5) if u >= 0 or v not in (0, 4)]
    maps = rows(runs | {"mode": modes}, power=(1, 2))
    maps["u"], maps["v"] = zip(*maps.pop("mode"))
    figure = visualizer.sensitivity(spectra, maps)
    final = maps[(maps.epoch > 0) & (maps.configuration == "baseline")]
    mean = final.groupby(["u", "v"]).power.mean()
    both = sum(p * (1 if (u % 8, v % 8) == (-u % 8, -v % 8) else 2) for (u, v), p in mean.items())
    expected = 10 * np.log10(mean / (both / 64))
    assert_shown(figure, [*spectra.white_db, *expected])
