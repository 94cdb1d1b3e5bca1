"""Figures hold the numbers of their tables, computed again here, and can be read."""

import functools
import itertools
import runpy

import matplotlib
import numpy as np
import pandas as pd
import pytest
from conftest import ROOT
from matplotlib.animation import FuncAnimation
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from PIL import Image

from utils import visualizer
from utils.configurations import label
from utils.figures import exp_b, exp_b_ssr, exp_c_d

THREE = ["baseline", "l2=0.001", "dropout=0.5"]
EIGHT = ["baseline", "l2=0.0001", "l2=0.001", "l2=0.01", "conv-l2=0.001", "dropout=0.5"]
EIGHT += ["l2=0.001+dropout=0.3", "conv-l2=0.001+dropout=0.5"]
T3 = 4.302652729911275  # of Student's t, 2 degrees of freedom, 97.5 %


@functools.cache
def tables(folder, letters):
    """Committed results by name."""
    paths = (ROOT / "results" / "reference" / folder).glob(f"{letters}_*.csv*")
    names = {path: path.name.split(".")[0].removeprefix(f"{letters}_") for path in paths}
    return {name: pd.read_csv(path, dtype={"layer": str}) for path, name in names.items()}


def draw(script, tables):
    """Figures by name, as the script draws them from its tables."""
    (path,) = (ROOT / "experiments").glob(f"{script}*.py")
    return runpy.run_path(str(path))["figures"](tables)


@functools.cache
def figures(folder, script):
    return draw(script, tables(folder, script))


def table_of(letter, name):
    return tables("medium-float32", f"exp_{letter}")[name]


def figure_of(letter, name):
    return figures("medium-float32", f"exp_{letter}")[name]


def one(table):
    """A single run, on a fast machine."""
    run = table[table.seed == 0]
    key = "strength" if "strength" in run else "configuration"
    run = run[run[key] == run[key].iloc[-1]]
    device = "cuda: NVIDIA H100 80GB HBM3, torch 2.14.1+cu130"
    return run.assign(scale="full", device=device) if "scale" in run else run


def many(table):
    """Eight configurations on planted images under long conditions, or ten frequencies."""
    if "configuration" in table:
        said = {"dataset": "PLANTED CUES (not CIFAR-10)", "scale": "constants, " * 20}
        of = [table[table.configuration == name] for name in [THREE[0], *THREE[1:] * 4]]
        table = pd.concat(t.assign(configuration=name, **said) for t, name in zip(of, EIGHT))
    elif "frequency" in table:
        highest = table[table.frequency == 50]
        table = pd.concat(highest.assign(frequency=k) for k in range(5, 51, 5))
    cues = ("test", "low cue", "high cue")
    return pd.concat(table.assign(images=cue) for cue in cues) if "images" in table else table


@pytest.mark.parametrize("change", [one, many])
@pytest.mark.parametrize("script", ["exp_a", "exp_b", "exp_c", "exp_d"])
def test_every_figure_can_be_read(script, change):
    """Nothing clipped, overlapping, unlabelled or empty; every configuration in its style."""
    folder = "quick" if change is one or script == "exp_a" else "medium-float32"
    shown = draw(script, {name: change(t) for name, t in tables(folder, script).items()})
    assert len(shown) >= {"exp_a": 4, "exp_b": 8, "exp_c": 4, "exp_d": 2}[script]
    looks = {label(name): visualizer.line_style(name) for name in EIGHT}
    for title, figure in shown.items():
        figure = figure._fig if isinstance(figure, FuncAnimation) else figure
        assert_readable(figure, title)
        red = figure._supxlabel.get_color() == "#C00000"
        assert red == (change is many and script != "exp_a")
        for line in itertools.chain(*(ax.lines for ax in figure.axes)):
            if look := looks.get(line.get_label()):
                assert (line.get_color(), line.get_marker()) == (look["color"], look["marker"])


def assert_readable(figure, name):
    figure.set_dpi(120)  # as it is saved: ticks depend on it
    figure.draw_without_rendering()
    whole, texts, problems = figure.bbox.padded(1), {}, []
    assert figure.get_figwidth() < 10, name  # letters of 9 points are 11 pixels of 900
    for part in (figure, *figure.subfigs):
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
    found = []
    for artist in itertools.chain(*((*a.lines, *a.images, *a.collections) for a in figure.axes)):
        lines = getattr(artist, f"get_{axis}data", None)
        found.append(lines() if lines else artist.get_array())
    return numbers(*(np.ma.filled(shown, np.nan) for shown in found if shown is not None))


