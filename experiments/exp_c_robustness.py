"""Experiment C: which noise does a regularised CNN tolerate, and which frequencies does it use?

Takes the models that experiment B has trained (and trains them first where there are none),
adds noise to the test images and measures accuracy: Gaussian noise of growing strength, noise
of one norm in narrow bands of frequency, and single Fourier modes (Yin et al., NeurIPS 2019).
All models see the same noise and are compared with the baseline of the same seed, in percentage
points. Without any noise, the input sensitivity is the power spectrum of the gradient of the logits
in the image (Godfrey et al., arXiv:2210.01257): what the output depends on. Kernels may be low-pass
where the network is not.

    python experiments/exp_c_robustness.py
    python experiments/exp_c_robustness.py --run cifar10-quick-0123abcd --configurations baseline l2

Figures, exp_c_*.png, appear in results/figures, tables in results/data. About 3 minutes at quick
scale on two CPU cores, once the models are there.
"""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
from utils.configurations import RECIPE
from utils.runtime import script, settings

RUN = "latest"  # folder in results/checkpoints; latest: the job that experiment B noted last
CONFIGURATIONS = None  # some of those of experiment B; None: all
SEEDS = None  # some of those of experiment B; None: all
TRAINING_FLAGS = ""  # for B, where it must train first, in one word: --training-flags=--epochs=5
SIGMAS = (0.0, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3)  # of Gaussian noise, pixel units [0, 1]
CENTRES = (0.05, 0.15, 0.25, 0.35, 0.45, 0.55, 0.65)  # of noise bands, cycles/pixel
BAND_WIDTH = 0.1  # cycles/pixel
BAND_NORM = 5.5  # L2 norm of band noise per image: that of Gaussian noise of sigma 0.1
MODE_NORM = 4.0  # L2 norm of a Fourier mode per image
HEATMAP_IMAGES = None  # test images per Fourier mode, over all seeds; None: see SCALES
SENSITIVITY_IMAGES = None  # test images for the input sensitivity; None: see SCALES
CUTOFF = 0.25  # cycles/pixel; the sensitivity's high band is above
CLIP = True  # clip noisy pixels to [0, 1], as a camera would
NOISE_SEED = 0  # of all noise
TEST_IMAGES = None  # to evaluate on; None: as many as in experiment B
DEVICE = "auto"  # cuda, cuda:1, mps, cpu, or auto: the GPU where CUDA finds one, else the CPU
DATA_ROOT = None  # parent of cifar-10-batches-py; None: CIFAR10_ROOT, then data/
RESULTS_DIR = str(ROOT / "results")  # where everything is read and written
FIGURE_FORMAT = "png"  # also pdf, svg: written beside the PNG
REDRAW = None  # a folder of tables: draw their figures again; None: evaluate

SCALES = {  # of experiment B
    "heatmap_images": {"quick": 640, "medium": 640, "full": 1_000},
    "sensitivity_images": {"quick": 256, "medium": 1_000, "full": 1_000},
}

if __name__ == "__main__":
    script.prepare(globals())  # --help, and what is refused, end before long imports

import math
from functools import partial

import pandas as pd
import torch
from torch import nn
from tqdm import tqdm

from data import corruptions
from data.images import Normalize, to_float
from utils import visualizer
from utils.evidence import robustness, verdicts
from utils.figures import exp_c_d as draw
from utils.frequency import spectrum_from_power
from utils.runtime import distributed, results
from utils.spectra.input_sensitivity import input_sensitivity
from utils.training import evaluation, trained_models


def main() -> int:
    s = settings.read_settings(globals(), recipe=RECIPE)
    if s.redraw:
        return results.redraw(s, "exp_c", figures, visualizer.save)
    distributed.alone("experiment C")
    given = trained_models.load(s, SCALES)
    accuracy, heatmap = evaluate(s, given)
    difference = robustness.difference_to_baseline(accuracy).assign(comparison="last epoch")
    tables = {"robustness": accuracy, "lead": difference, "fourier_heatmap": heatmap}
    tables |= measure_sensitivity(s, given)
    summary = tables["sensitivity_summary"]
    claims = verdicts.claim_table({"accuracy": accuracy, "sensitivity": summary}, given.labels)
    say_results(accuracy, summary)
    some, labels = given.sets["test"].first(3), given.labels
    shown = pd.DataFrame(evaluation.examples(some, list_noises(s, some.images), levels=2))
    drawn = partial(figures, examples=results.with_columns(shown, labels))
    tables, problems = tables | {"claims": claims}, given.problems
    answer = verdicts.claim_text(claims) + results.one_seed(set(accuracy.seed), given.folder)
    with results.one_at_a_time(s):
        return results.write(s, "exp_c", labels, tables, drawn, visualizer.save, problems, answer)


