"""Experiment B: does regularisation make a CNN a low-pass filter?

Trains ResNet-18 without regularisation, with L2 weight decay and with dropout, from the same
initial weights on the same batches, and records the Fourier spectrum of every 3x3 convolution
at initialisation, after steps 1, 2, 4, 8, ... and after each epoch. With eta(t) the share of kernel
energy above CUTOFF, and c(t) that of the corner, the highest radius alone,

    SSR        = (eta(0) - eta(T)) / eta(0)     positive: training pushed high frequencies down
    corner SSR = (c(0) - c(T)) / c(0)

    python experiments/exp_b_spectrum_evolution.py
    python experiments/exp_b_spectrum_evolution.py --scale medium
    python experiments/exp_b_spectrum_evolution.py --configurations baseline l2=1e-4 l2 l2=1e-2

Figures appear in results/figures: exp_b_spectrum_evolution.png (redrawn during training), and at
the end exp_b_ssr_comparison, _layers, _layer_evolution, _response, _first_layer, _training, with
three strengths or more _dose_response, and a film, exp_b_evolution.gif; tables in results/data.
Started again after an interruption, it goes on from the last finished epoch.

Quick scale takes 4 to 7 minutes on two CPU cores. Several processes share the runs:

    torchrun --nproc-per-node=8 experiments/exp_b_spectrum_evolution.py
"""

import sys
import time
from functools import partial
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
import utils  # noqa: F401 (before all else)

# isort: split
import pandas as pd

from data import batches, datasets, image_spectrum
from utils import (
    checkpoints,
    configurations,
    devices,
    figures_b,
    processes,
    progress,
    provenance,
    published,
    records,
    results,
    runs,
    settings,
    statistics,
    suppression,
    training,
)

SCALE = "quick"  # quick, medium, or full (the published setting: for a GPU)
DATASET = "auto"  # cifar10, planted, or auto: CIFAR-10 where it can be had
IMAGE_SPECTRUM = "natural"  # or whitened, inverted: amplitudes times r, r^2 (r: frequency)
CONFIGURATIONS = ("baseline", "l2", "dropout")  # also conv-l2, l2=5e-4, l2+dropout=0.3
SEEDS = None  # one run of each configuration per seed
EPOCHS = None  # passes over the training images
WIDTH = None  # channels of the first stage of ResNet-18
TRAIN_IMAGES = None  # training images to use
TEST_IMAGES = None  # test images to evaluate on, never used for selection
BATCH_SIZE = None  # images per step
LEARNING_RATE = 0.1  # at the start; falls to 0 along a cosine
MOMENTUM = 0.9  # of stochastic gradient descent
WEIGHT_DECAY = 1e-3  # L2 coefficient where l2 or conv-l2 has no value of its own
DROPOUT = 0.5  # probability, inside every block, where dropout has no value of its own
CUTOFF = 0.25  # cycles/pixel; the high band is above (3x3: all but DC)
CHECKPOINT_EVERY = None  # epochs between weights that are kept
DEVICE = "auto"  # cuda, cuda:1, mps, cpu, or auto: the GPU where CUDA finds one, else the CPU
DATA_ROOT = None  # parent of cifar-10-batches-py; else CIFAR10_ROOT, then data/
RESULTS_DIR = str(ROOT / "results")  # where everything is written
SAVE_REFERENCE = None  # copy the results to results/reference/<this name> too
REDRAW = None  # a folder of tables: draw their figures again, train nothing

# What a setting of None means. Weight decay acts through the number of steps, so the smaller
# scales have small batches.
SCALES = {
    "quick": {
        "seeds": (0,),
        "epochs": 10,
        "width": 16,
        "train_images": 5_000,
        "test_images": 1_000,
        "batch_size": 32,
        "checkpoint_every": 1,
    },
    "medium": {
        "seeds": (0, 1, 2),
        "epochs": 10,
        "width": 16,
        "train_images": 50_000,
        "test_images": 10_000,
        "batch_size": 32,
        "checkpoint_every": 1,
    },
    "full": {
        "seeds": (0, 1, 2),
        "epochs": 50,
        "width": 64,
        "train_images": 50_000,
        "test_images": 10_000,
        "batch_size": 128,
        "checkpoint_every": 5,
    },
}
# Seconds, at least, between two drawings during training.
DRAW_EVERY = 20


