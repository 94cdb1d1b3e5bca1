"""Figures hold the numbers of their tables, computed again here, and can be read."""

import base64
import importlib.util
import itertools

import numpy as np
import pandas as pd
import pytest
from conftest import ROOT
from matplotlib.animation import FuncAnimation

from utils import visualizer
from utils.evidence import robustness, suppression
from utils.figures import exp_a, exp_b, exp_c_d

LABELS = {"dataset": "CIFAR-10", "scale": "quick", "device": "cpu, 2 threads, torch 2.14.1"}
ONE, THREE = ["l2=0.001"], ["baseline", "l2=0.001", "dropout=0.5"]
EIGHT = ["baseline", "l2=0.0001", "l2=0.001", "l2=0.01", "conv-l2=0.001", "dropout=0.5"]
EIGHT += ["l2=0.001+dropout=0.3", "conv-l2=0.001+dropout=0.5"]
LAYERS = ["conv1", *(f"blocks.{block}.conv{i}" for block in range(8) for i in (1, 2))]
WHITE = {0.0: 1 / 9, 1 / 3: 4 / 9, 2**0.5 / 3: 4 / 9}
OFFSETS = [(0, 0), (0, 1), (0, 2), *((dy, dx) for dy in (1, 2) for dx in range(-2, 3))]
MODES = [(u, v) for u in range(-15, 17) for v in range(17) if u >= 0 or v not in (0, 16)]
RNG = np.random.default_rng(0)


def rows(columns, **values):
    """Every combination of the columns' values, with random numbers beside it."""
    table = pd.MultiIndex.from_product(columns.values(), names=list(columns)).to_frame(index=False)
    for name, (low, high) in values.items():
        table[name] = RNG.uniform(low, high, len(table))
    return table.assign(**LABELS)


def split(table, column, *names):
    """A column of tuples as columns."""
    table[list(names)] = table.pop(column).tolist()
    return table


def tables_b(configurations, seeds, epochs):
    """Of experiment B: random shares, ten steps an epoch."""
    runs = {"configuration": configurations, "seed": range(seeds)}
    kernels = {"layer": LAYERS, "weights": ["raw", "folded"]}
    times = [(s / 10, s) for s in (0, 1, 2, 4, 8)] + [(e, 10 * e) for e in range(1, epochs + 1)]
    spectrum = rows(runs | {"time": times} | kernels | {"radius": list(WHITE)}, energy=(1, 5))
    spectrum = split(spectrum, "time", "epoch", "step")
    spectrum["multiplicity"] = np.where(spectrum.radius == 0, 1, 4)
    spectrum["share"] = spectrum.energy / spectrum.energy.to_numpy().reshape(-1, 3).sum(1).repeat(3)
    numbers = {f"{s}_{q}": (1, 90) for s in ("test", "train") for q in ("accuracy", "loss")}
    training = rows(runs | {"epoch": range(epochs + 1)}, **numbers)
    training.loc[training.epoch == 0, ["train_accuracy", "train_loss"]] = np.nan
    ssr = suppression.suppression_table(spectrum, 0.25).assign(**LABELS)
    offsets = {"offset": OFFSETS}
    found = rows(runs | {"epoch": [0, epochs]} | kernels | offsets, value=(-0.1, 0.1))
    found = split(found, "offset", "dy", "dx")
    found.loc[(found.dy == 0) & (found.dx == 0), "value"] = 5
    films = found[(found.weights == "raw") & (found.layer == LAYERS[1]) & (found.seed == 0)]
    tables = {"spectrum": spectrum.assign(cutoff=0.25), "training": training, "ssr": ssr}
    tables |= {"autocorrelation": found, "response": films}
    dose = suppression.dose_table(training, ssr).assign(**LABELS)
    return tables | ({"dose_response": dose} if len(dose) else {})


def tables_cd(configurations, seeds, corruptions):
    """Accuracies and leads under corruptions by level, and examples, of C or of D."""
    runs = {"configuration": configurations, "seed": range(seeds)}
    levels = [("none", 0.0), *((name, x) for name, all_x in corruptions.items() for x in all_x)]
    one = {"epoch": [10], "images": ["test"]}
    accuracy = rows(runs | one | {"place": levels}, accuracy=(10, 90))
    accuracy = split(accuracy, "place", "corruption", "level").assign(n_images=1000, norm=5.5)
    leads = robustness.difference_to_baseline(accuracy).assign(comparison="last epoch")
    shown = rows({"place": levels[:6], "image": range(3)})
    shown = split(shown, "place", "corruption", "level").assign(edge=32)
    images = RNG.integers(0, 256, (len(shown), 32, 32, 3), np.uint8)
    shown["pixels"] = [base64.b64encode(image).decode() for image in images]
    return {"accuracy": accuracy, "lead": leads, "examples": shown}


