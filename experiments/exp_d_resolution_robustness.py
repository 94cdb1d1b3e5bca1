"""Experiment D: does a regularised CNN bear low resolution and blur better?

Takes the models that experiment B has trained (and trains them first where there are none) and
measures accuracy on test images of lower resolution, blurred, or ideally low- or high-pass
filtered. Bilinear reduction without antialiasing is the published protocol; it folds high
frequencies down, so it is not a pure low-pass, and the antialiased one stands beside it. Models are
compared with the baseline of the same seed, in percentage points; as a model may simply be better
at everything, also after the difference on clean images is taken off, and at matched clean
accuracy: with an earlier epoch of the better model, chosen among the epochs whose weights were
kept, by accuracy on the test images of experiment B.

    python experiments/exp_d_resolution_robustness.py
    python experiments/exp_d_resolution_robustness.py --run cifar10-quick-0123abcd --seeds 0

Figures, exp_d_*.png, appear in results/figures, tables in results/data. Under 2 minutes at quick
scale on two CPU cores, once the models are there.
"""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
from utils.runtime import script, settings

RUN = "latest"  # folder in results/checkpoints; latest: the job that experiment B noted last
CONFIGURATIONS = None  # some of those of experiment B; None: all
SEEDS = None  # some of those of experiment B; None: all
TRAINING_FLAGS = ""  # for B, where it must train first, in one word: --training-flags=--epochs=5
RESOLUTIONS = (32, 28, 24, 20, 16, 12, 10, 8)  # pixels along an edge
BLUR_SIZES = (0, 3, 5, 7, 9, 11)  # pixels; sigma is 0.3 size + 0.8 pixels; 0: no blur
LOW_PASS_CUTOFFS = (0.5, 0.4, 0.3, 0.25, 0.2, 0.15, 0.1)  # cycles/pixel, kept up to it
HIGH_PASS_CUTOFFS = (0.03, 0.06, 0.1, 0.15, 0.2)  # cycles/pixel, removed up to it
TEST_IMAGES = None  # to evaluate on; None: as many as in experiment B
DEVICE = "auto"  # cuda, cuda:1, mps, cpu, or auto: the GPU where CUDA finds one, else the CPU
DATA_ROOT = None  # parent of cifar-10-batches-py; None: CIFAR10_ROOT, then data/
RESULTS_DIR = str(ROOT / "results")  # where everything is read and written
FIGURE_FORMAT = "png"  # also pdf, svg: written beside the PNG
REDRAW = None  # a folder of tables: draw their figures again; None: evaluate

if __name__ == "__main__":
    script.prepare(globals())  # --help, and what is refused, end before long imports

from functools import partial

import pandas as pd
from tqdm import tqdm

from data import corruptions
from utils import visualizer
from utils.configurations import family, label
from utils.evidence import intervals, robustness, verdicts
from utils.evidence.paper import CONFIGURATIONS as PUBLISHED
from utils.figures import exp_c_d as draw
from utils.runtime import distributed, results
from utils.training import evaluation, trained_models

LOW_RESOLUTION = ["low resolution, bilinear", "low resolution, antialiased"]
FILTERS = ["Gaussian blur", "ideal low-pass", "ideal high-pass"]


def main() -> int:
    s = settings.read_settings(globals())
    if s.redraw:
        return results.redraw(s, "exp_d", figures, visualizer.save)
    distributed.alone("experiment D")
    given = trained_models.load(s)
    l2 = [name for name, _, _ in given.models if family(name) == "l2"]
    l2.sort(key=lambda name: name != PUBLISHED[1])  # the published one first, if there
    matched = robustness.matched_epochs(given.kept_accuracies(), l2[0]) if l2 else {}
    pairs = [(name, seed, e) for seed, pair in matched.items() for name, e in pair.items()]
    earlier = given.load([key for key in pairs if key not in given.models])

    accuracy = evaluate(s, given, earlier)
    last = accuracy[accuracy.epoch == given.job.epochs]
    key = pd.MultiIndex.from_frame(accuracy[list(evaluation.KEY)])
    compared = {"last epoch": last, "matched clean accuracy": accuracy[key.isin(pairs)]}
    difference = robustness.difference_to_baseline
    differences = pd.concat([difference(t).assign(comparison=name) for name, t in compared.items()])
    claims = verdicts.claim_table({"accuracy": last}, given.labels)
    say_results(last, differences, matched)
    shown = evaluation.examples(given.sets["test"].first(3), list_degradations(s), levels=1)
    drawn = partial(figures, examples=results.with_columns(pd.DataFrame(shown), given.labels))
    tables = {"resolution_robustness": accuracy, "lead": differences, "claims": claims}
    answer = verdicts.claim_text(claims) + results.one_seed(set(last.seed), given.folder)
    with results.one_at_a_time(s):
        return results.write(
            s, "exp_d", given.labels, tables, drawn, visualizer.save, given.problems, answer
        )


