"""Figures hold the numbers of their tables, computed again here, and can be read."""

import itertools
import runpy

import matplotlib
import numpy as np
import pandas as pd
import pytest
from conftest import ROOT
from matplotlib.animation import FuncAnimation
from matplotlib.colors import to_rgb
from PIL import Image

from utils import configurations, visualizer
from utils.evidence import robustness, suppression
from utils.figures import exp_a, exp_b, exp_b_ssr, exp_c_d

LABELS = {"dataset": "CIFAR-10", "scale": "quick", "device": "cpu, 2 threads, torch 2.14.1"}
ONE, THREE = ["l2=0.001"], ["baseline", "l2=0.001", "dropout=0.5"]
EIGHT = ["baseline", "l2=0.0001", "l2=0.001", "l2=0.01", "conv-l2=0.001", "dropout=0.5"]
EIGHT += ["l2=0.001+dropout=0.3", "conv-l2=0.001+dropout=0.5"]
LAYERS = ["conv1", *(f"blocks.{block}.conv{i}" for block in range(8) for i in (1, 2))]
WHITE = {0.0: 1 / 9, 1 / 3: 4 / 9, 2**0.5 / 3: 4 / 9}
OFFSETS = [(0, 0), (0, 1), (0, 2), *((dy, dx) for dy in (1, 2) for dx in range(-2, 3))]
MODES = [(u, v) for u in range(-15, 17) for v in range(17) if u >= 0 or v not in (0, 16)]
RNG = np.random.default_rng(0)
T3 = 4.302652729911275  # of Student's t, 2 degrees of freedom, 97.5 %


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
    tables = {"spectrum": spectrum.assign(cutoff=0.25), "training": training, "ssr": ssr}
    tables["autocorrelation"] = found
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
    shown = split(shown, "place", "corruption", "level")
    images = RNG.integers(0, 256, (len(shown), 32, 32, 3), np.uint8)
    shown["pixels"] = list(images)
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
    levels |= {"Gaussian blur": [0, 3, 11], "ideal low-pass": [0.5, 0.1]}
    tables = tables_cd(configurations, seeds, levels | {"ideal high-pass": [0.1, 0.2]})
    return tables | {"resolution_robustness": tables["accuracy"]}


def tables_a(strengths, frequencies, seeds, steps):
    columns = {"strength": strengths, "seed": range(seeds), "step": steps}
    ends = {"explained_variance": (-0.1, 1), "amplitude_ratio": (0, 1), "phase_error": (-3, 3)}
    table = rows(columns | {"frequency": frequencies}, **ends, amplitude=(1, 2))
    table = table.assign(setting="demo", dataset="sum of sinusoids").drop(columns="scale")
    fit = rows(columns | {"position": np.linspace(0, 1, 9)}, fit=(-1, 1), signal=(-1, 1))
    fit = fit[fit.seed == 0].assign(setting="demo").drop(columns="scale")
    return {"frequency": table, "learned": table[table.step == steps[-1]], "fit": fit}


