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
    torchrun --nproc-per-node=8 experiments/exp_b_spectrum_evolution.py   # processes share the runs

Figures, exp_b_*.png and an animation, appear in results/figures (exp_b_spectrum_evolution.png also
during training), tables in results/data. Started again after an interruption, it goes on from the
last finished epoch. Quick scale takes 4 to 7 minutes on two CPU cores.
"""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
from utils.configurations import RECIPE
from utils.runtime import script, settings

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
FIGURE_FORMAT = "png"  # also pdf, svg: written beside the PNG
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
    script.prepare(globals())  # --help, and what is refused, end before long imports

import shlex
import time
from contextlib import ExitStack, suppress
from functools import partial

import pandas as pd

from data import datasets, image_spectrum
from data.images import crop_windows
from utils import configurations, visualizer
from utils.evidence import suppression, verdicts
from utils.figures import exp_b as draw
from utils.figures import exp_b_ssr
from utils.runtime import devices, distributed, files, provenance, results
from utils.runtime.progress import Progress
from utils.training import loop, recording
from utils.training.runs import describe, job_folder, list_runs, note_latest, with_finished_ones

DRAW_EVERY, DRAW_SHARE = 20, 20  # seconds, at least, to the next drawing; times what one took


def main() -> int:
    s = settings.read_settings(globals(), recipe=RECIPE)
    if s.redraw:
        return results.redraw(s, "exp_b", figures, visualizer.save)
    names = (configurations.canonical_name(name, s) for name in s.configurations)
    s.configurations = list(dict.fromkeys(names))  # "l2" and "l2=0.001" may be one
    distributed.connect()
    device = devices.choose_device(s.device)
    s.precision = devices.choose_precision(s.precision, device)
    _, sets, notice = distributed.rank_zero_first(partial(load_images, s), s.dataset)
    labels = {"dataset": sets["train"].name, "scale": provenance.scale_label(s)}
    start = {"device": devices.describe_device(device, s.precision)} | provenance.versions()
    runs, folder, states = list_runs(s), job_folder(s, labels["dataset"], device), {}
    with ExitStack() as locks:
        for run in runs[distributed.RANK :: distributed.WORLD]:
            locks.enter_context(files.lock(folder / run.name / "lock"))
            states[run] = loop.load_state(run, folder)
        if distributed.RANK == 0:
            results.remove_old_temporary_files(s)
            note_latest(folder, labels["scale"], with_finished_ones(runs, folder, s.epochs))
            say_plan(s, labels, notice, runs, states, folder, start, device)
        sets = {name: images.to(device) for name, images in sets.items()}
        train_all(s, states, sets, runs, folder, labels, start)
    problem = distributed.wait_for_others()
    if distributed.RANK:
        return results.report([problem])
    with results.one_at_a_time(s):
        return write_results(s, runs, folder, labels, problem)


def load_images(s, dataset: str) -> tuple:
    """The choice of data that was made, the sets, and a notice where they are not CIFAR-10."""
    sets, notice = datasets.load(dataset, s.data_root, s.train_images, s.test_images)
    chosen = "planted" if "PLANTED" in sets["train"].name else "cifar10"
    return chosen, image_spectrum.with_spectrum(sets, s.image_spectrum), notice


def say_plan(s, labels, notice: str, runs: list, states: dict, folder: Path, start, device) -> None:
    if notice:
        text = "NOT CIFAR-10: this job uses synthetic images with planted cues, because"
        print("!" * 78, text, notice, "!" * 78, sep="\n")
    done, world = sum(state["epoch"] == s.epochs for state in states.values()), distributed.WORLD
    shared = f", shared by {world} processes" if world > 1 else ""
    network = f"ResNet-18 of width {s.width}, {s.epochs} epochs, batch {s.batch_size}"
    plan = {
        "Data": f"{labels['dataset']}: {s.train_images} training, {s.test_images} test images",
        "Scale": f"{labels['scale']}: {network}",
        "Device": f"{start['device']} ({start['processor']})",
        "Runs": f"{describe(runs)}{shared}; {done} of {len(states)} here are finished",
        "Folder": str(folder),
        "Slower": devices.slow_precision(s.precision, device),
    }
    command, cores = shlex.join(sys.argv), devices.usable_cores()
    if world == 1 < len(states) and cores >= 4 and device.type == "cpu":
        line = f"torchrun --nproc-per-node={min(len(states), cores)} {command}"
        plan["Faster"] = f"{line}   shares the runs among {cores} cores"
    if threads := devices.threads_beside_others(device):
        line = f"OMP_NUM_THREADS={threads} python {command}"
        plan["Busy"] = f"other processes keep cores busy; faster: {line}"
    results.print_plan({name: line for name, line in plan.items() if line})


def train_all(s, states: dict, sets: dict, runs: list, folder: Path, labels, start) -> None:
    """Train this process's runs to the end, and draw the spectra of all from time to time."""
    train_set, tests = sets["train"], {n: some for n, some in sets.items() if n != "train"}
    windows = crop_windows(train_set.images, train_set.border)
    epochs = sum(s.epochs - max(0, state["epoch"]) for state in states.values())
    next_drawing = time.monotonic() + DRAW_EVERY
    with Progress(epochs * loop.steps_per_epoch(s), silent=distributed.RANK > 0) as bar:
        for run, state in states.items():
            place = folder / run.name
            if not (place / "settings.json").exists():
                provenance.write_conditions(place / "settings.json", s, labels)
            with suppress(loop.DivergedError):  # the other runs go on; `write_results` reports it
                for _ in loop.train(run, state, s, train_set, windows, tests, place, start, bar):
                    if distributed.RANK == 0 and time.monotonic() > next_drawing:
                        known = [states.get(run) or loop.read_rows(run, folder) for run in runs]
                        next_drawing = draw_evolution(s, known, labels)


