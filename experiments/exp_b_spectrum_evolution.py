"""Experiment B: does regularisation make a CNN a low-pass filter?

Trains ResNet-18 without regularisation, with L2 weight decay and with dropout, from the same
initial weights on the same batches, and records the Fourier spectrum of every 3x3 convolution
at initialisation and after each epoch. With eta(t) the share of kernel energy above CUTOFF,

    SSR = (eta(0) - eta(T)) / eta(0)     positive: training pushed high frequencies down

    python experiments/exp_b_spectrum_evolution.py
    python experiments/exp_b_spectrum_evolution.py --epochs 5 --seeds 0 1

Figures appear in results/figures: exp_b_spectrum_evolution.png (redrawn after every epoch),
exp_b_ssr_comparison.png, exp_b_layers.png, exp_b_training.png; tables in results/data. Started
again after an interruption, it goes on from the last finished epoch.

Quick scale takes 4 to 7 minutes on two CPU cores. Several processes share the runs:

    torchrun --nproc-per-node=8 experiments/exp_b_spectrum_evolution.py
"""

import math
import sys
from pathlib import Path

import pandas as pd
from tqdm import tqdm

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from data import batches, datasets
from utils import checkpoints, runs, settings, statistics, training, visualizer

SCALE = "auto"  # quick, full, or auto: full where there is a GPU
DATASET = "auto"  # cifar10, planted, or auto: CIFAR-10 where it can be had
CONFIGURATIONS = ("baseline", "l2", "dropout")  # which to train
SEEDS = None  # one run of each configuration per seed
EPOCHS = None  # passes over the training images
WIDTH = None  # channels of the first stage of ResNet-18
TRAIN_IMAGES = None  # training images to use
TEST_IMAGES = None  # test images to evaluate on, never used for selection
BATCH_SIZE = None  # images per step
LEARNING_RATE = 0.1  # at the start; falls to 0 along a cosine
MOMENTUM = 0.9  # of stochastic gradient descent
WEIGHT_DECAY = 1e-3  # L2 coefficient of configuration l2, on every parameter
DROPOUT = 0.5  # probability in configuration dropout, inside every block
CUTOFF = 0.25  # cycles/pixel; the high band is above (3x3: all but DC)
CHECKPOINT_EVERY = None  # epochs between weights that are kept
DEVICE = "auto"  # cuda, mps, cpu, or auto: the first of these there is
DATA_ROOT = None  # parent of cifar-10-batches-py; else CIFAR10_ROOT, then data/
RESULTS_DIR = str(ROOT / "results")  # where everything is written
SAVE_REFERENCE = False  # also copy the results to results/reference/<scale>

PUBLISHED_RATIO = 3.19

# What a setting of None means. Weight decay acts through the number of steps, so the quick
# scale has small batches.
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


def main() -> int:
    s = settings.read_settings(globals())
    device = training.choose_device(s.device)
    sets, notice = datasets.load(s.dataset, s.data_root, s.train_images, s.test_images)
    dataset = sets["train"].name
    labels = {"dataset": dataset, "scale": runs.scale_name(s), "device": runs.device_name(device)}
    jobs = runs.list_runs(s)
    mine = runs.share(jobs)
    folder = runs.job_folder(s, dataset, device)
    locks = [checkpoints.hold(folder / run.name / "lock") for run in mine]
    runs.join()
    epochs = {run: max(0, training.resume(run, folder)["epoch"]) for run in mine}
    if runs.RANK == 0:
        runs.begin(s, folder)
        say_plan(s, labels, notice, epochs, folder)

    problems = []
    sets = {name: images.to(device) for name, images in sets.items()}
    train_set = sets.pop("train")
    windows = batches.crop_windows(train_set.images)
    steps = math.ceil(s.train_images / s.batch_size)
    left = steps * sum(s.epochs - done for done in epochs.values())
    with tqdm(total=left, unit="step", disable=runs.RANK > 0) as bar:
        for run in mine:
            conditions = folder / run.name / "settings.json"
            if not conditions.exists():
                runs.write_conditions(conditions, s, labels)
            try:
                for _ in training.train(run, s, windows, train_set.labels, sets, folder, bar):
                    draw_evolution(s, folder, jobs, labels)
            except training.DivergedError:
                continue  # the other runs go on; `merge` reports it
    while locks:
        locks.pop().close()
    problems.append(runs.meet())
    if runs.RANK == 0:
        problems += merge(s, folder, jobs, labels)
    return runs.report(problems)