def evaluate(s, given: trained_models.TrainedModels, earlier: dict) -> pd.DataFrame:
    """Accuracy of all models on all sets, and of those of earlier epochs on the test images."""
    degradations, test = list_degradations(s), given.sets["test"]
    images = len(given.models) * sum(map(len, given.sets.values())) + len(earlier) * len(test)
    with tqdm(total=images * len(degradations), unit="image", unit_scale=True, disable=None) as bar:
        rows = evaluation.sweep(given.models, given.sets, degradations, bar)
        return pd.DataFrame(rows + evaluation.sweep(earlier, {"test": test}, degradations, bar))


def list_degradations(s) -> list:
    """What stands in the table, and the function of images, for every level."""
    low, antialiased = (partial(corruptions.low_resolution, antialias=a) for a in (False, True))
    by_name = {
        "none": (lambda clean, _: clean, [0]),
        LOW_RESOLUTION[0]: (low, s.resolutions),
        LOW_RESOLUTION[1]: (antialiased, s.resolutions),
        FILTERS[0]: (corruptions.gaussian_blur, s.blur_sizes),
        FILTERS[1]: (corruptions.low_pass, s.low_pass_cutoffs),
        FILTERS[2]: (corruptions.high_pass, s.high_pass_cutoffs),
    }
    return [
        ({"corruption": name, "level": float(level)}, lambda x, f=f, level=level: f(x, level))
        for name, (f, levels) in by_name.items()
        for level in levels
    ]


def figures(tables: dict[str, pd.DataFrame], examples: pd.DataFrame | None = None) -> dict:
    """Every figure of this script by name, from its tables; with images under the corruptions."""
    accuracy, leads = tables["resolution_robustness"], tables["lead"]
    last = accuracy[accuracy.epoch == accuracy.epoch.max()]
    title, filtered = (
        "Accuracy at low resolution, enlarged to 32 pixels again",
        "Accuracy on filtered images",
    )
    drawn = {
        "resolution_robustness": draw.robustness(last, leads, LOW_RESOLUTION, title),
        "blur_robustness": draw.robustness(last, leads, FILTERS, filtered),
    }
    # Only tables are kept: the images are not ours.
    return drawn if examples is None else drawn | {"examples": draw.examples(examples)}


def say_results(accuracy: pd.DataFrame, differences: pd.DataFrame, matched: dict) -> None:
    for corruption in LOW_RESOLUTION + FILTERS:
        print(f"\nAccuracy (%): {corruption}, by {draw.LEVELS[corruption][0]}")
        print(robustness.level_table(accuracy, corruption).to_string())
    if matched:
        print("\nMatched clean accuracy, among the epochs kept, by the accuracy that B recorded:")
    for seed, epochs in matched.items():
        names = (f"{label(name)} after epoch {epoch}" for name, epoch in epochs.items())
        print(f"  seed {seed}: {', '.join(names)}")
    chosen = differences.query("images == 'test' and level == 24")
    if len(chosen):
        print("\nMinus the baseline at 24 pixels, points; beyond clean: minus that on clean images")
        names, n = {"lead": "difference", "excess": "beyond clean"}, accuracy.seed.nunique()
        cells = chosen.groupby(["configuration", "comparison", "corruption"], sort=False)
        text = cells[list(names)].agg(lambda values: intervals.interval_text(values, ".2f", n))
        print(text.rename(columns=names, index=label).to_string())


if __name__ == "__main__":
    script.run(main)
