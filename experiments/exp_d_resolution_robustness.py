"""Experiment D: does a regularised CNN bear low resolution and blur better?

Takes the models that experiment B has trained (and trains them first where there are none) and
measures accuracy on test images of lower resolution, blurred, or ideally low- or high-pass
filtered. Bilinear reduction without antialiasing is the published protocol; it folds high
frequencies down, so it is not a pure low-pass, and the antialiased one stands beside it. The
lead of a model is its accuracy minus that of the baseline of the same seed, in percentage
points; as a model may simply be better at everything, there are also the lead in excess of that
on clean images, and the lead at matched clean accuracy: an earlier epoch of the better model.

    python experiments/exp_d_resolution_robustness.py
    python experiments/exp_d_resolution_robustness.py --run cifar10-quick-0123abcd

Figures appear in results/figures: exp_d_resolution_robustness.png, exp_d_blur_robustness.png;
tables in results/data. Under 2 minutes at quick scale on two CPU cores, once the models are
there.
"""

import sys
from functools import partial
from pathlib import Path

import pandas as pd
from tqdm import tqdm

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from data import corruptions
from utils import evaluation, runs, settings, statistics, trained, training, visualizer

RUN = "latest"  # folder in results/checkpoints; latest: of experiment B's latest start
TRAINING_FLAGS = ""  # of experiment B, in case it must train first: "--scale quick"
RESOLUTIONS = (32, 28, 24, 20, 16, 12, 10, 8)  # pixels along an edge
BLUR_SIZES = (0, 3, 5, 7, 9, 11)  # pixels; sigma is 0.3 size + 0.8 pixels; 0: no blur
LOW_PASS_CUTOFFS = (0.5, 0.4, 0.3, 0.25, 0.2, 0.15, 0.1)  # cycles/pixel, kept up to it
HIGH_PASS_CUTOFFS = (0.03, 0.06, 0.1, 0.15, 0.2)  # cycles/pixel, removed up to it
TEST_IMAGES = None  # to evaluate on; None: as many as in experiment B
DEVICE = "auto"  # cuda, mps, cpu, or auto: the first of these there is
DATA_ROOT = None  # parent of cifar-10-batches-py; else CIFAR10_ROOT, then data/
RESULTS_DIR = str(ROOT / "results")  # where everything is read and written
SAVE_REFERENCE = False  # also copy the results to results/reference/<scale>

CLAIMED_LEAD, CLAIMED_AT = 6, 24  # points, pixels: arXiv:2512.22192
LOW_RESOLUTION = ["low resolution, bilinear", "low resolution, antialiased"]
FILTERS = ["Gaussian blur", "ideal low-pass", "ideal high-pass"]


def main() -> int:
    s = settings.read_settings(globals())
    runs.clean(s)
    device = training.choose_device(s.device)
    job = trained.find_job(s)
    sets = trained.load_test_sets(job, s, device)
    final, problems = trained.load_final_models(job, device)
    matched = statistics.matched_epochs(trained.kept_accuracies(job, list(final)))
    pairs = [(name, seed, e) for seed, pair in matched.items() for name, e in pair.items()]
    earlier, more = trained.load_models(job, [k for k in pairs if k not in final], device)
    problems += more
    trained.say_job(job, sets, problems)
    labels = job.labels | {"device": runs.device_name(device)}

    degradations = list_degradations(s)
    test = {"test": sets["test"]}
    images = len(final) * sum(map(len, sets.values())) + len(earlier) * len(sets["test"])
    images *= len(degradations)
    with tqdm(total=images, unit="image", unit_scale=True) as bar:
        rows = evaluation.sweep(final, sets, degradations, bar)
        rows += evaluation.sweep(earlier, test, degradations, bar)
    accuracy = runs.label(pd.DataFrame(rows), labels)
    last = accuracy[accuracy.epoch == job.settings.epochs]
    key = accuracy[["configuration", "seed", "epoch"]]
    paired = accuracy[[tuple(row) in pairs for row in key.to_numpy().tolist()]]
    leads = {"last epoch": last, "matched clean accuracy": paired}
    leads = [statistics.leads(t).assign(comparison=name) for name, t in leads.items()]
    leads = runs.label(pd.concat(leads, ignore_index=True), labels)

    say_results(last, leads, labels, matched)
    title = "Accuracy at low resolution, enlarged to 32 pixels again"
    resolution = visualizer.robustness(last, leads, LOW_RESOLUTION, title)
    blur = visualizer.robustness(last, leads, FILTERS, "Accuracy on filtered images")
    written = [
        runs.write_table(s, "exp_d_resolution_robustness", accuracy),
        runs.write_table(s, "exp_d_lead", leads),
        runs.write_figure(s, "exp_d_resolution_robustness", resolution),
        runs.write_figure(s, "exp_d_blur_robustness", blur),
    ]
    labels["run"] = job.folder.name
    return runs.close(s, "exp_d", job.settings.scale, labels, written, problems)


def list_degradations(s) -> list:
    """What stands in the table, and the function of images, for every level."""
    by_level = [("none", lambda clean, level: clean, [0])]
    for name, antialias in zip(LOW_RESOLUTION, (False, True)):
        reduce = partial(corruptions.low_resolution, antialias=antialias)
        by_level.append((name, reduce, s.resolutions))
    filters = (corruptions.gaussian_blur, corruptions.low_pass, corruptions.high_pass)
    levels = (s.blur_sizes, s.low_pass_cutoffs, s.high_pass_cutoffs)
    by_level += zip(FILTERS, filters, levels)
    return [
        ({"corruption": name, "level": float(level)}, lambda x, f=f, level=level: f(x, level))
        for name, f, levels in by_level
        for level in levels
    ]


def say_results(accuracy: pd.DataFrame, leads: pd.DataFrame, labels, matched) -> None:
    for corruption in LOW_RESOLUTION + FILTERS:
        print(f"\nAccuracy (%): {corruption}, by {visualizer.LEVELS[corruption][0]}")
        print(statistics.level_table(accuracy, corruption).to_string())
    lead = leads[(leads.images == "test") & (leads.configuration == "l2")]
    lead = lead[lead.level == CLAIMED_AT]
    if lead.empty:
        return
    print(f"\nLead of L2 over the baseline at {CLAIMED_AT} pixels, points")
    columns = ["comparison", "corruption"]
    text = lead.groupby(columns, sort=False)[["lead", "excess"]]
    print(text.agg(lambda values: statistics.interval_text(values, ".2f")).to_string())
    for seed, epochs in matched.items():
        chosen = ", ".join(f"{name} after epoch {e}" for name, e in epochs.items())
        print(f"Matched clean accuracy, seed {seed}: {chosen}")
    lead = lead[lead.comparison == "last epoch"]
    lead = lead[lead.corruption == LOW_RESOLUTION[0]].lead
    print(
        f"Claim (arXiv:2512.22192): at {CLAIMED_AT} x {CLAIMED_AT} pixels L2 leads by more "
        f"than {CLAIMED_LEAD} points (bilinear, no antialiasing)."
    )
    outcome = statistics.exceeds(lead, CLAIMED_LEAD)
    print(statistics.claim(lead, outcome, labels, " points"))


if __name__ == "__main__":
    settings.run_script(main, (OSError,))