def tables_c(configurations, seeds):
    levels = {"Gaussian noise": [0.05, 0.1, 0.3], "band noise": [0.05, 0.65]}
    tables = tables_cd(configurations, seeds, levels)
    modes = {"configuration": configurations, "seed": range(seeds), "mode": MODES}
    heatmap = rows(modes, error=(20, 90), clean_error=(20, 21)).assign(epoch=10)
    maps = rows(modes | {"epoch": [0, 10]}, power=(1, 2))
    heatmap, maps = split(heatmap, "mode", "u", "v"), split(maps, "mode", "u", "v")
    tables["fourier_heatmap"] = heatmap.assign(norm=4.0, n_images=256)
    return tables | {"robustness": tables["accuracy"], "sensitivity_map": maps}


def tables_d(configurations, seeds):
    levels = {"low resolution, bilinear": [32, 24, 8], "low resolution, antialiased": [32, 24, 8]}
    levels |= {
        "Gaussian blur": [0, 3, 11],
        "ideal low-pass": [0.5, 0.1],
        "ideal high-pass": [0.1, 0.2],
    }
    tables = tables_cd(configurations, seeds, levels)
    return tables | {"resolution_robustness": tables["accuracy"]}


def tables_a(strengths, frequencies, seeds, steps):
    columns = {"strength": strengths, "seed": range(seeds), "step": steps}
    ends = {"explained_variance": (-0.1, 1), "amplitude_ratio": (0, 1), "phase_error": (-3, 3)}
    table = rows(columns | {"frequency": frequencies}, **ends, amplitude=(1, 2))
    table = table.assign(setting="demo", dataset="sum of sinusoids").drop(columns="scale")
    fit = rows(columns | {"position": np.linspace(0, 1, 9)}, fit=(-1, 1), signal=(-1, 1))
    fit = fit[fit.seed == 0].assign(setting="demo").drop(columns="scale")
    return {"frequency": table, "learned": table[table.step == steps[-1]], "fit": fit}


def script(name):
    (path,) = (ROOT / "experiments").glob(f"exp_{name}_*.py")
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