def numbers(*tables):
    values = np.concatenate([np.ravel(np.asarray(table, float)) for table in tables])
    return np.unique(np.round(values[~np.isnan(values)], 6))


def assert_shown(figure, *tables, axis="y"):
    found, values = drawn(figure, axis), numbers(*tables)
    place = np.searchsorted(found, values).clip(1, len(found) - 1)
    distance = np.minimum(abs(found[place] - values), abs(found[place - 1] - values))
    missing = values[distance > 2e-6]
    assert not len(missing), f"{len(missing)} of {len(values)} are not drawn: {missing[:5]}"


def titles(figure):
    return [" ".join(ax.get_title().split()) for ax in figure.axes]


def assert_map(figure, title, grid):
    """The map of that title has these numbers; returns it and its axes."""
    ax = figure.axes[titles(figure).index(title)]
    (mesh,) = [*ax.images, *ax.collections]
    np.testing.assert_allclose(mesh.get_array(), grid, atol=1e-9)
    return mesh, ax


def line_of(ax, name):
    (line,) = (line for line in ax.lines if line.get_label() == name)
    return line


def assert_one_scale(axes):
    """Panels share a scale that goes as far as what they show, 0 in its middle or at an end."""
    meshes = [(*ax.collections, *ax.images)[0] for ax in axes]
    values = np.concatenate([np.ma.compressed(np.ma.masked_invalid(m.get_array())) for m in meshes])
    ((low, high),) = {mesh.get_clim() for mesh in meshes}
    assert low == -high or 0 in (low, high)
    assert np.isclose(max(-low, high), max(np.abs(values).max(), 0.1))


def hidden_db(spectrum):
    """dB by configuration, seed, step and radius: mean share of the hidden layers over white."""
    raw = spectrum[(spectrum.weights == "raw") & (spectrum.layer != "conv1")]
    share = raw.groupby(["configuration", "seed", "step", "radius"]).share.mean().unstack()
    return 10 * np.log10(share / [1 / 9, 4 / 9, 4 / 9])


def highest_share(spectrum):
    """Of the largest radius, raw, by configuration, seed, layer and step."""
    chosen = spectrum[(spectrum.weights == "raw") & (spectrum.radius > 0.4)]
    return chosen.set_index(["configuration", "seed", "layer", "step"]).share


def test_spectrum_evolution():
    """Means over seeds, high frequencies on top, last values in numbers; curves from step 0 on."""
    figure = figure_of("b", "spectrum_evolution")
    spectrum, history = table_of("b", "spectrum"), table_of("b", "training")
    db = hidden_db(spectrum)
    whole = [0, *range(1563, 15631, 1563)]  # the steps after which an epoch ends
    mean = db.groupby(["configuration", "step"]).mean().loc[:, whole, :]
    accuracy = history[history.epoch == 10].groupby("configuration").test_accuracy.mean()
    for name in THREE:
        title = f"{label(name)}, {accuracy[name]:.1f} %"
        mesh, ax = assert_map(figure, title, mean.loc[name].T)
        np.testing.assert_allclose(mesh.get_coordinates()[0, :, 0], np.arange(12) - 0.5)
        assert ax.get_ylim() == (-0.5, 2.5)  # upwards
        said = [t.get_text().replace("\u2212", "-") for t in ax.texts if "dB" in t.get_text()]
        assert said == [f"{x:+.1f} dB" for x in mean.loc[name].iloc[-1]]
    assert_one_scale([ax for ax in figure.axes if "%" in ax.get_title()])
    change = mean.loc["l2=0.001"] - mean.loc["baseline"]
    assert_one_scale([assert_map(figure, "L2 1e-3 minus baseline", change.T)[1]])
    highest = db.iloc[:, -1]
    curves = [ax for ax in figure.axes if "step" in ax.get_xlabel()]
    assert [len(ax.lines) for ax in curves] == [3 * 4 + 1, 2 * 4 + 1]
    line, means = line_of(curves[0], "L2 1e-3"), highest["l2=0.001"].groupby("step").mean()
    np.testing.assert_allclose(line.get_xydata(), means.reset_index())
    change = [highest[name] - highest["baseline"] for name in THREE[1:]]
    assert_shown(figure, highest, *change)
    other = tables("dose", "exp_b")["spectrum"]
    figure = exp_b.corner_over_steps({"medium": spectrum, "dose": other})
    highest = hidden_db(other).iloc[:, -1]
    change = [change[0], highest["l2=0.001"] - highest["baseline"]]
    assert_shown(figure, *change, *(one.groupby("step").mean() for one in change))