def evaluate(s, given: trained_models.TrainedModels) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Accuracy of all models under noise, and error by Fourier mode.

    The images of a mode are shared out among the seeds: more seeds, other images, no more work.
    """
    models, sets, test = given.models, given.sets, given.sets["test"]
    modes = corruptions.half_plane(test.images.shape[-1])
    seeds = sorted({seed for _, seed, _ in models})
    count = math.ceil(min(s.heatmap_images, len(test)) / len(seeds))
    images = (1 + len(s.sigmas) + len(s.centres)) * sum(map(len, sets.values()))
    total, rows = len(models) * (images + (1 + len(modes)) * count), []
    with tqdm(total=total, unit="image", unit_scale=True, disable=None) as bar:
        accuracy = evaluation.sweep(models, sets, list_noises(s, test.images), bar)
        for i, seed in enumerate(seeds):
            first = i * count % len(test)  # seeds may be more than images
            some = test.part(slice(first, first + count))
            where = some.images.shape, s.mode_norm, s.noise_seed, some.images.device
            noises = corruptions.fourier_modes(modes, *where, s.clip)
            of_seed = {key: model for key, model in models.items() if key[1] == seed}
            rows += evaluation.sweep(of_seed, {"test": some}, noises, bar)
    heatmap = pd.DataFrame(rows).assign(error=lambda t: 100 - t.accuracy, norm=s.mode_norm)
    clean = heatmap[heatmap.u.isna()].set_index(["configuration", "seed"]).error
    heatmap = heatmap.dropna(subset="u").astype({"u": int, "v": int}).drop(columns="accuracy")
    return pd.DataFrame(accuracy), heatmap.join(clean.rename("clean_error"), on=clean.index.names)


def list_noises(s, images: torch.Tensor):
    """No noise, Gaussian noise of every sigma, noise in every band."""
    white = corruptions.white_noise(images.shape, s.noise_seed, images.device)
    yield {"corruption": "none", "level": 0.0}, lambda clean: clean
    for sigma in s.sigmas:
        add = partial(corruptions.gaussian_noise, sigma=sigma, white=white, clip=s.clip)
        yield {"corruption": "Gaussian noise", "level": float(sigma)}, add
    for centre in s.centres:
        noise = corruptions.band_noise(white, centre, s.band_width, s.band_norm)
        add = partial(corruptions.add_noise, noise=noise, clip=s.clip)
        yield {"corruption": "band noise", "level": float(centre), "norm": s.band_norm}, add


def measure_sensitivity(s, given: trained_models.TrainedModels) -> dict[str, pd.DataFrame]:
    """Tables by radius, by mode and in few numbers, of all models and of their initialisations
    (epoch 0)."""
    images = given.sets["test"].first(s.sensitivity_images)
    initial = [(name, seed, 0) for name, seed, _ in reversed(given.models)]
    # All runs of a seed start alike: one whose initial weights were kept is enough.
    first = {key[1]: key for key in initial if given.file(*key).exists()}
    models = given.load(list(first.values())) | given.models
    # One half of the modes: the other is the same.
    modes = pd.DataFrame(corruptions.half_plane(images.images.shape[-1]), columns=["u", "v"])
    spectra, maps, summary = [], [], []
    for key, model in tqdm(models.items(), unit="model", desc="input sensitivity", disable=None):
        power = input_sensitivity(nn.Sequential(Normalize(images), model), to_float(images.images))
        spectrum, row = spectrum_from_power(power), dict(zip(evaluation.KEY, key))
        spectra.append(spectrum.table().assign(**row))
        values = power[modes.u - len(power) // 2, modes.v - len(power) // 2]
        maps.append(modes.assign(**row, power=values, n_images=len(images)))
        numbers = {"high_share": spectrum.high_share(s.cutoff), "total": spectrum.total}
        summary.append(row | numbers | {"mean_radius": spectrum.mean_radius})
    order = [*evaluation.KEY, "u", "v", "power", "n_images"]
    return {
        "sensitivity": pd.concat(spectra, ignore_index=True),
        "sensitivity_map": pd.concat(maps, ignore_index=True)[order],
        "sensitivity_summary": pd.DataFrame(summary),
    }


def figures(tables: dict[str, pd.DataFrame], examples: pd.DataFrame | None = None) -> dict:
    """Every figure of this script by name, from its tables; with images under the corruptions."""
    tested = tables["robustness"], tables["lead"]
    sigma = tested[0].norm.max() / (3 * 32 * 32) ** 0.5
    gaussian = "Accuracy under Gaussian noise"
    bands = f"Accuracy under noise in bands (equal energy, as Gaussian noise of sigma {sigma:.2f})"
    drawn = {
        "band_noise": draw.robustness(*tested, ["band noise"], bands),
        "robustness": draw.robustness(*tested, ["Gaussian noise"], gaussian),
        "fourier_heatmap": draw.fourier_heatmap(tables["fourier_heatmap"]),
        "sensitivity": draw.sensitivity(tables["sensitivity_map"]),
    }
    # Only tables are kept: the images are not ours.
    return drawn if examples is None else drawn | {"examples": draw.examples(examples)}


def say_results(accuracy: pd.DataFrame, summary: pd.DataFrame) -> None:
    for corruption in ("Gaussian noise", "band noise"):
        print(f"\nAccuracy (%) under {corruption}, by {draw.LEVELS[corruption][0]}")
        print(robustness.level_table(accuracy, corruption).to_string())
    text = "share above the cutoff, mean radius in cycles/pixel, dB of the total"
    print(f"\nInput sensitivity: {text}\n{robustness.sensitivity_table(summary).to_string()}")


if __name__ == "__main__":
    script.run(main)