SHAPES = {
    "one": (ONE, 1, 1),
    "three": (THREE, 5, 50),
    "eight": (EIGHT, 5, 1),
    "planted": (EIGHT, 1, 50),
    "full": ([*THREE, "l2=0.001+dropout=0.5"], 3, 10),
}


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("name", "abcd")
def test_every_figure_can_be_read(name, shape):
    """Nothing clipped, overlapping, unlabelled or empty, at one, three and eight configurations."""
    configurations, seeds, epochs = SHAPES[shape]
    if name == "a":
        frequencies = [5] if shape == "one" else range(5, 51, 5) if seeds == 1 else [5, 20, 50]
        strengths = [0, 1e-3, 1e-2, 1e-1][: max(1, len(configurations) // 2)]
        tables = tables_a(strengths, list(frequencies), seeds, [0, 1, 10, 500, 20000][: epochs + 1])
    elif name == "b":
        tables = tables_b(configurations, seeds, epochs)
    else:
        tables = {"c": tables_c, "d": tables_d}[name](configurations, seeds)
    if shape == "planted":  # long captions, and images with one cue alone
        changed = ", ".join(f"constant_{i}" for i in range(20))
        planted = {"dataset": "PLANTED CUES (not CIFAR-10)", "scale": f"quick, changed: {changed}"}
        tables = {title: table.assign(**planted) for title, table in tables.items()}
        for title in ("training", "robustness", "resolution_robustness"):
            if title == "training" and title in tables:
                tables[title] = tables[title].assign(low_cue_accuracy=9, high_cue_accuracy=8)
            elif title in tables:
                cues = [tables[title].assign(images=cue) for cue in ("test", "low cue", "high cue")]
                tables[title] = pd.concat(cues)
    if shape == "full":  # with what was published, and a long name of a GPU
        device = "cuda: NVIDIA H100 80GB HBM3, torch 2.14.1+cu130"
        tables = {n: table.assign(device=device) for n, table in tables.items()}
        tables = {n: t.assign(scale="full") if "scale" in t else t for n, t in tables.items()}
    drawn = script(name).figures(tables)
    assert len(drawn) >= 4 or name == "d"
    for title, figure in drawn.items():
        figure = figure._fig if isinstance(figure, FuncAnimation) else figure
        assert_readable(figure, title)
        assert ("#C00000" == figure._supxlabel.get_color()) == (shape == "planted")


def assert_readable(figure, name):
    figure.set_dpi(120)  # as it is saved: ticks depend on it
    figure.draw_without_rendering()
    whole, texts, problems = figure.bbox.padded(1), {}, []
    assert figure.get_figwidth() < 10, name  # letters of 9 points are 11 pixels of 900
    parts = [figure, *figure.subfigs, *(s for part in figure.subfigs for s in part.subfigs)]
    for part in parts:
        around = (part._suptitle, part._supxlabel, part._supylabel, *part.legends)
        texts |= {a: a.get_window_extent() for a in around if a is not None and words(a)}
    for ax in figure.axes:
        data = [*ax.lines, *ax.images, *ax.collections]
        assert data or ax.get_label() == "<colorbar>", f"{name}: an empty panel"
        alike = ax.get_shared_x_axes().get_siblings(ax) + ax.get_shared_y_axes().get_siblings(ax)
        labels = {a: [a.title, a.xaxis.label, a.yaxis.label] for a in (ax, *alike)}
        assert name == "examples" or any(map(words, itertools.chain(*labels.values()))), name
        ticks = [t for axis in (ax.xaxis, ax.yaxis) for t in ticks_shown(axis) if ax.axison]
        shown = [t for t in (*labels[ax], *ticks) if words(t) and t.get_visible()]
        texts |= {t: t.get_window_extent() for t in shown}
        problems += [
            f"a marker of {line.get_label()!r} is cut off at a side"
            for line in ax.lines
            if line.get_marker() not in ("None", "") and len(line.get_xdata())
            for x in ax.transData.transform(line.get_xydata())[:, 0]
            if np.isfinite(x) and not reach(line) <= x - ax.bbox.x0 <= ax.bbox.width - reach(line)
        ]
        problems += [  # these may touch each other
            f"{words(text)!r} in a panel is clipped"
            for text in ax.texts
            if not inside(text.get_window_extent(), whole)
        ]
    for text, box in texts.items():
        if not inside(box, whole):
            problems.append(f"{words(text)!r} is clipped")
    for (one, a), (other, b) in itertools.combinations(texts.items(), 2):
        if a.padded(-1).overlaps(b.padded(-1)):
            problems.append(f"{words(one)!r} and {words(other)!r} overlap")
    assert not problems, (name, problems)
    assert figure.get_supxlabel()


def reach(line):
    """Half of a marker, in pixels, as far as it tells which one it is."""
    return 0.7 * line.get_markersize() / 2 * line.axes.figure.dpi / 72


def ticks_shown(axis):
    low, high = sorted(axis.get_view_interval())
    places = zip(axis.get_majorticklocs(), axis.get_majorticklabels())
    return [label for place, label in places if low <= place <= high]


def inside(box, whole):
    return whole.contains(*box.min) and whole.contains(*box.max)


def words(text):
    return text.get_text() if hasattr(text, "get_text") else "legend"


def drawn(figure):
    """All numbers that lines and images of a figure show, rounded."""
    found = set()
    for artist in itertools.chain(*((*a.lines, *a.images, *a.collections) for a in figure.axes)):
        shown = artist.get_ydata() if hasattr(artist, "get_ydata") else artist.get_array()
        found |= set() if shown is None else as_set(np.ma.filled(shown, np.nan))
    return found


def as_set(values):
    values = np.ravel(np.asarray(values, float))
    return set(np.round(values[~np.isnan(values)], 6))


def assert_shown(figure, values):
    values = as_set(values)
    missing = values - drawn(figure)
    assert not missing, f"{len(missing)} of {len(values)} are not drawn: {sorted(missing)[:5]}"
    for ax in figure.axes:  # and only because of what is drawn
        for artist in [*ax.lines, *ax.images, *ax.collections]:
            artist.remove()
    assert not values & drawn(figure)


def panel(figure, title):
    (ax,) = (ax for ax in figure.axes if " ".join(ax.get_title().split()) == title)
    return ax


@pytest.fixture(scope="module")
def b():
    return tables_b(EIGHT, 3, 2)


def hidden_db(spectrum):
    """dB by configuration, seed, step and radius: mean share of the hidden layers over white."""
    raw = spectrum[(spectrum.weights == "raw") & (spectrum.layer != "conv1")]
    share = raw.groupby(["configuration", "seed", "step", "radius"]).share.mean().unstack()
    return 10 * np.log10(share / pd.Series(WHITE))


def test_spectrum_evolution(b):
    """Means over seeds, high frequencies on top, on one scale around 0; curves from step 0 on."""
    figure = exp_b.spectrum_evolution(b["spectrum"], b["training"])
    db, last = hidden_db(b["spectrum"]), b["training"][b["training"].epoch == 2]
    accuracy, scales = last.groupby("configuration").test_accuracy.mean(), set()
    for name, label in (("baseline", "baseline"), ("conv-l2=0.001", "conv-L2 1e-3")):
        ax = panel(figure, f"{label}, {accuracy[name]:.1f} %")
        (mesh,) = ax.collections
        expected = db.loc[name].groupby("step").mean().loc[[0, 10, 20]].T
        np.testing.assert_allclose(mesh.get_array(), expected, atol=1e-9)
        np.testing.assert_allclose(mesh.get_coordinates()[0, :, 0], [-0.5, 0.5, 1.5, 2.5])
        assert ax.get_ylim() == (-0.5, 2.5)  # upwards
        scales.add(mesh.get_clim())
    ((low, high),) = scales
    assert (
        low
        == -high
        == -db.groupby(["configuration", "step"]).mean().loc[:, [0, 10, 20], :].abs().max().max()
        or low == -high
    )
    difference = db.loc["l2=0.001"] - db.loc["baseline"]
    mesh = panel(figure, "L2 1e-3 minus baseline").collections[0]
    expected = difference.groupby("step").mean().loc[[0, 10, 20]].T
    np.testing.assert_allclose(mesh.get_array(), expected, atol=1e-9)
    corner = db[2**0.5 / 3]
    curves = [ax for ax in figure.axes if "step" in ax.get_xlabel()]
    assert [len(ax.lines) for ax in curves] == [8 * 4 + 1, 7 * 4 + 1]
    mean = corner["l2=0.001"].unstack("seed").mean(axis=1)
    (line,) = (x for x in curves[0].lines if x.get_label() == "L2 1e-3")
    np.testing.assert_allclose(line.get_ydata(), mean)
    assert line.get_xdata().tolist() == [0, 1, 2, 4, 8, 10, 20]
    of_seed = [corner[name] - corner["baseline"] for name in EIGHT[1:]]
    assert_shown(figure, [*corner, *pd.concat(of_seed)])


def test_not_yet_trained_is_hatched(b):
    """While baseline is ahead by an epoch, L2's last column is empty and its panel hatched."""
    ahead = (b["spectrum"].configuration != "baseline") & (b["spectrum"].epoch > 1)
    figure = exp_b.spectrum_evolution(b["spectrum"][~ahead], b["training"])
    ax = next(ax for ax in figure.axes if ax.get_title().split()[:2] == ["L2", "1e-3,"])
    assert np.ma.getmaskarray(ax.collections[0].get_array()).tolist() == [[False, False, True]] * 3
    assert ax.patch.get_hatch()
    alone = b["spectrum"][(b["spectrum"].configuration == "baseline") != (b["spectrum"].seed > 0)]
    exp_b.spectrum_evolution(alone, b["training"])  # no seed has both


def test_first_layer(b):
    spectrum = b["spectrum"]
    raw = spectrum[(spectrum.weights == "raw") & (spectrum.layer == "conv1")]
    density = raw.pivot(index=["configuration", "seed", "step"], columns="radius", values="energy")
    density /= [1, 4, 4]
    relative = density.div(density[0.0], axis=0)
    whole = relative.loc[:, :, [0, 10, 20]]
    maps = (10 * np.log10(whole)).groupby(["configuration", "step"]).mean()
    assert_shown(exp_b.first_layer(spectrum), [*maps.to_numpy().ravel(), *whole.sum(axis=1) - 1])


def test_layer_evolution(b):
    """The first layer on top; every step reaches half-way to the next."""
    spectrum = b["spectrum"]
    corner = spectrum[(spectrum.weights == "raw") & (spectrum.radius > 0.4)]
    db = 10 * np.log10(corner.set_index(["configuration", "seed", "layer", "step"]).share * 9 / 4)
    figure = exp_b.layer_evolution(spectrum)
    for title, values in (
        ("L2 1e-3", db["l2=0.001"]),
        ("L2 1e-3 minus baseline", db["l2=0.001"] - db["baseline"]),
    ):
        ax = panel(figure, title)
        expected = values.groupby(["layer", "step"]).mean().unstack().loc[LAYERS[::-1]]
        np.testing.assert_allclose(ax.collections[0].get_array(), expected, atol=1e-9)
        assert ax.get_yticks().tolist() == [*range(17)] and ax.get_xscale() == "symlog"
        names = [t.get_text() for t in figure.axes[0].get_yticklabels()]
        assert names[0] == "7.2" and names[-2:] == ["0.1", "conv1"]
        edges = ax.collections[0].get_coordinates()[0, :, 0]
        np.testing.assert_allclose(edges, [-0.5, 0.5, 1.5, 3, 6, 9, 15, 25])
        separators = {line.get_ydata()[0] for line in ax.lines}
        assert separators == {3.5, 7.5, 11.5, 15.5}  # conv1, then four of each stage


def test_response():
    """Of random kernels, by numpy's FFT; from both axes, both diagonals, and all directions."""
    tables, expected = [], {}
    runs = itertools.product(["baseline", "l2=0.001"], [0, 1], [0, 3])
    for name, seed, epoch in runs:
        powers = []
        for layer in ("conv1", "a", "b"):
            kernels = RNG.standard_normal((4, 3, 3)) * [1, 2, 1]
            spectra = np.abs(np.fft.fft2(kernels, (32, 32))) ** 2
            correlation = np.fft.ifft2(spectra.sum(0)).real  # 5 x 5 numbers, around index 0
            found = [(dy, dx, correlation[dy, dx]) for dy, dx in OFFSETS]
            table = pd.DataFrame(found, columns=["dy", "dx", "value"])
            key = {"configuration": name, "seed": seed, "epoch": epoch, "layer": layer}
            tables.append(table.assign(**key, weights="raw", **LABELS))
            powers.append(np.fft.fftshift(spectra.sum(0)) / (kernels**2).sum())
        expected[name, seed, epoch] = 10 * np.log10(np.mean(powers[1:], axis=0))
    figure = exp_b.response(pd.concat(tables))
    of = {name: np.mean([expected[name, seed, 3] for seed in (0, 1)], axis=0) for name in THREE[:2]}
    first = np.mean([grid for key, grid in expected.items() if key[2] == 0], axis=0)
    for title, grid in (
        ("baseline", of["baseline"]),
        ("L2 1e-3", of["l2=0.001"]),
        ("initially", first),
        ("L2 1e-3 minus baseline", of["l2=0.001"] - of["baseline"]),
    ):
        image = panel(figure, title).images[0]
        np.testing.assert_allclose(image.get_array(), grid, atol=1e-9)
        left, right, *_ = image.get_extent()
        centres = left + (np.arange(32) + 0.5) * (right - left) / 32
        np.testing.assert_allclose(centres, np.fft.fftshift(np.fft.fftfreq(32)), atol=1e-12)
        assert image.origin == "lower"
    power = 10 ** (expected["l2=0.001", 1, 3] / 10)
    axes = [10 * np.log10((power[16 + i, 16] + power[16, 16 + i]) / 2) for i in range(16)]
    diagonals = [(power[16 + i, 16 + i] + power[16 + i, 16 - i]) / 2 for i in range(16)]
    f = np.fft.fftshift(np.fft.fftfreq(32))
    ring = power[np.round(32 * np.hypot(f[:, None], f)) == 12].mean()
    assert_shown(figure, [*axes, *10 * np.log10(diagonals), 10 * np.log10(ring)])


def test_evolution(b):
    """The spectrum fills in epoch by epoch, beside the response after it."""
    film = b["response"].assign(value=lambda t: t.value + t.epoch * (t.dy == 1) / 9)
    animation = exp_b.evolution(b["spectrum"], film)
    figure = animation._fig
    assert [*dict.fromkeys(animation.new_frame_seq())] == [0, 2]
    animation._func(0)
    up, down = (ax for ax in figure.axes if ax.get_title().strip() == "baseline")
    (up,), (down,) = up.images, down.collections
    before = up.get_array().copy()
    assert np.ma.getmaskarray(down.get_array()).tolist() == [[False, True, True]] * 3
    animation._func(2)
    assert not np.ma.getmaskarray(down.get_array()).any()
    assert (up.get_array() != before).any() and "epoch 2" in figure.get_suptitle()
    expected = hidden_db(b["spectrum"]).loc["baseline", 0].loc[[0, 10, 20]].T
    np.testing.assert_allclose(down.get_array(), expected, atol=1e-9)
    lost = film[(film.configuration != "baseline") | (film.epoch > 0)]  # weights that were not kept
    animation = exp_b.evolution(b["spectrum"], lost)
    animation._func(0)
    (up, _) = (ax for ax in animation._fig.axes if ax.get_title().strip() == "baseline")
    assert np.isnan(np.ma.filled(up.images[0].get_array(), np.nan)).all() and up.patch.get_hatch()


def test_without_a_baseline_nothing_is_compared(b):
    """No empty panel stands for a difference."""
    for name in ("spectrum", "training"):
        assert len(b[name][b[name].configuration != "baseline"])
    spectrum = b["spectrum"][b["spectrum"].configuration != "baseline"]
    figure = exp_b.spectrum_evolution(spectrum, b["training"])
    assert not [ax for ax in figure.axes if "minus baseline" in ax.get_ylabel()]


def test_unequal_seeds_are_told(b):
    lost = (b["ssr"].configuration == "l2=0.001") & (b["ssr"].seed == 1)
    assert "n = 2 or 3 seeds" in exp_b.layers(b["ssr"][~lost]).get_supxlabel()
    assert "n = 3 seeds" in exp_b.layers(b["ssr"]).get_supxlabel()


def test_ssr_comparison(b):
    """A dot for every seed; means, of ratios by logarithms; paired differences with intervals."""
    ssr = b["ssr"]
    key = ["configuration", "seed"]
    of = {
        w: ssr[(ssr.layer == "hidden (mean)") & (ssr.weights == w)].set_index(key)
        for w in ("raw", "folded")
    }
    shown = [*of["raw"].corner_ssr, *of["folded"].corner_ssr]
    shown += [*of["raw"].corner_ssr.groupby("configuration").mean()]
    paired = of["raw"].corner_ssr["l2=0.001"] - of["raw"].corner_ssr["baseline"]
    half = 4.302652729911275 * paired.std() / 3**0.5  # Student's t of 2 degrees of freedom
    shown += [*paired, paired.mean() - half, paired.mean() + half]
    for layer in ("all (mean)", "all (energy-weighted)"):
        shown += [*ssr[(ssr.layer == layer) & (ssr.weights == "raw")].ssr]
    shown += [*ssr[ssr.published_ssr.notna()].published_ssr]
    ratios = ssr[(ssr.layer == "all (mean)") & (ssr.weights == "raw")].energy_ratio.dropna()
    by_name = ssr.loc[ratios.index].groupby("configuration").energy_ratio
    shown += [*ratios, *by_name.agg(lambda r: np.exp(np.log(r).mean()))]
    assert_shown(exp_b.ssr_comparison(ssr), shown)


def test_layers(b):
    """Differences from the baseline of the same seed, layer by layer, and how many are below."""
    ssr = b["ssr"][b["ssr"].weights == "raw"]
    corner = ssr.pivot(index=["layer", "seed"], columns="configuration", values="corner_final")
    corner = corner.loc[LAYERS]
    difference = corner.sub(corner["baseline"], axis=0)
    figure = exp_b.layers(b["ssr"])
    below = (difference["l2=0.001"] < 0).sum()
    assert f"in {below} of 51 " in figure.axes[0].get_title()
    shown = [*difference.drop(columns="baseline").to_numpy().ravel()]
    shown += [*difference["l2=0.01"].groupby("layer").mean(), *corner["l2=0.001"]]
    assert_shown(figure, [*shown, *corner.groupby("layer").mean().to_numpy().ravel()])


def test_training(b):
    """Every seed and the mean; a spike of the loss is cut off, and this is said."""
    history = b["training"].copy()
    history.loc[5, "test_loss"] = 1234
    columns = [f"{images}_{q}" for images in ("test", "train") for q in ("accuracy", "loss")]
    figure = exp_b.training(history)
    (loss,) = (ax for ax in figure.axes if ax.get_ylabel().startswith("test loss"))
    assert "up to 1.23e+03" in loss.get_title() and loss.get_ylim()[1] < 200
    assert loss.get_yscale() == "log"
    means = history.groupby(["configuration", "epoch"])[columns].mean()
    assert_shown(figure, [*history[columns].to_numpy().ravel(), *means.to_numpy().ravel()])


def test_dose_response(b):
    dose = b["dose_response"]
    assert dose.strength.nunique() == 4
    columns = ["corner_ssr", "ssr", "test_accuracy"]
    means = dose.groupby("strength")[columns].mean()
    shown = [*dose[columns].to_numpy().ravel(), *means.to_numpy().ravel()]
    assert_shown(exp_b.dose_response(dose), shown)


def test_corner_over_steps(b):
    other = tables_b(THREE, 2, 4)["spectrum"]
    figure = exp_b.corner_over_steps({"quick": b["spectrum"], "full": other})
    shown = []
    for table in (b["spectrum"], other):
        corner = hidden_db(table)[2**0.5 / 3]
        difference = corner["l2=0.001"] - corner["baseline"]
        shown += [*difference, *difference.groupby("step").mean(), 0]
    assert [t.get_text() for t in figure.legends[0].get_texts()] == ["quick, n = 3", "full, n = 2"]
    assert_shown(figure, shown)


def test_robustness():
    """Accuracies and leads of every seed, means, intervals; clean, chance and claims marked."""
    tables = tables_c(THREE, 3)
    accuracy, leads = tables["robustness"], tables["lead"]
    figure = exp_c_d.robustness(accuracy, leads, ["Gaussian noise"], "title")
    of = accuracy.set_index(["configuration", "seed", "level"])
    noisy = of[of.corruption == "Gaussian noise"].accuracy
    lead = pd.concat({n: noisy[n] - noisy["baseline"] for n in THREE[1:]})
    shown = [*noisy, *lead, *noisy.groupby(level=[0, 2]).mean(), *lead.groupby(level=[0, 2]).mean()]
    clean = of[of.corruption == "none"].accuracy
    legend = [t.get_text() for t in figure.legends[0].get_texts()]
    assert {"baseline", "clean images", "chance, 10 %", "claimed point"} <= set(legend)
    assert "1,000 test images" in figure.get_supxlabel()
    paired = lead["l2=0.001"].unstack()[0.1]
    half = 4.302652729911275 * paired.std() / 3**0.5
    bars = [line.get_ydata() for line in figure.axes[1].lines if line.get_marker() == "_"]
    assert len(bars) == 2 * 3 and any(np.isclose(np.ptp(bar), 2 * half) for bar in bars)
    low, high = figure.axes[1].get_ylim()  # for the seeds, not for intervals far beyond them
    assert low < lead.min() and high > lead.max()
    assert high - low < 2.01 * (max(lead.max(), 0) - min(lead.min(), 0))
    assert_shown(figure, [*shown, *clean.groupby("configuration").mean(), 10])


def test_published_values_only_in_their_setting(b):
    ssr = b["ssr"][b["ssr"].configuration.isin(THREE)]
    tables = tables_d(THREE, 2)
    accuracy, leads = tables["resolution_robustness"], tables["lead"]
    for scale, there in (("quick", False), ("full", True), ("full, changed: epochs", False)):
        low = ["low resolution, bilinear"]
        for figure, value in (
            (exp_b.ssr_comparison(ssr.assign(scale=scale)), -4.463),
            (exp_c_d.robustness(accuracy.assign(scale=scale), leads, low, "title"), 82.27),
        ):
            assert (value in drawn(figure)) == there


def test_fourier_heatmap_and_sensitivity():
    """Modes in place, mirrored; beyond each model's clean error; against white."""
    tables = tables_c(THREE, 2)
    heatmap, maps = tables["fourier_heatmap"], tables["sensitivity_map"]

    def grid(values):
        found = np.full((32, 32), np.nan)
        for (u, v), value in values.items():
            found[(u + 16) % 32, (v + 16) % 32] = found[(16 - u) % 32, (16 - v) % 32] = value
        assert not np.isnan(found).any()
        return found

    heatmap["excess"] = heatmap.error - heatmap.clean_error
    mean = heatmap.groupby(["configuration", "u", "v"]).excess.mean()
    figure = exp_c_d.fourier_heatmap(heatmap)
    assert "512 test images" in figure.get_supxlabel() and "2.2 points" in figure.get_supxlabel()
    fewer = heatmap.assign(n_images=np.where(heatmap.seed == 1, 144, 256))  # the last of them all
    assert "400 test images" in exp_c_d.fourier_heatmap(fewer).get_supxlabel()
    for title, values in (
        ("L2 1e-3", mean["l2=0.001"]),
        ("L2 1e-3 minus baseline", mean["l2=0.001"] - mean["baseline"]),
    ):
        np.testing.assert_allclose(panel(figure, title).images[0].get_array(), grid(values))
    lost = exp_c_d.sensitivity(maps[maps.epoch > 0])  # no initial weights were kept
    assert {"baseline", "dropout 0.5"} < {" ".join(ax.get_title().split()) for ax in lost.axes}
    figure = exp_c_d.sensitivity(maps)
    last = maps[(maps.epoch == 10) & (maps.configuration == "dropout=0.5")]
    grids = [grid(last[last.seed == seed].set_index(["u", "v"]).power) for seed in (0, 1)]
    expected = np.mean([10 * np.log10(g / g.mean()) for g in grids], axis=0)
    found = panel(figure, "dropout 0.5").images[0].get_array()
    np.testing.assert_allclose(found, expected, atol=1e-9)


def test_examples():
    shown = tables_c(THREE, 1)["examples"]
    figure = exp_c_d.examples(shown)
    first = shown[shown.image == 0].iloc[1]
    image = np.frombuffer(base64.b64decode(first.pixels), np.uint8).reshape(32, 32, 3)
    assert (figure.axes[1].images[0].get_array() == image).all()
    assert figure.axes[1].get_title().split() == ["Gaussian", "noise", "sigma", "0.05"]


def test_figures_of_experiment_a():
    tables = tables_a([0.0, 0.01], [5, 20, 50], 3, [0, 100, 500, 900])
    frequency = tables["frequency"].assign(setting="demo, changed: steps")
    curves = exp_a.frequency_curves(frequency)
    crosses = {
        tuple(x.get_xydata()[0]) for ax in curves.axes for x in ax.lines if x.get_marker() == "x"
    }
    assert {(500, 0.81), (500, 0.34), (500, 0.074), (500, 0.57)} < crosses
    key = ["strength", "frequency", "step"]
    means = frequency.groupby(key)[["explained_variance", "amplitude_ratio"]].mean()
    assert_shown(curves, [*frequency.explained_variance, *means.explained_variance])
    figure = exp_a.spectral_bias(frequency)
    ratio = means.amplitude_ratio[0.01].unstack()  # the highest on top
    mesh = panel(figure, "penalty 0.01").collections[0]
    np.testing.assert_allclose(mesh.get_array(), ratio)
    assert panel(figure, "penalty 0.01").get_ylim() == (-0.5, 2.5)
    animation = exp_a.comparison(tables["fit"])
    animation._func(900)
    last = tables["fit"][tables["fit"].step == 900]
    assert as_set([*last.fit, *last[last.strength == 0].signal]) <= drawn(animation._fig) | as_set(
        tables["fit"].signal
    )
    wave = exp_a.frequency_decomp(tables["learned"]).axes[0].lines
    assert [line.get_label() for line in wave] == ["signal", "fits", "fits", "fits"]
    one = tables["learned"].query("strength == 0 and frequency == 50 and seed == 1").iloc[0]
    turn = 2 * np.pi * wave[2].get_xdata()
    expected = one.amplitude * one.amplitude_ratio * np.sin(turn + one.phase_error)
    np.testing.assert_allclose(wave[2].get_ydata(), expected)


def test_looks_differ_in_grey():
    """Families by line and marker; strengths of a family by lightness."""
    looks = [visualizer.look(name) for name in EIGHT]
    assert len({(str(x["linestyle"]), x["marker"], x["color"]) for x in looks}) == 8
    families = ["baseline", "l2=0.001", "conv-l2=0.001", "dropout=0.5", "l2=0.001+dropout=0.5"]
    assert len({str(visualizer.look(name)["linestyle"]) for name in families}) == 5
    assert len({visualizer.look(name)["marker"] for name in families}) == 5
    weights = [0.2126, 0.7152, 0.0722]
    grey = [visualizer.DIVERGING(x)[:3] @ np.array(weights) for x in np.linspace(0, 1, 50)]
    assert (np.diff(grey) > 0).all()  # below zero is darker than above it
    light = [
        np.dot(
            [int(visualizer.look(f"l2={s}")["color"][i : i + 2], 16) for i in (1, 3, 5)], weights
        )
        for s in (1e-4, 2e-4, 5e-4, 1e-3, 2e-3, 5e-3, 1e-2)
    ]
    assert (np.diff(light) < -5).all()


@pytest.mark.parametrize("folder", ["quick", "medium"])
def test_committed_maps_can_be_read(folder):
    """Real numbers: ticks of other lengths than those of made ones."""
    place = ROOT / "results" / "reference" / folder
    maps = pd.read_csv(place / "exp_c_sensitivity_map.csv.gz")
    heat = pd.read_csv(place / "exp_c_fourier_heatmap.csv.gz")
    for draws, table in ((exp_c_d.sensitivity, maps), (exp_c_d.fourier_heatmap, heat)):
        assert_readable(draws(table), draws.__name__)


@pytest.mark.parametrize("folder", ["quick", "dropout"])
def test_numbers_of_means_do_not_touch(folder):
    """Three models in three groups have no room for numbers in the narrowest panel."""
    table = pd.read_csv(next((ROOT / "results" / "reference" / folder).glob("exp_b_ssr.csv*")))
    figure = exp_b.ssr_comparison(table)
    figure.set_dpi(120)
    figure.draw_without_rendering()
    boxes = [text.get_window_extent() for text in figure.axes[-1].texts]
    assert len(boxes) == (6 if folder == "quick" else 0)
    assert not any(a.overlaps(b) for a, b in itertools.combinations(boxes, 2))