def test_runs_that_lag_behind():
    """What is not trained yet is hatched; without pairs no empty panel stands for a difference."""
    spectrum, history = table_of("b", "spectrum"), table_of("b", "training")
    is_baseline = spectrum.configuration == "baseline"
    figure = exp_b.spectrum_evolution(spectrum[is_baseline | (spectrum.epoch <= 8)], history)
    (ax,) = (ax for ax in figure.axes if ax.get_title().startswith("L2\N{NO-BREAK SPACE}1e-3,"))
    mask = np.ma.getmaskarray(ax.collections[0].get_array())
    assert mask.tolist() == [[False] * 9 + [True] * 2] * 3 and ax.patch.get_hatch()
    others = table_of("b", "ssr").query("configuration != 'baseline'")
    shown = [draws(others) for draws in (exp_b_ssr.ssr_comparison, exp_b_ssr.layers)]
    for unpaired in (spectrum[~is_baseline], spectrum[is_baseline != (spectrum.seed > 0)]):
        shown.append(exp_b.spectrum_evolution(unpaired, history))
        shown += [draws(unpaired) for draws in (exp_b.layer_evolution, exp_b.first_layer)]
    for ax in itertools.chain(*(figure.axes for figure in shown)):
        assert "minus" not in ax.get_title() + ax.get_xlabel() + ax.get_ylabel()


def test_first_layer():
    """No row of zeros, and a scale that ends at 0."""
    figure, spectrum = (figure_of("b", "first_layer"), table_of("b", "spectrum"))
    raw = spectrum.query("weights == 'raw' and layer == 'conv1' and epoch % 1 == 0")
    density = raw.pivot(index=["configuration", "seed", "epoch"], columns="radius", values="share")
    relative = density.div(density[0.0] * 4, axis=0).iloc[:, 1:]
    maps = (10 * np.log10(relative)).groupby(["configuration", "epoch"]).mean()
    axes = [assert_map(figure, label(name), maps.loc[name].T)[1] for name in THREE]
    assert_one_scale(axes)
    assert 0 in axes[0].collections[0].get_clim()
    assert_shown(figure, relative.sum(axis=1))


def test_layer_evolution():
    """The first layer on top, then four in each stage; every step reaches half-way to the next."""
    db = 10 * np.log10(highest_share(table_of("b", "spectrum")) * 9 / 4)
    figure, layers = figure_of("b", "layer_evolution"), [*db.index.unique("layer")]
    maps = {label(name): db[name] for name in THREE}
    maps["L2 1e-3 minus baseline"] = db["l2=0.001"] - db["baseline"]
    axes = []
    for title, values in maps.items():
        grid = values.groupby(["layer", "step"]).mean().unstack().loc[layers[::-1]]
        mesh, ax = assert_map(figure, title, grid)
        assert ax.get_yticks().tolist() == [*np.arange(0.5, 16, 2), 16] and ax.get_ylim()[1] > 0
        middle = (grid.columns[1:] + grid.columns[:-1]) / 2
        np.testing.assert_allclose(mesh.get_coordinates()[0, 1:-1, 0], middle)
        assert {line.get_ydata()[0] for line in ax.lines} == {3.5, 7.5, 11.5, 15.5}
        axes.append(ax)
    names = [t.get_text() for t in figure.axes[0].get_yticklabels()]
    assert names == [*(f"block {n}" for n in range(7, -1, -1)), "first"]
    assert_one_scale(axes[:3])