def main() -> int:
    s = settings.read_settings(globals(), recipe=published.RECIPE)
    if s.redraw:
        return results.redraw(s.redraw, "exp_b", figures)
    complete_configurations(s)
    processes.connect()
    device = devices.choose_device(s.device)
    _, sets, notice = processes.one_after_another(partial(load_images, s), s.dataset)
    labels = {"dataset": sets["train"].name, "scale": provenance.scale_label(s)}
    jobs = runs.list_runs(s)
    mine = processes.my_share(jobs)
    folder = runs.job_folder(s, labels["dataset"], device)
    locks = [checkpoints.hold(folder / run.name / "lock") for run in mine]
    processes.outlive_others()
    states = {run: training.load_state(run, folder) for run in mine}
    start = {"device": devices.describe_device(device)} | provenance.versions()
    if processes.RANK == 0:
        results.clean(s)
        runs.note_latest(s, folder, labels)
        say_plan(s, labels, notice, states, folder, start)

    sets = {name: images.to(device) for name, images in sets.items()}
    train_set = sets.pop("train")
    windows = batches.crop_windows(train_set.images, train_set.border)
    left = sum(s.epochs - max(0, state["epoch"]) for state in states.values())
    left *= training.steps_per_epoch(s)
    drawn = time.monotonic()
    bar = progress.Progress(left, silent=processes.RANK > 0)
    for run, state in states.items():
        place = folder / run.name
        if not (place / "settings.json").exists():
            provenance.write_conditions(place / "settings.json", s, labels)
        try:
            for _ in training.train(run, state, s, train_set, windows, sets, place, start, bar):
                if processes.RANK == 0 and time.monotonic() - drawn > DRAW_EVERY:
                    draw_evolution(s, folder, jobs, labels)
                    drawn = time.monotonic()
        except training.DivergedError:
            continue  # the other runs go on; `merge` reports it
    bar.bar.close()
    while locks:
        locks.pop().close()
    problem = processes.wait_for_others()
    return results.report([problem]) if processes.RANK else merge(s, folder, jobs, labels, problem)


def complete_configurations(s) -> None:
    names = [configurations.complete(name, s) for name in s.configurations or ()]
    if len(set(names)) < max(1, len(names)):
        settings.refuse("CONFIGURATIONS", s.configurations, "distinct ones, at least one")
    s.configurations = names


def load_images(s, dataset: str) -> tuple:
    """The choice of data that was made, the sets, and a notice where they are not CIFAR-10."""
    sets, notice = datasets.load(dataset, s.data_root, s.train_images, s.test_images)
    chosen = "planted" if "PLANTED" in sets["train"].name else "cifar10"
    return chosen, image_spectrum.with_spectrum(sets, s.image_spectrum), notice


def draw_evolution(s, folder: Path, jobs: list, labels: dict) -> None:
    """Spectra of all runs, as far as they are."""
    spectra = results.read_run_tables(folder, jobs, "spectra.csv").assign(cutoff=s.cutoff)
    history = results.read_run_tables(folder, jobs, "history.csv")
    labels = add_device(labels, results.read_run_tables(folder, jobs, "starts.csv"))
    figure = figures_b.spectrum_evolution(results.with_columns(spectra, labels), history)
    path = Path(s.results_dir) / "figures" / "exp_b_spectrum_evolution.png"
    results.write_figure(path, figure)


def add_device(labels: dict, starts: pd.DataFrame) -> dict:
    """Labels with the device of the starts that trained the epochs, not of this start."""
    return labels | {"device": "; ".join(dict.fromkeys(starts.device))}


def merge(s, folder: Path, jobs: list, labels: dict, problem: str) -> int:
    """Tables and figures of all runs; the exit code."""
    states = {run: training.load_state(run, folder) for run in jobs}
    for run, state in states.items():
        training.write_tables(state, folder / run.name)
    problems = [problem, *(state["diverged"] for state in states.values())]
    short = [run for run in jobs if states[run]["epoch"] < s.epochs]
    labels = add_device(labels, training.table(states.values(), "starts"))
    files = {"training": "history", "spectrum": "spectra", "autocorrelation": "autocorrelation"}
    tables = {name: training.table(states.values(), file) for name, file in files.items()}
    tables["spectrum"] = tables["spectrum"].assign(cutoff=s.cutoff)
    if len(short) < len(jobs):
        history = tables["training"]
        ssr = suppression.suppression_table(tables["spectrum"], s.cutoff)
        dose = suppression.dose_table(history, ssr)
        tables["ssr"] = ssr.assign(cutoff=s.cutoff)
        tables |= {"dose_response": dose} if len(dose) else {}
        some = [run for run in jobs if run.seed == jobs[0].seed and run not in short]
        kept = [records.kept_autocorrelations(folder, run, s.width) for run in some]
        tables |= {"response": pd.concat(kept)} if some else {}
        tables["claims"] = pd.DataFrame(list_claims(history, ssr, labels))
        say_results(history, ssr, tables["claims"], labels)
    unfinished = [run.name for run in short if not states[run]["diverged"]]
    if unfinished:
        problems.append(f"not finished: {', '.join(unfinished)}; the same command goes on")
    conditions = {
        "starts": [row for state in states.values() for row in state["starts"]],
        "seconds": sum(row["seconds"] for state in states.values() for row in state["times"]),
        "steps": s.epochs * training.steps_per_epoch(s),
    }
    return results.write(s, "exp_b", labels, tables, figures, problems, **conditions)