SHAPES = {"one": (ONE, 1, 1), "planted": (EIGHT, 2, 50)}


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("name", "abcd")
def test_every_figure_can_be_read(name, shape):
    """Nothing clipped, overlapping, unlabelled or empty, of one configuration and of eight."""
    names, seeds, epochs = SHAPES[shape]
    frequencies = {"one": [5], "planted": range(5, 51, 5)}[shape]
    steps = [0, 1, 10, 500, 20000][: epochs + 1]
    tables = {
        "a": lambda: tables_a(
            [0, 1e-3, 1e-2, 1e-1][: (len(names) + 1) // 2], frequencies, 2, steps
        ),
        "b": lambda: tables_b(names, seeds, epochs),
        "c": lambda: tables_c(names, seeds),
        "d": lambda: tables_d(names, seeds),
    }[name]()
    changed = {
        "one": {"scale": "full", "device": "cuda: NVIDIA H100 80GB HBM3, torch 2.14.1+cu130"},
        "planted": {"dataset": "PLANTED CUES (not CIFAR-10)", "scale": "constants, " * 20},
    }[shape]
    if shape == "planted" and name in "cd":
        key = {"c": "robustness", "d": "resolution_robustness"}[name]
        cues = ("test", "low cue", "high cue")
        tables[key] = pd.concat([tables[key].assign(images=cue) for cue in cues])
    for key, table in tables.items():
        tables[key] = table.assign(**{c: text for c, text in changed.items() if c in table})
    (path,) = (ROOT / "experiments").glob(f"exp_{name}_*.py")
    drawn = runpy.run_path(str(path))["figures"](tables)
    assert len(drawn) >= 4 or name == "d"
    for title, figure in drawn.items():
        figure = figure._fig if isinstance(figure, FuncAnimation) else figure
        assert_looks(figure, names)
        assert_readable(figure, title)
        assert ("#C00000" == figure._supxlabel.get_color()) == (shape == "planted")


def assert_looks(figure, names):
    """Every line that is a configuration's has the configuration's colour and marker."""
    looks = {configurations.label(name): visualizer.line_style(name) for name in names}
    for line in itertools.chain(*(ax.lines for ax in figure.axes)):
        if look := looks.get(line.get_label()):
            assert (line.get_color(), line.get_marker()) == (look["color"], look["marker"])


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
        for line in ax.lines:
            if line.get_marker() not in ("None", "") and len(line.get_xdata()):
                reach = 0.7 * line.get_markersize() / 2 * figure.dpi / 72  # that tells which it is
                x = ax.transData.transform(line.get_xydata())[:, 0] - ax.bbox.x0
                if not ((reach <= x) & (x <= ax.bbox.width - reach) | np.isnan(x)).all():
                    problems.append(f"a marker of {line.get_label()!r} is cut off at a side")
        boxes = {text: text.get_window_extent() for text in ax.texts}  # may touch each other
        problems += [f"{words(x)!r} is clipped" for x, box in boxes.items() if outside(box, whole)]
    problems += [f"{words(x)!r} is clipped" for x, box in texts.items() if outside(box, whole)]
    for (one, a), (other, b) in itertools.combinations(texts.items(), 2):
        if a.padded(-1).overlaps(b.padded(-1)):
            problems.append(f"{words(one)!r} and {words(other)!r} overlap")
    assert not problems, (name, problems)
    assert figure.get_supxlabel()


def ticks_shown(axis):
    low, high = sorted(axis.get_view_interval())
    places = zip(axis.get_majorticklocs(), axis.get_majorticklabels())
    return [label for place, label in places if low <= place <= high]


def outside(box, whole):
    return not (whole.contains(*box.min) and whole.contains(*box.max))


def words(text):
    return text.get_text() if hasattr(text, "get_text") else "legend"


def drawn(figure, axis="y"):
    """All numbers that lines, along an axis, and images of a figure show, rounded."""
    found = set()
    for artist in itertools.chain(*((*a.lines, *a.images, *a.collections) for a in figure.axes)):
        lines = getattr(artist, f"get_{axis}data", None)
        shown = lines() if lines else artist.get_array()
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


def highest_share(spectrum):
    """Of the largest radius, raw, by configuration, seed, layer and step."""
    rows = spectrum[(spectrum.weights == "raw") & (spectrum.radius > 0.4)]
    return rows.set_index(["configuration", "seed", "layer", "step"]).share


def assert_one_scale(axes):
    """Panels share a scale that goes as far as what they show, 0 in its middle or at an end."""
    meshes = [ax.collections[0] if ax.collections else ax.images[0] for ax in axes]
    values = np.concatenate([np.ma.compressed(np.ma.masked_invalid(m.get_array())) for m in meshes])
    ((low, high),) = {mesh.get_clim() for mesh in meshes}
    assert low == -high or 0 in (low, high)
    assert np.isclose(max(-low, high), max(np.abs(values).max(), 0.1))


def test_spectrum_evolution(b):
    """Means over seeds, high frequencies on top, last values in numbers; curves from step 0 on."""
    figure = exp_b.spectrum_evolution(b["spectrum"], b["training"])
    db, last = hidden_db(b["spectrum"]), b["training"][b["training"].epoch == 2]
    accuracy = last.groupby("configuration").test_accuracy.mean()
    for name, label in (("baseline", "baseline"), ("conv-l2=0.001", "conv-L2 1e-3")):
        ax = panel(figure, f"{label}, {accuracy[name]:.1f} %")
        (mesh,) = ax.collections
        expected = db.loc[name].groupby("step").mean().loc[[0, 10, 20]].T
        np.testing.assert_allclose(mesh.get_array(), expected, atol=1e-9)
        np.testing.assert_allclose(mesh.get_coordinates()[0, :, 0], [-0.5, 0.5, 1.5, 2.5])
        assert ax.get_ylim() == (-0.5, 2.5)  # upwards
        said = [t.get_text().replace("\u2212", "-") for t in ax.texts if "dB" in t.get_text()]
        assert said == [f"{x:+.1f} dB" for x in expected[20]]
    assert_one_scale([ax for ax in figure.axes if "%" in ax.get_title()])
    change = panel(figure, "L2 1e-3 minus baseline")
    assert_one_scale([change])
    difference = (db.loc["l2=0.001"] - db.loc["baseline"]).groupby("step").mean().loc[[0, 10, 20]].T
    np.testing.assert_allclose(change.collections[0].get_array(), difference, atol=1e-9)
    highest = db[2**0.5 / 3]
    curves = [ax for ax in figure.axes if "step" in ax.get_xlabel()]
    assert [len(ax.lines) for ax in curves] == [8 * 4 + 1, 7 * 4 + 1]
    (line,) = (x for x in curves[0].lines if x.get_label() == "L2 1e-3")
    np.testing.assert_allclose(line.get_ydata(), highest["l2=0.001"].unstack("seed").mean(axis=1))
    assert line.get_xdata().tolist() == [0, 1, 2, 4, 8, 10, 20]
    of_seed = [highest[name] - highest["baseline"] for name in EIGHT[1:]]
    assert_shown(figure, [*highest, *pd.concat(of_seed)])


def test_runs_that_lag_behind(b):
    """What is not trained yet is hatched; without pairs no empty panel stands for a difference."""
    spectrum, ssr = b["spectrum"], b["ssr"]
    is_baseline = spectrum.configuration == "baseline"
    ahead = spectrum[is_baseline | (spectrum.epoch <= 1)]
    figure = exp_b.spectrum_evolution(ahead, b["training"])
    ax = next(ax for ax in figure.axes if ax.get_title().split()[:2] == ["L2", "1e-3,"])
    assert np.ma.getmaskarray(ax.collections[0].get_array()).tolist() == [[False, False, True]] * 3
    assert ax.patch.get_hatch()
    others = ssr[ssr.configuration != "baseline"]
    for unpaired in (spectrum[~is_baseline], spectrum[is_baseline != (spectrum.seed > 0)]):
        figures = [exp_b.spectrum_evolution(unpaired, b["training"])]
        figures += [draws(unpaired) for draws in (exp_b.layer_evolution, exp_b.first_layer)]
        figures += [draws(others) for draws in (exp_b_ssr.ssr_comparison, exp_b_ssr.layers)]
        for ax in itertools.chain(*(figure.axes for figure in figures)):
            assert "minus" not in ax.get_title() + ax.get_xlabel() + ax.get_ylabel()


def test_first_layer(b):
    """No row of zeros, and a scale that ends at 0."""
    spectrum = b["spectrum"]
    raw = spectrum[(spectrum.weights == "raw") & (spectrum.layer == "conv1")]
    density = raw.pivot(index=["configuration", "seed", "step"], columns="radius", values="energy")
    relative = density.div(density[0.0] * 4, axis=0).iloc[:, 1:].loc[:, :, [0, 10, 20]]
    maps = (10 * np.log10(relative)).groupby(["configuration", "step"]).mean()
    figure = exp_b.first_layer(spectrum)
    axes = [panel(figure, configurations.label(name)) for name in EIGHT]
    assert_one_scale(axes)
    assert 0 in axes[0].collections[0].get_clim() and len(axes[0].collections[0].get_array()) == 2
    assert_shown(figure, [*maps.to_numpy().ravel(), *relative.sum(axis=1)])


def test_layer_evolution(b):
    """The first layer on top; every step reaches half-way to the next."""
    db = 10 * np.log10(highest_share(b["spectrum"]) * 9 / 4)
    figure = exp_b.layer_evolution(b["spectrum"])
    change = db["l2=0.001"] - db["baseline"]
    for title, values in (("L2 1e-3", db["l2=0.001"]), ("L2 1e-3 minus baseline", change)):
        ax = panel(figure, title)
        expected = values.groupby(["layer", "step"]).mean().unstack().loc[LAYERS[::-1]]
        np.testing.assert_allclose(ax.collections[0].get_array(), expected, atol=1e-9)
        names = [t.get_text() for t in figure.axes[0].get_yticklabels()]
        assert names == [*(f"block {n}" for n in range(7, -1, -1)), "first"]
        assert ax.get_yticks().tolist() == [*np.arange(0.5, 16, 2), 16] and ax.get_ylim()[1] > 0
        edges = ax.collections[0].get_coordinates()[0, :, 0]
        np.testing.assert_allclose(edges, [-0.5, 0.5, 1.5, 3, 6, 9, 15, 25])
        stages = {line.get_ydata()[0] for line in ax.lines}
        assert stages == {3.5, 7.5, 11.5, 15.5}  # the first layer, then four in each
    assert_one_scale([panel(figure, configurations.label(name)) for name in EIGHT])


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
    for title, grid in (
        ("baseline", of["baseline"]),
        ("L2 1e-3", of["l2=0.001"]),
        ("L2 1e-3 minus baseline", of["l2=0.001"] - of["baseline"]),
    ):
        image = panel(figure, title).images[0]
        np.testing.assert_allclose(image.get_array(), grid, atol=1e-9)
        left, right, *_ = image.get_extent()
        centres = left + (np.arange(32) + 0.5) * (right - left) / 32
        np.testing.assert_allclose(centres, np.fft.fftshift(np.fft.fftfreq(32)), atol=1e-12)
        assert image.origin == "lower"
    assert "initially" not in [ax.get_title() for ax in figure.axes]  # white: a blank panel
    power = 10 ** (expected["l2=0.001", 1, 3] / 10)
    axes = [(power[16 + i, 16] + power[16, 16 + i]) / 2 for i in range(16)]
    diagonals = [(power[16 + i, 16 + i] + power[16 + i, 16 - i]) / 2 for i in range(16)]
    f = np.fft.fftshift(np.fft.fftfreq(32))
    ring = power[np.round(32 * np.hypot(f[:, None], f)) == 12].mean()
    assert_shown(figure, 10 * np.log10([*axes, *diagonals, ring]))


def test_evolution(b):
    """The shares of the layers move from step to step, named in the title."""
    means = 100 * highest_share(b["spectrum"]).groupby(["configuration", "step", "layer"]).mean()
    animation = exp_b.evolution(b["spectrum"])
    assert [*dict.fromkeys(animation.new_frame_seq())] == [0, 1, 2, 4, 8, 10, 20]
    for step in (8, 20):
        animation._func(step)
        (line,) = (x for x in animation._fig.axes[0].lines if x.get_label() == "L2 1e-3")
        np.testing.assert_allclose(line.get_ydata(), means["l2=0.001", step].loc[LAYERS])
        assert animation._fig.legends[0].get_title().get_text() == f"Step {step}"


def test_frames_of_animations():
    """Both ends, none twice, about 24; ratios of neighbours are about the same."""
    for steps in (range(5001), [0, *range(100, 5001, 100)], [0, 7], [5]):
        found = visualizer.logarithmic_steps(steps)
        assert found[0] == min(steps) and found[-1] == max(steps) and found == sorted(set(found))
        assert set(found) <= set(steps) and min(len(steps), 12) <= len(found) <= 25
        late = [step for step in found if step > 500]
        assert not late or max(np.divide(late[1:], late[:-1])) < 1.8


def test_ssr_comparison(b):
    """Seeds, means (of ratios by logarithms), paired differences with intervals; in numbers."""
    ssr, key = b["ssr"], ["configuration", "seed"]
    raw = ssr[(ssr.layer == "hidden (mean)") & (ssr.weights == "raw")].set_index(key).corner_ssr
    means = raw.groupby("configuration", sort=False).mean()
    paired = raw["l2=0.001"] - raw["baseline"]
    half = T3 * paired.std() / 3**0.5
    shown = [*raw, *means, *paired, paired.mean() - half, paired.mean() + half]
    for layer in ("all (mean)", "all (energy-weighted)"):
        shown += [*ssr[(ssr.layer == layer) & (ssr.weights == "raw")].ssr]
    shown += [*ssr[(ssr.layer == "hidden (mean)") & (ssr.weights == "folded")].corner_ssr]
    shown += [*ssr[ssr.published_ssr.notna()].published_ssr]
    ratios = ssr[(ssr.layer == "all (mean)") & (ssr.weights == "raw")].dropna(subset="energy_ratio")
    by_name = ratios.groupby("configuration").energy_ratio
    shown += [*ratios.energy_ratio, *by_name.agg(lambda r: np.exp(np.log(r).mean()))]
    figure = exp_b_ssr.ssr_comparison(ssr)
    told = [text.get_text().replace("\u2212", "-") for text in figure.axes[0].texts]
    assert told[:8] == [f"{mean:.2f}" for mean in means]
    assert set(as_set(shown)) <= drawn(figure, "x")


def test_layers(b):
    """Differences to the baseline of the same seed by layer; how many are below, also alone, beside
    the accuracy under band noise."""
    ssr = b["ssr"][b["ssr"].weights == "raw"]
    share = ssr.pivot(index=["layer", "seed"], columns="configuration", values="corner_final")
    share = 100 * share.loc[LAYERS]
    difference = share.sub(share["baseline"], axis=0)
    figure = exp_b_ssr.layers(b["ssr"])
    below = (difference["l2=0.001"] < 0).sum()
    assert f"in {below} of 51 " in figure.axes[0].get_title()
    for name, means in difference.groupby("layer").mean().loc[LAYERS].items():
        lines = (x for x in figure.axes[0].lines if np.shape(x.get_ydata()) == (17,))
        found = [line.get_color() for line in lines if np.allclose(line.get_ydata(), means)]
        assert found == [visualizer.line_style(name)["color"]] * (name != "baseline")
    shown = [*difference.drop(columns="baseline").to_numpy().ravel()]
    shown += [*difference["l2=0.01"].groupby("layer").mean(), *share["l2=0.001"]]
    assert_shown(figure, [*shown, *share.groupby("layer").mean().to_numpy().ravel()])
    accuracy = tables_c(THREE, 3)["robustness"]
    noisy = accuracy[(accuracy.corruption == "band noise") & (accuracy.configuration != THREE[2])]
    accuracy.loc[noisy.index, "accuracy"] = noisy.configuration.map({THREE[0]: 71, THREE[1]: 29})
    figure = exp_b_ssr.overview(b["ssr"], accuracy)
    assert "42 points" in figure.legends[0].get_title().get_text()
    assert {"71 %", "29 %"} == {text.get_text() for text in figure.axes[1].texts}
    clean = accuracy[accuracy.corruption == "none"].groupby("configuration").accuracy.mean()
    assert_shown(figure, [*share[THREE[:2]].to_numpy().ravel(), 71, 29, *clean[THREE[:2]]])


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
    """Seeds, means and intervals by strength, and where the published strength lies."""
    dose = b["dose_response"]
    columns = ["corner_ssr", "ssr", "test_accuracy"]
    by = dose.groupby("strength")[columns]
    halves = T3 * by.std() / 3**0.5
    shown = [dose[columns], by.mean(), by.mean() - halves, by.mean() + halves]
    figure = exp_b_ssr.dose_response(dose)
    (mark,) = (x for x in figure.axes[0].lines if x.get_label() == "published strength")
    assert mark.get_xdata()[0] == 0.001
    assert_shown(figure, np.concatenate([np.ravel(table) for table in shown]))


def test_corner_over_steps(b):
    other = tables_b(THREE, 2, 4)["spectrum"]
    figure = exp_b.corner_over_steps({"quick": b["spectrum"], "full": other})
    db = [hidden_db(table)[2**0.5 / 3] for table in (b["spectrum"], other)]
    differences = [highest["l2=0.001"] - highest["baseline"] for highest in db]
    assert_shown(
        figure, pd.concat([*differences, *(d.groupby("step").mean() for d in differences)])
    )


def test_robustness():
    """Accuracies and differences of every seed, means, intervals; clean, chance, claims marked."""
    tables = tables_c(THREE, 3)
    accuracy, leads = tables["robustness"], tables["lead"]
    figure = exp_c_d.robustness(accuracy, leads, ["Gaussian noise"], "title")
    of = accuracy.set_index(["configuration", "seed", "level"])
    noisy = of[of.corruption == "Gaussian noise"].accuracy
    lead = pd.concat({n: noisy[n] - noisy["baseline"] for n in THREE[1:]})
    shown = [*noisy, *lead, *noisy.groupby(level=[0, 2]).mean(), *lead.groupby(level=[0, 2]).mean()]
    legend = [t.get_text() for t in figure.legends[0].get_texts()]
    assert {"baseline", "clean images", "chance, 10 %", "claimed point"} <= set(legend)
    clean = of[of.corruption == "none"].accuracy.groupby("configuration").mean()
    left, right = figure.axes
    for name, label in zip(THREE, ("baseline", "L2 1e-3", "dropout 0.5")):
        (curve,) = (x for x in left.lines if x.get_label() == label)
        look = visualizer.line_style(name)
        assert (curve.get_color(), curve.get_marker()) == (look["color"], look["marker"])
        levels = [x.get_ydata() for x in left.lines if x.get_linestyle() == ":"]
        assert any(np.allclose(level, clean[name]) for level in levels if len(level))
    for name in THREE[1:]:
        dotted = [
            x for x in right.lines if x.get_linestyle() == ":" and len(set(x.get_ydata())) == 1
        ]
        dotted = [
            x for x in dotted if np.isclose(x.get_ydata()[0], clean[name] - clean["baseline"])
        ]
        assert [x.get_color() for x in dotted] == [visualizer.line_style(name)["color"]]
    half = T3 * lead["l2=0.001"].unstack()[0.1].std() / 3**0.5
    bars = [line.get_ydata() for line in right.lines if line.get_marker() == "_"]
    assert len(bars) == 2 * 3 and any(np.isclose(np.ptp(bar), 2 * half) for bar in bars)
    low, high = right.get_ylim()  # for the seeds, not for intervals far beyond them: arrows
    assert low < lead.min() and high > lead.max()
    assert high - low < 2.01 * (max(lead.max(), 0) - min(lead.min(), 0))
    for marker, end, cut in (("v", low, np.less), ("^", high, np.greater)):
        arrows = [x for x in right.lines if x.get_marker() == marker and x.get_ydata()[0] == end]
        assert len(arrows) == sum(cut(bar, end).any() for bar in bars)
    assert_shown(figure, [*shown, *clean, 10])


def test_degradation_grows_to_the_right():
    tables = tables_d(THREE, 2)
    asked = {"low resolution, bilinear": True, "ideal low-pass": True, "Gaussian blur": False}
    figure = exp_c_d.robustness(tables["accuracy"], tables["lead"], [*asked], "title")
    for two, reverse in zip(np.reshape(figure.axes, (3, 2)), asked.values()):
        assert [np.diff(ax.get_xlim())[0] < 0 for ax in two] == [reverse] * 2


@pytest.mark.parametrize("changed", ["", "width", "epochs"])
def test_published_values_only_at_their_recipe(b, changed):
    """Crosses, of the configurations that were trained."""
    scale, there = f"full, changed: {changed}" if changed else "full", changed != "epochs"
    ssr = b["ssr"][b["ssr"].configuration.isin(THREE)].assign(scale=scale)
    tables = {n: t.assign(scale=scale) for n, t in tables_d(THREE[:2], 2).items()}
    found = drawn(exp_b_ssr.ssr_comparison(ssr), "x")
    assert (-4.463 in found) == (round(4.463 / 1.397, 6) in found) == there
    low = ["low resolution, bilinear"]
    found = drawn(exp_c_d.robustness(tables["accuracy"], tables["lead"], low, "title"))
    assert (82.27 in found) == (6.31 in found) == there and 73.87 not in found  # dropout
    assert (94.46 in drawn(exp_b.training(b["training"].assign(scale=scale)))) == there


def full_grid(values):
    """(32, 32) of values by mode (u, v), which stand for (-u, -v) too."""
    found = np.full((32, 32), np.nan)
    for (u, v), value in values.items():
        found[(u + 16) % 32, (v + 16) % 32] = found[(16 - u) % 32, (16 - v) % 32] = value
    assert not np.isnan(found).any()
    return found


def test_fourier_heatmap():
    """Modes in place, mirrored; minus each model's clean error; standard errors over seeds."""
    heatmap = tables_c(THREE, 3)["fourier_heatmap"]
    heatmap["excess"] = heatmap.error - heatmap.clean_error
    of = heatmap.pivot(index=["u", "v"], columns=["configuration", "seed"], values="excess")
    figure = exp_c_d.fourier_heatmap(heatmap)
    for title, values in (
        ("L2 1e-3", of["l2=0.001"]),
        ("L2 1e-3 minus baseline", of["l2=0.001"] - of["baseline"]),
    ):
        error = np.sqrt((values.std(axis=1) ** 2 / 3).mean())
        (image,) = panel(figure, f"{title}, ± {error:.1f}").images
        full = full_grid(values.mean(axis=1))
        np.testing.assert_allclose(image.get_array(), full)
    images = [ax for ax in figure.axes if ax.images and "minus" not in ax.get_title()]
    assert_one_scale(images)
    assert images[0].images[0].get_clim()[0] == 0


def test_sensitivity():
    """Against white, before and after training; the number of images where the table has it."""
    maps = tables_c(THREE, 2)["sensitivity_map"]
    lost = exp_c_d.sensitivity(maps[maps.epoch > 0])  # no initial weights were kept
    assert {"baseline", "dropout 0.5"} < {" ".join(ax.get_title().split()) for ax in lost.axes}
    figure = exp_c_d.sensitivity(maps.assign(n_images=256))
    assert panel(figure, "initially")
    last = maps[(maps.epoch == 10) & (maps.configuration == "dropout=0.5")]
    grids = [full_grid(last[last.seed == seed].set_index(["u", "v"]).power) for seed in (0, 1)]
    expected = np.mean([10 * np.log10(g / g.mean()) for g in grids], axis=0)
    found = panel(figure, "dropout 0.5").images[0].get_array()
    np.testing.assert_allclose(found, expected, atol=1e-9)


def test_examples_in_true_colours(tmp_path):
    """More than a palette holds; the same bytes each time; other formats too."""
    shown = tables_c(THREE, 1)["examples"]
    figure = exp_c_d.examples(shown)
    first = shown[shown.image == 0].iloc[1]
    image = first.pixels
    assert (figure.axes[1].images[0].get_array() == image).all()
    assert figure.axes[1].get_title().split() == ["Gaussian", "noise", "sigma", "0.05"]
    for kind in ("png", "pdf", "svg"):
        for name in ("one", "two"):
            visualizer.save(exp_c_d.examples(shown), tmp_path / f"{name}.{kind}", kind)
        assert (tmp_path / f"one.{kind}").read_bytes() == (tmp_path / f"two.{kind}").read_bytes()
    pixels = np.asarray(Image.open(tmp_path / "one.png").convert("RGB")).reshape(-1, 3)
    assert {*map(tuple, image.reshape(-1, 3))} <= {*map(tuple, pixels)}


def test_figures_of_experiment_a():
    tables = tables_a([0.0, 0.01], [5, 20, 50], 3, [0, 100, 500, 900])
    frequency = tables["frequency"].assign(setting="demo, changed: steps")
    curves = exp_a.frequency_curves(frequency)
    lines = [x for ax in curves.axes for x in ax.lines if x.get_marker() == "x"]
    crosses = {tuple(x.get_xydata()[0]) for x in lines if len(x.get_xdata())}
    assert {(500, 0.81), (500, 0.34), (500, 0.074), (500, 0.57)} < crosses
    key = ["strength", "frequency", "step"]
    means = frequency.groupby(key)[["explained_variance", "amplitude_ratio"]].mean()
    assert_shown(curves, [*frequency.explained_variance, *means.explained_variance])
    figure = exp_a.spectral_bias(frequency)
    ratio = means.amplitude_ratio[0.01].unstack()  # the highest on top
    mesh = panel(figure, "penalty 0.01").collections[0]
    np.testing.assert_allclose(mesh.get_array(), ratio)
    assert panel(figure, "penalty 0.01").get_ylim() == (-0.5, 2.5)
    assert_one_scale([panel(figure, "penalty 0"), panel(figure, "penalty 0.01")])
    animation = exp_a.comparison(tables["fit"])
    animation._func(900)
    last = tables["fit"][tables["fit"].step == 900]
    assert as_set(last.fit) <= drawn(animation._fig)
    wave = exp_a.frequency_decomp(tables["learned"]).axes[0].lines
    assert [line.get_label() for line in wave] == ["signal", "fits", "fits", "fits"]
    one = tables["learned"].query("strength == 0 and frequency == 50 and seed == 1").iloc[0]
    turn = 2 * np.pi * wave[2].get_xdata()
    expected = one.amplitude * one.amplitude_ratio * np.sin(turn + one.phase_error)
    np.testing.assert_allclose(wave[2].get_ydata(), expected)


def test_styles_differ_in_grey():
    """Families by line and marker; strengths of a family by lightness and hue."""
    families = ["baseline", "l2=0.001", "conv-l2=0.001", "dropout=0.5", "l2=0.001+dropout=0.5"]
    for part in ("linestyle", "marker", "color"):
        assert len({str(visualizer.line_style(name)[part]) for name in families}) == 5
    weights = [0.2126, 0.7152, 0.0722]
    grey = [visualizer.DIVERGING(x)[:3] @ np.array(weights) for x in np.linspace(0, 1, 50)]
    assert (np.diff(grey) > 0).all()  # below zero is darker than above it
    names = [f"l2={s}" for s in (1e-4, 2e-4, 5e-4, 1e-3, 2e-3, 5e-3, 1e-2)]
    colors = np.array([to_rgb(visualizer.line_style(name)["color"]) for name in names])
    assert (np.diff(colors @ weights) < -0.02).all() and colors[3, 1] > 0.6  # green
    assert np.abs(np.diff(colors, axis=0)).max(axis=1).min() > 0.12


def test_the_published_strength_is_compared_else_the_strongest():
    for names, compared in (
        (["baseline", "dropout=0.5", "l2=0.0001", "l2=0.001", "l2=0.01"], "l2=0.001"),
        (["baseline", "dropout=0.1", "dropout=0.3"], "dropout=0.3"),
        (["l2=0.001"], None),
        (["baseline"], None),
    ):
        assert visualizer.compared_configuration(names) == compared


def test_drawing_leaves_the_users_settings(b):
    """Whoever draws keeps the look of their own figures, and it does not change ours."""
    with matplotlib.rc_context({"font.size": 30, "axes.grid": False}):
        before = dict(matplotlib.rcParams)
        size = exp_b.training(b["training"]).axes[0].xaxis.label.get_fontsize()
        assert size == 10 and before == dict(matplotlib.rcParams)


def test_figures_of_committed_tables_can_be_read():
    """Real numbers: ticks of other lengths than those of made ones."""
    place = ROOT / "results" / "reference" / "medium"
    read = {p.name.split(".")[0]: pd.read_csv(p) for p in place.glob("exp_[bc]_[sfr]*.csv*")}
    ssr = read["exp_b_ssr"]
    figures = [exp_b_ssr.ssr_comparison(ssr), exp_b_ssr.layers(ssr)]
    figures.append(exp_c_d.sensitivity(read["exp_c_sensitivity_map"]))
    figures.append(exp_c_d.fourier_heatmap(read["exp_c_fourier_heatmap"]))
    figures.append(exp_b_ssr.overview(ssr, read["exp_c_robustness"]))
    for number, figure in enumerate(figures):
        assert_readable(figure, f"{number}")