def test_response():
    """From both axes, both diagonals, and all directions."""
    table = table_of("b", "autocorrelation")
    raw = table.query("weights == 'raw' and layer != 'conv1' and epoch > 0")
    wide = raw.pivot(index=["configuration", "seed", "layer"], columns=["dy", "dx"], values="value")
    wide = wide.div(wide[0, 0], axis=0).groupby(["configuration", "seed"]).mean()
    f = np.arange(-16, 16) / 32
    waves = [np.cos(2 * np.pi * (f[:, None] * dy + f * dx)) for dy, dx in wide]
    runs = zip(wide.index, wide.to_numpy())
    power = {run: 2 * np.tensordot(row, waves, 1) - 1 for run, row in runs}
    db = {name: sum(10 * np.log10(power[name, s]) for s in range(3)) / 3 for name in THREE}
    figure = figure_of("b", "response")
    assert_map(figure, "L2 1e-3 minus baseline", db["l2=0.001"] - db["baseline"])
    for name in THREE:
        image, _ = assert_map(figure, label(name), db[name])
        assert image.origin == "lower" and np.allclose(image.get_extent(), [-33 / 64, 31 / 64] * 2)
    assert "initially" not in titles(figure)  # white: a blank panel
    power = power["l2=0.001", 1]
    axes = [(power[16 + i, 16] + power[16, 16 + i]) / 2 for i in range(16)]
    diagonals = [(power[16 + i, 16 + i] + power[16 + i, 16 - i]) / 2 for i in range(16)]
    ring = power[np.round(32 * np.hypot(f[:, None], f)) == 12].mean()
    assert_shown(figure, 10 * np.log10([*axes, *diagonals, ring]))


def test_animation():
    """The shares of the layers move from step to step, named in the title."""
    share = highest_share(table_of("b", "spectrum"))
    means = 100 * share.groupby(level=["configuration", "step", "layer"], sort=False).mean()
    animation = figure_of("b", "evolution")
    steps = [*dict.fromkeys(animation.new_frame_seq())]
    assert steps[:3] == [0, 1, 2] and steps[-1] == 15630
    for step in (8, 15630):
        animation._func(step)
        line = line_of(animation._fig.axes[0], "L2 1e-3")
        np.testing.assert_allclose(line.get_ydata(), means["l2=0.001", step])
        assert animation._fig.legends[0].get_title().get_text() == f"Step {step:,}"


def test_frames_of_animations():
    """Both ends, none twice, about 24; ratios of neighbours are about the same."""
    for steps in (range(5001), [0, *range(100, 5001, 100)], [0, 7], [5]):
        found = visualizer.logarithmic_steps(steps)
        assert found[0] == min(steps) and found[-1] == max(steps) and found == sorted(set(found))
        assert set(found) <= set(steps) and min(len(steps), 12) <= len(found) <= 25
        late = [step for step in found if step > 500]
        assert not late or max(np.divide(late[1:], late[:-1])) < 1.8


def test_ssr_comparison():
    """Seeds, means (of ratios by logarithms), paired differences with intervals; in numbers."""
    of = table_of("b", "ssr").set_index(["weights", "layer", "configuration", "seed"])
    of = of.sort_index()
    raw, figure = of.loc["raw"], figure_of("b", "ssr_comparison")
    hidden = raw.corner_ssr["hidden (mean)"]
    means = hidden.groupby("configuration").mean()[THREE]
    paired = hidden["l2=0.001"] - hidden["baseline"]
    half = T3 * paired.std() / 3**0.5
    shown = [hidden, means, paired, [paired.mean() - half, paired.mean() + half]]
    shown += [raw.ssr[layer] for layer in ("all (mean)", "all (energy-weighted)")]
    shown += [of.corner_ssr["folded", "hidden (mean)"], raw.published_ssr, raw.published_ratio]
    for ratios in (raw.energy_ratio["all (mean)"], raw.share_ratio["all (mean)"]):
        shown += [ratios, np.exp(np.log(ratios).groupby("configuration").mean())]
    told = [text.get_text().replace("\u2212", "-") for text in figure.axes[0].texts]
    assert told[:3] == [f"{mean:.2f}" for mean in means]
    assert_shown(figure, *shown, axis="x")
    assert_readable(figure, "ssr_comparison")