def figures(tables: dict[str, pd.DataFrame]) -> dict:
    """Every figure of this script by name, from its tables."""
    spectra, history = tables["spectrum"], tables["training"]
    drawn = {
        "spectrum_evolution": figures_b.spectrum_evolution(spectra, history),
        "first_layer": figures_b.first_layer(spectra),
        "layer_evolution": figures_b.layer_evolution(spectra),
        "training": figures_b.training(history),
    }
    if "ssr" in tables:
        drawn["ssr_comparison"] = figures_b.ssr_comparison(tables["ssr"])
        drawn["layers"] = figures_b.layers(tables["ssr"])
        drawn["response"] = figures_b.response(tables["autocorrelation"])
    if "response" in tables:
        drawn["evolution"] = figures_b.evolution(spectra, tables["response"])
    if "dose_response" in tables:
        drawn["dose_response"] = figures_b.dose_response(tables["dose_response"])
    return drawn


def list_claims(history: pd.DataFrame, ssr: pd.DataFrame, labels: dict) -> list[dict]:
    """What arXiv:2512.22192 claims of spectra and clean accuracy, and what was measured."""
    raw = ssr[ssr.weights == "raw"]
    first, hidden = raw[raw.layer == raw.layer.iloc[0]], raw[raw.layer == suppression.HIDDEN]
    hidden = hidden.assign(corner=statistics.minus_baseline(hidden, "corner_final"))
    values = statistics.per_l2({"ratio": first}, "published_ratio")
    values |= statistics.per_l2({"corner": hidden}, "corner")
    last = history[history.epoch == history.epoch.max()]
    cells = statistics.published_cells(
        first, "published_ssr", "published SSR", published.SSR
    ) | statistics.published_cells(
        last, "test_accuracy", "clean accuracy, %", published.CLEAN_ACCURACY
    )
    return statistics.claim_rows(values, labels) + statistics.cell_rows(cells, labels)


def say_plan(s, labels: dict, notice: str, states: dict, folder: Path, start: dict) -> None:
    if notice:
        print("!" * 78)
        print("NOT CIFAR-10: this job uses synthetic images with planted cues, because")
        print(notice)
        print("!" * 78)
    done = sum(state["epoch"] == s.epochs for state in states.values())
    shared = f", shared by {processes.WORLD} processes" if processes.WORLD > 1 else ""
    print(
        f"Data     {labels['dataset']}: {s.train_images} training, {s.test_images} test images",
        f"Scale    {labels['scale']}: ResNet-18 of width {s.width}, {s.epochs} epochs, "
        f"batch {s.batch_size}",
        f"Device   {start['device']} ({start['processor']})",
        f"Runs     {', '.join(map(configurations.label, s.configurations))} x seeds "
        f"{', '.join(map(str, s.seeds))}{shared}; {done} of {len(states)} here are finished",
        f"Folder   {folder}",
        *say_faster(len(states), start["device"]),
        sep="\n",
        flush=True,
    )


def say_faster(count: int, device: str) -> list[str]:
    """How to share the runs among the cores, where there are enough of both."""
    ranks = min(count, devices.count_cores())
    if processes.WORLD > 1 or ranks < 2 or devices.count_cores() < 4 or device[:3] != "cpu":
        return []
    line = " ".join(["torchrun", f"--nproc-per-node={ranks}", *sys.argv])
    return [f"Faster   {line}   shares the runs among {devices.count_cores()} cores"]


def say_results(history: pd.DataFrame, ssr: pd.DataFrame, claims, labels: dict) -> None:
    """A line per number: mean over seeds and, from two seeds on, the 95 % interval."""
    print(
        f"\n{labels['dataset']}, scale {labels['scale']}, {labels['device']}, "
        f"n = {history.seed.nunique()} per configuration, after the last epoch, raw weights"
    )
    print(suppression.closing_table(history, ssr).to_string())
    print("* corner: radius sqrt(2)/3, hidden 3x3 layers; share in white kernels: 0.444\n")
    print(statistics.claim_text(claims))


if __name__ == "__main__":
    settings.run_script(main, "Stopped. The same command goes on from the last finished epoch.")
