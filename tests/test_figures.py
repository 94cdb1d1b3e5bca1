"""Figures hold the numbers of their tables, computed again here, and can be read."""

import base64
import importlib.util
import itertools
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from conftest import ROOT
from matplotlib.animation import FuncAnimation

from utils import figures_a, figures_b, figures_c_d, statistics, suppression, visualizer

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
    leads = statistics.leads(accuracy).assign(comparison="last epoch")
    shown = rows({"place": levels[:6], "image": range(3)})
    shown = split(shown, "place", "corruption", "level").assign(edge=32)
    images = RNG.integers(0, 256, (len(shown), 32, 32, 3), np.uint8)
    shown["pixels"] = [base64.b64encode(image).decode() for image in images]
    return {"accuracy": accuracy, "lead": leads, "examples": shown}


def tables_c(configurations, seeds):
    tables = tables_cd(
        configurations, seeds, {"Gaussian noise": [0.05, 0.1, 0.3], "band noise": [0.05, 0.65]}
    )
    runs = {"configuration": configurations, "seed": range(seeds)}
    heatmap = rows(runs | {"epoch": [10], "mode": MODES}, error=(20, 90), clean_error=(20, 21))
    maps = rows(runs | {"epoch": [0, 10], "mode": MODES}, power=(1, 2))
    heatmap, maps = split(heatmap, "mode", "u", "v"), split(maps, "mode", "u", "v")
    tables["fourier_heatmap"] = heatmap.assign(norm=4.0, n_images=256)
    return (
        tables
        | {"robustness": tables["accuracy"], "sensitivity": spectra}
        | {"sensitivity_map": maps}
    )


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
    "eight long": (EIGHT, 1, 50),
}


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("name", "abcd")
def test_every_figure_can_be_read(name, shape):
    """Nothing clipped, overlapping, unlabelled or empty, at one, three and eight configurations."""
    configurations, seeds, epochs = SHAPES[shape]
    if name == "a":
        frequencies = {1: [5], 3: [5, 20, 50], 8: range(5, 51, 5)}[len(configurations)]
        strengths = [0, 1e-3, 1e-2, 1e-1][: max(1, len(configurations) // 2)]
        tables = tables_a(strengths, list(frequencies), seeds, [0, 1, 10, 500, 20000][: epochs + 1])
    elif name == "b":
        tables = tables_b(configurations, seeds, epochs)
    else:
        tables = {"c": tables_c, "d": tables_d}[name](configurations, seeds)
    drawn = script(name).figures(tables)
    assert len(drawn) >= 3
    for title, figure in drawn.items():
        figure = figure._fig if isinstance(figure, FuncAnimation) else figure
        assert_readable(figure, title)


def ticks_shown(axis):
    low, high = sorted(axis.get_view_interval())
    places = zip(axis.get_majorticklocs(), axis.get_majorticklabels())
    return [label for place, label in places if low <= place <= high]


def assert_readable(figure, name):
    figure.draw_without_rendering()
    whole = figure.bbox.padded(1)
    assert figure.get_figwidth() * 120 >= 900 and 9 / figure.get_figwidth() > 0.9, name
    texts = {}  # of which none may touch another
    for part in [figure, *figure.subfigs, *(s for p in figure.subfigs for s in p.subfigs)]:
        texts |= {t: t.get_window_extent() for t in part.texts}
        for text in (part._suptitle, part._supxlabel, part._supylabel):
            texts |= {text: text.get_window_extent()} if text and text.get_text() else {}
        texts |= {legend: legend.get_window_extent() for legend in part.legends}
    for ax in figure.axes:
        bar = ax.get_label() == "<colorbar>"
        inside = [*ax.lines, *ax.images, *ax.collections]
        assert bar or any(len(np.ravel(a.get_array() if a in ax.images else 1)) for a in inside), (
            name
        )
        alike = ax.get_shared_x_axes().get_siblings(ax) + ax.get_shared_y_axes().get_siblings(ax)
        labels = {a: [a.title, a.xaxis.label, a.yaxis.label] for a in (ax, *alike)}
        labelled = [t for t in labels[ax] if t.get_text()]
        assert name == "examples" or any(t.get_text() for t in itertools.chain(*labels.values()))
        ticks = [t for axis in (ax.xaxis, ax.yaxis) for t in ticks_shown(axis) if ax.axison]
        shown = [t for t in (*labelled, *ticks) if t.get_text() and t.get_visible()]
        texts |= {t: t.get_window_extent() for t in shown}
        for text in ax.texts:  # numbers in a panel may touch each other
            box = text.get_window_extent()
            assert whole.contains(*box.min) and whole.contains(*box.max), (name, text)
    problems = []
    for text, box in texts.items():
        if not (whole.contains(*box.min) and whole.contains(*box.max)):
            problems.append(f"{words(text)!r} is clipped")
    for (one, a), (other, b) in itertools.combinations(texts.items(), 2):
        if a.padded(-1).overlaps(b.padded(-1)):
            problems.append(f"{words(one)!r} and {words(other)!r} overlap")
    assert not problems, (name, problems)
    assert figure.get_supxlabel().startswith(("CIFAR-10", "sum of"))


def words(text):
    return text.get_text() if hasattr(text, "get_text") else "legend"
