"""Experiment C: which noise does a regularised CNN tolerate, and which frequencies does it use?

Takes the models that experiment B has trained (and trains them first where there are none),
adds noise to the test images and measures accuracy: Gaussian noise of growing strength, noise
of one norm in narrow bands of frequency, and single Fourier modes (Yin et al., NeurIPS 2019).
All models see the same noise. The lead of a model is its accuracy minus that of the baseline
of the same seed, in percentage points. Without any noise, the input sensitivity is the power
spectrum of the gradient of the logits in the image (Godfrey et al., arXiv:2210.01257): what the
output depends on. Kernels may be low-pass where the network is not.

    python experiments/exp_c_robustness.py
    python experiments/exp_c_robustness.py --run cifar10-quick-0123abcd --configurations baseline l2

Figures appear in results/figures: exp_c_robustness.png, exp_c_band_noise.png,
exp_c_fourier_heatmap.png, exp_c_sensitivity.png, exp_c_examples.png; tables in results/data.
About 3 minutes at quick scale on two CPU cores, once the models are there.
"""

import sys
from functools import partial
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
import utils  # noqa: F401 (before all else)

# isort: split
import pandas as pd
import torch
from torch import nn
from tqdm import tqdm

from data import batches, corruptions
from utils import (
    devices,
    evaluation,
    figures_c_d,
    processes,
    provenance,
    results,
    settings,
    statistics,
    trained,
)
from utils.frequency import spectrum_from_power
from utils.network_spectra import input_sensitivity

RUN = "latest"  # folder in results/checkpoints; latest: what experiment B's latest start named
CONFIGURATIONS = None  # of that; None: all
SEEDS = None  # of that; None: all
TRAINING_FLAGS = ""  # of experiment B, in case it must train first: --training-flags=--epochs=5
SIGMAS = (0.0, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3)  # of Gaussian noise, pixel units [0, 1]
CENTRES = (0.05, 0.15, 0.25, 0.35, 0.45, 0.55, 0.65)  # of noise bands, cycles/pixel
BAND_WIDTH = 0.1  # cycles/pixel
BAND_NORM = 5.5  # L2 norm of band noise per image: that of Gaussian noise of sigma 0.1
MODE_NORM = 4.0  # L2 norm of a Fourier mode per image
HEATMAP_IMAGES = None  # test images per Fourier mode
SENSITIVITY_IMAGES = None  # test images for the input sensitivity
CUTOFF = 0.25  # cycles/pixel; the sensitivity's high band is above
CLIP = True  # clip noisy pixels to [0, 1], as a camera would
NOISE_SEED = 0  # of all noise
TEST_IMAGES = None  # to evaluate on; None: as many as in experiment B
DEVICE = "auto"  # cuda, cuda:1, mps, cpu, or auto: the GPU where CUDA finds one, else the CPU
DATA_ROOT = None  # parent of cifar-10-batches-py; else CIFAR10_ROOT, then data/
RESULTS_DIR = str(ROOT / "results")  # where everything is read and written
SAVE_REFERENCE = None  # copy the results to results/reference/<this name> too
REDRAW = None  # a folder of tables: draw their figures again, evaluate nothing

SCALES = {  # of experiment B
    "quick": {"heatmap_images": 256, "sensitivity_images": 256},
    "medium": {"heatmap_images": 256, "sensitivity_images": 1_000},
    "full": {"heatmap_images": 1_000, "sensitivity_images": 1_000},
}


def main() -> int:
    s = settings.read_settings(globals())
    if s.redraw:
        return results.redraw(s.redraw, "exp_c", figures)
    processes.alone("experiment C")
    given = trained.load(s)
    settings.complete(s, SCALES[given.job.settings.scale])
    labels = {"dataset": given.sets["test"].name}
    labels["scale"] = provenance.scale_label(s, given.job.scale)
    labels["device"] = devices.describe_device(given.device)
    trained.say(given, labels)

    accuracy, heatmap = evaluate(s, given)
    leads = statistics.leads(accuracy).assign(comparison="last epoch")
    tables = {"robustness": accuracy, "lead": leads, "fourier_heatmap": heatmap}
    tables |= measure_sensitivity(s, given)
    some = given.sets["test"].first(3)
    tables["examples"] = pd.DataFrame(
        evaluation.examples(some, list_noises(s, some.images), levels=2)
    )
    summary = tables["sensitivity_summary"]
    tables["claims"] = pd.DataFrame(list_claims(accuracy, leads, summary, labels))
    say_results(accuracy, summary, tables["claims"])
    return results.write(s, "exp_c", labels, tables, figures, given.problems)