def test_layers():
    """Differences to the baseline of the same seed by layer; how many are below, also alone, beside
    the accuracy under band noise."""
    ssr, figure = table_of("b", "ssr"), figure_of("b", "layers")
    raw = ssr[(ssr.weights == "raw") & ~ssr.layer.str.contains(" ")]
    share = 100 * raw.set_index(["configuration", "layer", "seed"]).corner_final
    change = {name: share[name] - share["baseline"] for name in THREE[1:]}
    below = (change["l2=0.001"] < 0).sum()
    assert f"in {below} of 51 " in figure.axes[0].get_title()
    for name in THREE[1:]:
        means = change[name].groupby("layer", sort=False).mean()
        lines = (x for x in figure.axes[0].lines if np.shape(x.get_ydata()) == (17,))
        found = [line.get_color() for line in lines if np.allclose(line.get_ydata(), means)]
        assert found == [visualizer.line_style(name)["color"]]
    means = share.groupby(["configuration", "layer"]).mean()
    assert_shown(figure, *change.values(), share, means)
    assert_readable(figure, "layers")
    accuracy = table_of("c", "robustness").copy()
    noisy = accuracy.query("corruption == 'band noise' and configuration in @THREE[:2]")
    accuracy.loc[noisy.index, "accuracy"] = noisy.configuration.map({THREE[0]: 71, THREE[1]: 29})
    figure = exp_b_ssr.overview(ssr, accuracy)
    assert "42 points" in figure.legends[0].get_title().get_text()
    assert {"71 %", "29 %"} == {text.get_text() for text in figure.axes[1].texts}
    clean = accuracy[accuracy.corruption == "none"].groupby("configuration").accuracy.mean()
    assert_shown(figure, share[THREE[:2]], [71, 29], clean[THREE[:2]])
    assert_readable(figure, "overview")


def test_training():
    """Every seed and the mean; a spike of the loss is cut off, and this is said."""
    history = table_of("b", "training").copy()
    history.loc[5, "test_loss"] = 1234
    columns = [f"{images}_{q}" for images in ("test", "train") for q in ("accuracy", "loss")]
    figure = exp_b.training(history)
    (loss,) = (ax for ax in figure.axes if ax.get_ylabel().startswith("test loss"))
    assert "up to 1.23e+03" in loss.get_title() and loss.get_ylim()[1] < 200
    assert loss.get_yscale() == "log"
    means = history.groupby(["configuration", "epoch"])[columns].mean()
    assert_shown(figure, history[columns], means)


def test_dose_response():
    """Seeds, means and intervals by strength, and where the published strength lies."""
    dose = tables("dose", "exp_b")["dose_response"]
    figure, columns = exp_b_ssr.dose_response(dose), ["corner_ssr", "ssr", "test_accuracy"]
    by = dose.groupby("strength")[columns]
    halves = T3 * by.std() / 3**0.5
    assert line_of(figure.axes[0], "published strength").get_xdata()[0] == 0.001
    assert_shown(figure, dose[columns], by.mean(), by.mean() - halves, by.mean() + halves)
    assert_readable(figure, "dose_response")


def test_robustness():
    """Accuracies and differences of every seed, means, intervals; clean, chance, claims marked."""
    figure, accuracy = (figure_of("c", "robustness"), table_of("c", "robustness"))
    left, right = figure.axes
    of = accuracy.set_index(["corruption", "configuration", "seed", "level"]).accuracy
    noisy, clean = of["Gaussian noise"], of["none"].groupby("configuration").mean()
    lead = pd.concat({name: noisy[name] - noisy["baseline"] for name in THREE[1:]})
    means = [table.groupby(level=[0, 2]).mean() for table in (noisy, lead)]
    assert_shown(figure, noisy, lead, *means, clean, [10])
    legend = [t.get_text() for t in figure.legends[0].get_texts()]
    assert {"baseline", "clean images", "chance, 10 %", "claimed point"} <= set(legend)
    for ax, levels in ((left, clean), (right, (clean - clean["baseline"])[THREE[1:]])):
        lines = [(x.get_color(), x.get_ydata()) for x in ax.lines if x.get_linestyle() == ":"]
        dotted = {color: y[0] for color, y in lines if len(set(y)) == 1}
        colors = {visualizer.line_style(name)["color"]: x for name, x in levels.items()}
        assert dotted == pytest.approx(colors)
    half = T3 * lead["l2=0.001"].unstack()[0.1].std() / 3**0.5
    bars = [line.get_ydata() for line in right.lines if line.get_marker() == "_"]
    count = 2 * noisy.index.unique("level").size
    assert len(bars) == count and any(np.isclose(np.ptp(bar), 2 * half) for bar in bars)
    low, high = right.get_ylim()  # for the seeds, not for intervals far beyond them
    assert low < lead.min() and high > lead.max()
    assert high - low < 2.01 * (max(lead.max(), 0) - min(lead.min(), 0))
    other = figures("medium-float32", "exp_d")  # where a lower level is worse, it lies on the right
    axes = other["resolution_robustness"].axes + other["blur_robustness"].axes
    falling = [ax.get_xlim()[0] > ax.get_xlim()[1] for ax in axes]
    assert falling == [*[True] * 4, *[False] * 2, *[True] * 2, *[False] * 2]