def draw_evolution(s, states: list, labels: dict) -> float:
    """Draw the spectra of all runs, as far as they are; the time from which to do so again."""
    began = time.monotonic()
    tables, labels = recorded_tables(s, states, labels)
    spectra = results.with_columns(tables["spectrum"], labels)
    figure = draw.spectrum_evolution(spectra, tables["training"])
    path = Path(s.results_dir, "figures", "exp_b_spectrum_evolution")
    results.write_figure(path, figure, visualizer.save)
    now = time.monotonic()
    return now + max(DRAW_EVERY, DRAW_SHARE * (now - began))


def recorded_tables(s, states: list, labels: dict) -> tuple[dict[str, pd.DataFrame], dict]:
    """What the runs have recorded so far, and labels with the device of the starts that trained
    them, not of this start."""
    rows = partial(recording.table, states)
    tables = {"training": rows("history"), "autocorrelation": rows("autocorrelation")}
    tables["spectrum"] = rows("spectra").assign(cutoff=s.cutoff)
    tables = {name: results.as_written(table) for name, table in tables.items()}
    return tables, labels | {"device": "; ".join(rows("starts").device.unique())}


def write_results(s, runs: list, folder: Path, labels: dict, problem: str) -> int:
    """Tables and figures of this start's runs and of those of the same job that others have
    finished, all from the files of the runs; the exit code."""
    found = with_finished_ones(runs, folder, s.epochs)
    known = {run: loop.read_rows(run, folder) for run in found}
    finished = [run for run, state in known.items() if state["epoch"] == s.epochs]
    known = {run: state for run, state in known.items() if run in [*runs, *finished]}
    states, answer = list(known.values()), ""
    s.configurations = list(dict.fromkeys(run.configuration for run in known))
    s.seeds = list(dict.fromkeys(run.seed for run in known))
    note_latest(folder, labels["scale"], list(known))
    tables, labels = recorded_tables(s, states, labels)
    tables["autocorrelation"] = tables["autocorrelation"].query("epoch in [0, @s.epochs]")
    if finished:
        history = tables["training"]
        ssr = suppression.suppression_table(tables["spectrum"], s.cutoff)
        tables["ssr"] = ssr.assign(cutoff=s.cutoff)
        if len(dose := suppression.dose_table(history, ssr)):
            tables["dose_response"] = dose
        tables["claims"] = verdicts.claim_table({"training": history, "ssr": ssr}, labels)
        answer = verdicts.claim_text(tables["claims"]) + results.one_seed(s.seeds)
        say_results(history, ssr, labels)
    lost = [run.name for run in known if run not in finished and not known[run]["diverged"]]
    lost = f"not finished: {', '.join(lost)}; the same command goes on" if lost else ""
    problems = [problem, *(state["diverged"] for state in states), lost]
    conditions = {
        "starts": [row for state in states for row in state["starts"]],
        "seconds": sum(row["seconds"] for state in states for row in state["times"]),
        "steps": s.epochs * loop.steps_per_epoch(s),
    }
    return results.write(
        s, "exp_b", labels, tables, figures, visualizer.save, problems, answer, **conditions
    )


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


def say_results(history: pd.DataFrame, ssr: pd.DataFrame, labels: dict) -> None:
    print(
        f"\n{labels['dataset']}, scale {labels['scale']}, {labels['device']}, "
        f"n = {history.seed.nunique()} per configuration, after the last epoch; raw weights unless "
        f"folded; in brackets: minus baseline\n{suppression.closing_table(history, ssr).to_string()}\n"
        "corner: radius sqrt(2)/3, the highest of a 3x3 kernel; share in white kernels: 0.444"
    )


if __name__ == "__main__":
    script.run(main, "Stopped. The same command goes on from the last finished epoch.")