def evaluate(s, given: trained.Trained) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Accuracy of all models under noise on all sets, and error by Fourier mode on some images."""
    sets, test = given.sets, given.sets["test"]
    some = {"test": test.first(s.heatmap_images)}
    modes = corruptions.half_plane(test.images.shape[-1])
    images = (1 + len(s.sigmas) + len(s.centres)) * sum(map(len, sets.values()))
    images += (1 + len(modes)) * len(some["test"])
    with tqdm(total=len(given.models) * images, unit="image", unit_scale=True, disable=None) as bar:
        accuracy = evaluation.sweep(given.models, sets, list_noises(s, test.images), bar)
        clean = evaluation.sweep(given.models, some, [({}, lambda x: x)], bar)
        heatmap = evaluation.sweep(given.models, some, list_modes(s, modes, some["test"]), bar)
    heatmap = pd.DataFrame(heatmap).assign(error=lambda t: 100 - t.accuracy, norm=s.mode_norm)
    key = ["configuration", "seed"]
    clean = 100 - pd.DataFrame(clean).set_index(key).accuracy
    heatmap = heatmap.join(clean.rename("clean_error"), on=key)
    return pd.DataFrame(accuracy), heatmap.drop(columns="accuracy")


def list_noises(s, images: torch.Tensor):
    """No noise, Gaussian noise of every sigma, noise in every band."""
    white = corruptions.white_noise(images.shape, s.noise_seed, images.device)
    yield {"corruption": "none", "level": 0.0}, lambda clean: clean
    for sigma in s.sigmas:
        yield (
            {"corruption": "Gaussian noise", "level": float(sigma)},
            partial(corruptions.gaussian_noise, sigma=sigma, white=white, clip=s.clip),
        )
    for centre in s.centres:
        noise = corruptions.band_noise(white, centre, s.band_width, s.band_norm)
        yield (
            {"corruption": "band noise", "level": float(centre), "norm": s.band_norm},
            partial(corruptions.add_noise, noise=noise, clip=s.clip),
        )


def list_modes(s, modes: list[tuple[int, int]], images):
    """Every Fourier mode, in each colour of each image with a random sign."""
    generator = torch.Generator().manual_seed(s.noise_seed)
    for u, v in modes:
        basis = corruptions.fourier_basis(u, v, images.images.shape[-1])
        signs = torch.randint(2, (len(images), 3, 1, 1), generator=generator) * 2 - 1
        noise = (s.mode_norm / 3**0.5 * signs * basis).to(images.images.device)
        yield {"u": u, "v": v}, partial(corruptions.add_noise, noise=noise, clip=s.clip)


def measure_sensitivity(s, given: trained.Trained) -> dict[str, pd.DataFrame]:
    """Tables by radius, by mode and in few numbers, of all models and of their initialisations
    (epoch 0)."""
    images = given.sets["test"].first(s.sensitivity_images)
    runs = {(name, seed): (name, seed, 0) for name, seed, _ in given.models}
    first = {seed: key for (_, seed), key in reversed(runs.items())}  # the same in all of a seed
    initial, _ = trained.load_models(given.job, list(first.values()), given.device)
    models = initial | given.models
    spectra, maps, summary = [], [], []
    modes = corruptions.half_plane(images.images.shape[-1])
    for key, model in tqdm(models.items(), unit="model", desc="input sensitivity", disable=None):
        model = nn.Sequential(batches.Normalize(images), model)
        power = input_sensitivity(model, batches.to_float(images.images))
        middle, spectrum = len(power) // 2, spectrum_from_power(power)
        row = dict(zip(("configuration", "seed", "epoch"), key))
        spectra.append(spectrum.table().assign(**row))
        for u, v in modes:  # the other half of the modes is the same
            maps.append(row | {"u": u, "v": v, "power": power[u - middle, v - middle]})
        numbers = {"high_share": spectrum.high_share(s.cutoff), "total": spectrum.total}
        summary.append(row | numbers | {"mean_radius": spectrum.mean_radius})
    return {
        "sensitivity": pd.concat(spectra, ignore_index=True),
        "sensitivity_map": pd.DataFrame(maps),
        "sensitivity_summary": pd.DataFrame(summary),
    }


def figures(tables: dict[str, pd.DataFrame]) -> dict:
    """Every figure of this script by name, from its tables."""
    accuracy, leads = tables["robustness"], tables["lead"]
    sigma = accuracy.norm.max() / (3 * 32 * 32) ** 0.5
    bands = f"Accuracy under noise in bands (equal energy, as Gaussian noise of sigma {sigma:.2f})"
    return {
        "robustness": figures_c_d.robustness(
            accuracy, leads, ["Gaussian noise"], "Accuracy under Gaussian noise"
        ),
        "band_noise": figures_c_d.robustness(accuracy, leads, ["band noise"], bands),
        "fourier_heatmap": figures_c_d.fourier_heatmap(tables["fourier_heatmap"]),
        "sensitivity": figures_c_d.sensitivity(tables["sensitivity_map"]),
        "examples": figures_c_d.examples(tables["examples"]),
    }


def list_claims(accuracy, leads, summary: pd.DataFrame, labels: dict) -> list[dict]:
    """What is claimed of noise and of the network as a filter, and what was measured."""
    noise = ("Gaussian noise", 0.05)
    points = {"noise": (*noise, "lead"), "noise excess": (*noise, "excess")}
    final = summary[summary.epoch > 0]
    share = final.assign(share=statistics.minus_baseline(final, "high_share"))
    values = statistics.per_l2({"sensitivity": share}, "share")
    values |= statistics.lead_claims(leads, points)
    cells = statistics.published_accuracies(accuracy, ["Gaussian noise"])
    return statistics.claim_rows(values, labels) + statistics.cell_rows(cells, labels)


def say_results(accuracy: pd.DataFrame, summary: pd.DataFrame, claims: pd.DataFrame) -> None:
    for corruption, unit in (
        ("Gaussian noise", "sigma, pixel units"),
        ("band noise", "centre, cycles/pixel"),
    ):
        print(f"\nAccuracy (%) under {corruption}, by {unit}")
        print(statistics.level_table(accuracy, corruption).to_string())
    print(
        "\nInput sensitivity: share above the cutoff, mean radius in cycles/pixel, dB of the total"
    )
    print(statistics.sensitivity_table(summary).to_string())
    print(f"\n{statistics.claim_text(claims)}")


if __name__ == "__main__":
    settings.run_script(main, "Stopped. Nothing is written; the same command starts over.")