def test_arrows_where_bars_are_cut():
    ax = Figure().subplots()
    ax.plot([1, 1], [-5, 5], marker="_")
    visualizer.cut_bars(ax, -1, 1)
    assert [(x.get_marker(), *x.get_ydata()) for x in ax.lines[1:]] == [("v", -1), ("^", 1)]


@pytest.mark.parametrize("changed", ["", "width", "epochs"])
def test_published_values_only_at_their_recipe(changed):
    """Crosses, of the configurations that were trained."""
    scale, there = f"full, changed: {changed}" if changed else "full", changed != "epochs"
    found = drawn(exp_b_ssr.ssr_comparison(table_of("b", "ssr").assign(scale=scale)), "x")
    assert (-4.463 in found) == (round(4.463 / 1.397, 6) in found) == there
    accuracy = table_of("d", "resolution_robustness").assign(scale=scale)
    accuracy = accuracy.query("epoch == 10 and configuration in @THREE[:2]")
    low = table_of("d", "lead"), ["low resolution, bilinear"]
    found = drawn(exp_c_d.robustness(accuracy, *low, "title"))
    assert (82.27 in found) == (6.31 in found) == there and 73.87 not in found  # dropout
    assert (94.46 in drawn(exp_b.training(table_of("b", "training").assign(scale=scale)))) == there


def full_grid(values):
    """(32, 32) of values by mode (u, v), which stand for (-u, -v) too."""
    found = np.full((32, 32), np.nan)
    for (u, v), value in values.items():
        found[(u + 16) % 32, (v + 16) % 32] = found[(16 - u) % 32, (16 - v) % 32] = value
    assert not np.isnan(found).any()
    return found


def test_fourier_heatmap():
    """Modes in place, mirrored; minus each model's clean error; standard errors over seeds."""
    heatmap = table_of("c", "fourier_heatmap")
    helps = (heatmap.u == 0) & (heatmap.v == 9)  # one mode makes errors fewer
    heatmap = heatmap.assign(error=heatmap.error.mask(helps, heatmap.clean_error - 3))
    figure = exp_c_d.fourier_heatmap(heatmap)
    heatmap = heatmap.assign(excess=heatmap.error - heatmap.clean_error)
    of = heatmap.pivot(index=["u", "v"], columns=["configuration", "seed"], values="excess")
    maps = {label(name): of[name] for name in THREE}
    maps["L2 1e-3 minus baseline"] = of["l2=0.001"] - of["baseline"]
    axes = []
    for title, values in maps.items():
        error = np.sqrt((values.std(axis=1) ** 2 / 3).mean())
        full = full_grid(values.mean(axis=1))
        axes.append(assert_map(figure, f"{title}, ± {error:.1f}", full)[1])
    assert_one_scale(axes[:3])
    assert axes[0].images[0].get_clim()[0] == 0
    assert_readable(figure, "fourier_heatmap")


def test_sensitivity():
    """Against white, before and after training; of many models four."""
    maps = table_of("c", "sensitivity_map")
    last = maps[(maps.epoch > 0) & (maps.configuration == "dropout=0.5")]
    grids = [full_grid(rows.set_index(["u", "v"]).power) for _, rows in last.groupby("seed")]
    db = np.mean([10 * np.log10(grid / grid.mean()) for grid in grids], axis=0)
    figure = figure_of("c", "sensitivity")
    assert_map(figure, "dropout 0.5", db)
    assert_readable(figure, "sensitivity")
    shown = [label(EIGHT[number]) for number in (0, 1, 2, 7)]
    for table, first in ((many(maps), ["initially"]), (many(maps[maps.epoch > 0]), [])):
        figure = exp_c_d.sensitivity(table)
        found = {title for ax, title in zip(figure.axes, titles(figure)) if ax.images}
        assert found == {*first, *shown, "L2 1e-3 minus baseline"}


