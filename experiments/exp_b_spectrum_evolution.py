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
the end exp_b_ssr_comparison.png, others, and an animation, exp_b_evolution.gif; tables in results/data.
Started again after an interruption, it goes on from the last finished epoch. Quick scale takes 4 to
7 minutes on two CPU cores. Several processes share the runs:

    torchrun --nproc-per-node=8 experiments/exp_b_spectrum_evolution.py
"""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
from utils.evidence.paper import CLEAN_ACCURACY, RECIPE, SSR
from utils.runtime import settings

# None: what SCALES, below, says for the SCALE.
SCALE = "quick"  # quick, medium, or full (the published setting: for a GPU)
DATASET = "auto"  # cifar10, planted, or auto: CIFAR-10 where it can be had
IMAGE_SPECTRUM = "natural"  # or whitened, inverted: amplitudes times r, r^2 (r: frequency)
CONFIGURATIONS = ("baseline", "l2", "dropout")  # also conv-l2, fixed-norm, l2=5e-4, l2+dropout=0.3
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
PRECISION = "auto"  # bfloat16 where the device has matrix units for it, else float32; or by name
DATA_ROOT = None  # parent of cifar-10-batches-py; None: CIFAR10_ROOT, then data/
RESULTS_DIR = str(ROOT / "results")  # where everything is written
SAVE_REFERENCE = None  # copy the results to results/reference/<this name> too; None: do not
REDRAW = None  # a folder of tables: draw their figures again, train nothing; None: train

# Weight decay acts through the number of steps, so the smaller scales have small batches.
SCALES = {
    "seeds": {"quick": (0,), "medium": (0, 1, 2), "full": (0, 1, 2)},
    "epochs": {"quick": 10, "medium": 10, "full": 50},
    "width": {"quick": 16, "medium": 16, "full": 64},
    "train_images": {"quick": 5_000, "medium": 50_000, "full": 50_000},
    "test_images": {"quick": 1_000, "medium": 10_000, "full": 10_000},
    "batch_size": {"quick": 32, "medium": 32, "full": 128},
    "checkpoint_every": {"quick": 1, "medium": 1, "full": 5},
}
if __name__ == "__main__":
    settings.read_settings(globals())  # what is refused, and --help, end before long imports

import os
import time
from collections.abc import Callable
from functools import partial

import pandas as pd

from data import datasets, image_spectrum
from data.images import crop_windows
from utils import configurations
from utils.evidence import intervals, verdicts
from utils.evidence.suppression import closing_table, dose_table, final_table, suppression_table
from utils.figures import exp_b as draw
from utils.figures import exp_b_ssr
from utils.runtime import devices, distributed, files, provenance, results
from utils.runtime.progress import Progress
from utils.training.loop import (
    DivergedError,
    load_state,
    steps_per_epoch,
    table,
    train,
    write_tables,
)
from utils.training.recording import kept_autocorrelations
from utils.training.runs import describe, job_folder, list_runs, note_latest

# Seconds, at least, between two drawings during training.
DRAW_EVERY = 20


def main() -> int:
    s = settings.read_settings(globals(), recipe=RECIPE)
    if s.redraw:
        return results.redraw(s.redraw, "exp_b", figures)
    names = (configurations.complete(name, s) for name in s.configurations)
    s.configurations = list(dict.fromkeys(names))  # "l2" and "l2=0.001" may be one
    jobs = list_runs(s)
    distributed.connect()
    device = devices.choose_device(s.device)
    s.precision = devices.choose_precision(s.precision, device)
    _, sets, notice = distributed.one_after_another(partial(load_images, s), s.dataset)
    labels = {"dataset": sets["train"].name, "scale": provenance.scale_label(s)}
    folder = job_folder(s, labels["dataset"], device)
    mine = jobs[distributed.RANK :: distributed.WORLD]
    locks = [files.hold(folder / run.name / "lock") for run in mine]
    distributed.outlive_others()
    states = {run: load_state(run, folder) for run in mine}
    start = {"device": devices.describe_device(device, s.precision)} | provenance.versions()
    if distributed.RANK == 0:
        results.clean(s)
        note_latest(s, folder, labels)
        say_plan(s, labels, notice, jobs, states, folder, start)

    sets = {name: images.to(device) for name, images in sets.items()}
    train_set = sets.pop("train")
    windows = crop_windows(train_set.images, train_set.border)
    epochs = sum(s.epochs - max(0, state["epoch"]) for state in states.values())
    bar = Progress(epochs * steps_per_epoch(s), silent=distributed.RANK > 0)
    drawn = time.monotonic()
    for run, state in states.items():
        place = folder / run.name
        if not (place / "settings.json").exists():
            provenance.write_conditions(place / "settings.json", s, labels)
        try:
            for _ in train(run, state, s, train_set, windows, sets, place, start, bar):
                if distributed.RANK == 0 and time.monotonic() - drawn > DRAW_EVERY:
                    draw_evolution(s, folder, jobs, labels)
                    drawn = time.monotonic()
        except DivergedError:
            continue  # the other runs go on; `merge` reports it
    bar.bar.close()
    for lock in locks:
        lock.close()
    problem = distributed.wait_for_others()
    if distributed.RANK:
        return results.report([problem])
    return merge(s, folder, {run: states.get(run) for run in jobs}, labels, problem)


def load_images(s, dataset: str) -> tuple:
    """The choice of data that was made, the sets, and a notice where they are not CIFAR-10."""
    sets, notice = datasets.load(dataset, s.data_root, s.train_images, s.test_images)
    chosen = "planted" if "PLANTED" in sets["train"].name else "cifar10"
    return chosen, image_spectrum.with_spectrum(sets, s.image_spectrum), notice


def read_tables(s, read: Callable, labels: dict) -> tuple[dict[str, pd.DataFrame], dict]:
    """What the runs have recorded so far, and labels with the device of the starts that trained
    it, not of this start."""
    tables = {"training": read("history"), "spectrum": read("spectra").assign(cutoff=s.cutoff)}
    return tables, labels | {"device": "; ".join(dict.fromkeys(read("starts").device))}


def draw_evolution(s, folder: Path, jobs: list, labels: dict) -> None:
    """Spectra of all runs, as far as they are."""
    tables, labels = read_tables(s, partial(results.read_run_tables, folder, jobs), labels)
    spectra = results.with_columns(tables["spectrum"], labels)
    figure = draw.spectrum_evolution(spectra, tables["training"])
    results.write_figure(Path(s.results_dir, "figures", "exp_b_spectrum_evolution.png"), figure)


def merge(s, folder: Path, states: dict, labels: dict, problem: str) -> int:
    """Tables and figures of all runs, those of other processes (None) from files; the exit code."""
    states = {run: state or load_state(run, folder) for run, state in states.items()}
    for run, state in states.items():
        write_tables(state, folder / run.name)
    tables, labels = read_tables(s, partial(table, states.values()), labels)
    tables["autocorrelation"] = table(states.values(), "autocorrelation")
    finished = [run for run, state in states.items() if state["epoch"] == s.epochs]
    if finished:
        history = tables["training"]
        ssr = suppression_table(tables["spectrum"], s.cutoff)
        dose = dose_table(history, ssr)
        tables["ssr"] = ssr.assign(cutoff=s.cutoff)
        tables |= {"dose_response": dose} if len(dose) else {}
        some = [run for run in finished if run.seed == s.seeds[0]]
        kept = [kept_autocorrelations(folder, run, s.width) for run in some]
        tables |= {"response": pd.concat(kept)} if some else {}
        tables["claims"] = list_claims(history, ssr, labels)
        say_results(history, ssr, tables["claims"], labels)
    problems = [problem, *(state["diverged"] for state in states.values())]
    lost = [run.name for run in states if run not in finished and not states[run]["diverged"]]
    if lost:
        problems.append(f"not finished: {', '.join(lost)}; the same command goes on")
    conditions = {
        "starts": [row for state in states.values() for row in state["starts"]],
        "seconds": sum(row["seconds"] for state in states.values() for row in state["times"]),
        "steps": s.epochs * steps_per_epoch(s),
    }
    return results.write(s, "exp_b", labels, tables, figures, problems, **conditions)


def figures(tables: dict[str, pd.DataFrame]) -> dict:
    """Every figure of this script by name, from its tables."""
    spectra, history = tables["spectrum"], tables["training"]
    drawn = {
        "spectrum_evolution": draw.spectrum_evolution(spectra, history),
        "first_layer": draw.first_layer(spectra),
        "layer_evolution": draw.layer_evolution(spectra),
        "training": draw.training(history),
    }
    if "ssr" in tables:
        drawn["ssr_comparison"] = exp_b_ssr.ssr_comparison(tables["ssr"])
        drawn["layers"] = exp_b_ssr.layers(tables["ssr"])
        drawn["response"] = draw.response(tables["autocorrelation"])
        drawn["evolution"] = draw.evolution(spectra)
    if "dose_response" in tables:
        drawn["dose_response"] = exp_b_ssr.dose_response(tables["dose_response"])
    return drawn


def list_claims(history: pd.DataFrame, ssr: pd.DataFrame, labels: dict) -> pd.DataFrame:
    """What arXiv:2512.22192 claims of spectra and clean accuracy, and what was measured."""
    final = final_table(history, ssr).dropna(subset="ssr")
    final["corner"] = intervals.minus_baseline(final, "corner_final")
    values = verdicts.l2_values("ratio", final, "published_ratio")
    values += verdicts.l2_values("corner", final, "corner")
    published = verdicts.published_values
    values += published(final, "published_ssr", "published SSR", SSR)
    values += published(final, "test_accuracy", "clean accuracy, %", CLEAN_ACCURACY)
    return verdicts.claim_table(values, labels)


def say_plan(s, labels: dict, notice: str, jobs: list, states: dict, folder: Path, start) -> None:
    if notice:
        text = "NOT CIFAR-10: this job uses synthetic images with planted cues, because"
        print("!" * 78, text, notice, "!" * 78, sep="\n")
    done = sum(state["epoch"] == s.epochs for state in states.values())
    shared = f", shared by {distributed.WORLD} processes" if distributed.WORLD > 1 else ""
    network = f"ResNet-18 of width {s.width}, {s.epochs} epochs, batch {s.batch_size}"
    plan = {
        "Data": f"{labels['dataset']}: {s.train_images} training, {s.test_images} test images",
        "Scale": f"{labels['scale']}: {network}",
        "Device": f"{start['device']} ({start['processor']})",
        "Runs": f"{describe(jobs)}{shared}; {done} of {len(states)} here are finished",
        "Folder": str(folder),
    }
    affinity = getattr(os, "sched_getaffinity", None)  # cores that this process may use
    cores = len(affinity(0)) if affinity else os.cpu_count() or 1
    ranks = min(len(states), cores)
    if distributed.WORLD == 1 and ranks > 1 and cores >= 4 and start["device"].startswith("cpu"):
        line = " ".join(["torchrun", f"--nproc-per-node={ranks}", *sys.argv])
        plan["Faster"] = f"{line}   shares the runs among {cores} cores"
    results.print_plan(plan)


def say_results(history: pd.DataFrame, ssr: pd.DataFrame, claims, labels: dict) -> None:
    """A line per number: mean over seeds and, from two seeds on, the 95 % interval."""
    print(
        f"\n{labels['dataset']}, scale {labels['scale']}, {labels['device']}, "
        f"n = {history.seed.nunique()} per configuration, after the last epoch, raw weights"
    )
    print(closing_table(history, ssr).to_string())
    print("* corner: radius sqrt(2)/3, hidden 3x3 layers; share in white kernels: 0.444\n")
    print(verdicts.claim_text(claims))


if __name__ == "__main__":
    settings.run_script(main, "Stopped. The same command goes on from the last finished epoch.")