def draw_evolution(s, folder: Path, jobs: list, labels: dict) -> list[Path]:
    """Spectra of all runs, as far as they are."""
    if runs.RANK > 0:
        return []
    spectra = runs.read_tables(folder, jobs, "spectra.csv", labels)
    figure = visualizer.spectrum_evolution(spectra)
    return [runs.write_figure(s, "exp_b_spectrum_evolution", figure)]


def merge(s, folder: Path, jobs: list, labels: dict) -> list[str]:
    """Tables and figures of all runs; returns what is missing."""
    states = {run: training.resume(run, folder) for run in jobs}
    problems = [state["diverged"] for state in states.values() if state["diverged"]]
    short = [run for run in jobs if states[run]["epoch"] < s.epochs]
    unfinished = [run.name for run in short if not states[run]["diverged"]]
    history = runs.read_tables(folder, jobs, "history.csv", labels)
    spectra = runs.read_tables(folder, jobs, "spectra.csv", labels)
    written = [
        runs.write_table(s, "exp_b_training", history),
        runs.write_table(s, "exp_b_spectrum", spectra),
        runs.write_figure(s, "exp_b_training", visualizer.training(history)),
        *draw_evolution(s, folder, jobs, labels),
    ]
    if len(short) < len(jobs):
        ssr = statistics.suppression_table(spectra, s.cutoff)
        ssr = runs.label(ssr, labels | {"cutoff": s.cutoff})
        figure = visualizer.ssr_comparison(ssr)
        written.append(runs.write_table(s, "exp_b_ssr", ssr))
        written.append(runs.write_figure(s, "exp_b_ssr_comparison", figure))
        written.append(runs.write_figure(s, "exp_b_layers", visualizer.layers(ssr)))
        say_results(history, ssr, labels)
    if s.save_reference:
        files = [*written, folder / jobs[0].name / "settings.json"]
        written += runs.save_reference(s.results_dir, s.scale, files)
    print("\nWritten:", *written, sep="\n  ")
    if unfinished:
        names = ", ".join(unfinished)
        problems.append(f"not finished: {names}; the same command goes on")
    return problems


def say_plan(s, labels: dict, notice: str, epochs: dict, folder: Path) -> None:
    if notice:
        print("!" * 78)
        print("NOT CIFAR-10: this job uses synthetic images with planted cues, because")
        print(notice)
        print("!" * 78)
    for old in runs.other_formats(s.results_dir):
        print(f"Left alone, written by another version of this project: {old}")
    done = sum(epoch == s.epochs for epoch in epochs.values())
    shared = f", shared by {runs.WORLD} processes" if runs.WORLD > 1 else ""
    print(
        f"Data     {labels['dataset']}: {s.train_images} training, {s.test_images} test images",
        f"Scale    {s.scale}: ResNet-18 of width {s.width}, {s.epochs} epochs, "
        f"batch {s.batch_size}",
        f"Device   {labels['device']}",
        f"Runs     {', '.join(s.configurations)} x seeds {', '.join(map(str, s.seeds))}"
        f"{shared}; {done} of {len(epochs)} here are finished",
        f"Folder   {folder}",
        sep="\n",
        flush=True,
    )


def say_results(history: pd.DataFrame, ssr: pd.DataFrame, labels: dict) -> None:
    """A line per number: mean over seeds and, from two seeds on, the 95 % interval."""
    print(
        f"\n{labels['dataset']}, scale {labels['scale']}, {labels['device']}, "
        f"n = {history.seed.nunique()} per configuration, after the last epoch, raw weights"
    )
    print(statistics.closing_table(history, ssr).to_string())
    print("* share of the radius sqrt(2)/3 in the hidden 3x3 layers; white kernels: 0.444")
    ratio = ssr[ssr.configuration == "l2"].published_ratio.dropna()
    if len(ratio):
        print(
            "Claim (arXiv:2512.22192): L2 suppresses the growth of high-frequency energy "
            f"{PUBLISHED_RATIO}x, published protocol."
        )
        outcome = statistics.verdict(ratio, PUBLISHED_RATIO, no_effect=1)
        print(statistics.claim(ratio, outcome, labels, "x"))


if __name__ == "__main__":
    settings.run_script(main, (OSError,))