def test_examples_in_true_colours(tmp_path):
    """More than a palette holds; the same bytes each time; other formats too."""
    places = [("none", 0.0), *((name, 0.05) for name in [*exp_c_d.LEVELS][:5])]
    keys = [(*place, number) for place in places for number in range(3)]
    table = pd.DataFrame(keys, columns=["corruption", "level", "image"])
    images = np.random.default_rng(0).integers(0, 256, (len(table), 32, 32, 3), np.uint8)
    table = table.assign(dataset="CIFAR-10", scale="quick", device="cpu", pixels=list(images))
    assert_readable(exp_c_d.examples(table), "examples")
    few = table[(table.image == 0) & table.corruption.isin(["none", "Gaussian noise"])]
    for kind in ("png", "pdf", "svg"):
        paths = [tmp_path / f"{number}.{kind}" for number in range(2)]
        for path in paths:
            figure = exp_c_d.examples(few)
            visualizer.save(figure, path, kind)
        assert paths[0].read_bytes() == paths[1].read_bytes()
    assert (figure.axes[1].images[0].get_array() == images[3]).all()
    assert figure.axes[1].get_title().split() == ["Gaussian", "noise", "sigma", "0.05"]
    pixels = np.asarray(Image.open(tmp_path / "0.png").convert("RGB")).reshape(-1, 3)
    assert {*map(tuple, images[3].reshape(-1, 3))} <= {*map(tuple, pixels)}


def test_figures_of_experiment_a():
    found, shown = tables("quick", "exp_a"), figures("quick", "exp_a")
    frequency, learned = found["frequency"], found["learned"]
    lines = [x for ax in shown["frequency_curves"].axes for x in ax.lines if x.get_marker() == "x"]
    crosses = {tuple(x.get_xydata()[0]) for x in lines if len(x.get_xdata())}
    assert {(500, 0.81), (500, 0.34), (500, 0.074), (500, 0.57)} < crosses
    key = ["strength", "frequency", "step"]
    means = frequency.groupby(key)[["explained_variance", "amplitude_ratio"]].mean()
    curves = frequency.explained_variance, means.explained_variance
    assert_shown(shown["frequency_curves"], *curves)
    ratio = means.amplitude_ratio[0.01].unstack()  # the highest on top
    _, ax = assert_map(shown["spectral_bias"], "penalty 0.01", ratio)
    assert ax.get_ylim() == (-0.5, 2.5)
    assert_one_scale([ax for ax in shown["spectral_bias"].axes if ax.get_title()])
    shown["comparison"]._func(found["fit"].step.max())
    last = found["fit"][found["fit"].step == found["fit"].step.max()]
    assert_shown(shown["comparison"]._fig, last.fit)
    wave = shown["frequency_decomp"].axes[0].lines
    assert [line.get_label() for line in wave] == ["signal", *["fits"] * 5]
    one = learned.query("strength == 0 and frequency == 50 and seed == 1").iloc[0]
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


def test_drawing_leaves_the_users_settings():
    """Whoever draws keeps the look of their own figures, and it does not change ours."""
    with matplotlib.rc_context({"font.size": 30, "axes.grid": False}):
        before = dict(matplotlib.rcParams)
        axis = exp_b.training(tables("quick", "exp_b")["training"]).axes[0].xaxis
        assert axis.label.get_fontsize() == 10 and axis.get_gridlines()[0].get_visible()
        assert before == dict(matplotlib.rcParams)


@pytest.mark.parametrize("folder, file", [("runs", "best"), ("x" * 60, "y" * 90)])
def test_what_tells_two_networks_apart_is_never_cut(folder, file):
    names = [f"/home/{folder}/{run}/{file}.pth" for run in ("first", "second")]
    found = {}
    for name, table in tables("analyze", "analyze").items():
        if "network" in table:
            both = dict(zip(table.network.unique(), names))
            table = table.assign(network=table.network.map(both))
        elif "reference" in table:
            table = table.assign(model=names[0], reference=names[1])
        found[name] = table
    for name, figure in draw("analyze", found).items():
        assert_readable(figure, name)
        said = [titles(figure)[:2]]
        if name.endswith("_sensitivity"):
            said.append([text.get_text() for text in figure.axes[2].get_legend().get_texts()])
        for one, other in said:
            assert "first" in one and "second" in other
