"""Is somebody's network a low-pass filter? Spectra of its kernels, feature maps and sensitivity.

Takes a model of torchvision, a file of weights, or a run of experiment B, and measures the Fourier
spectrum of every convolution larger than 1x1, with the BatchNorm that follows it folded in. With
the share of kernel energy above CUTOFF,

    SSR = (share in the reference - share here) / share in the reference

where the reference are white kernels, as every standard initialisation draws them, or another
model. With IMAGES, also what passes (feature maps, layer by layer) and what the output depends on
(input sensitivity): kernels, maps and sensitivity need not agree.

    python experiments/analyze_model.py --model resnet50
    python experiments/analyze_model.py --model resnet18 --weights random --images cifar10
    python experiments/analyze_model.py --model my_weights.pth --compare-with resnet18
    python experiments/analyze_model.py --model results/checkpoints/<job>/<run>

Writes results/data/analyze_<name>.csv and results/figures/analyze_<name>.png, and with IMAGES
those of <name>_features and <name>_sensitivity. Seconds for the kernels; with 32 images one to
two minutes for a ResNet-50 on two CPU cores.
"""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
from utils.runtime import script, settings

MODEL = "resnet18"  # a model of torchvision, a file of weights, or a run's folder of experiment B
WEIGHTS = "default"  # of a model of torchvision: default (downloaded once), random, or a file
COMPARE_WITH = "initial"  # as MODEL; or initial: white kernels, as at initialisation
FOLDED = True  # kernels times the BatchNorm that follows them, where that is known
CUTOFF = 0.25  # cycles/pixel; the high band is above
IMAGES = None  # folder of pictures, or cifar10: feature maps and sensitivity; None: kernels alone
IMAGE_COUNT = 32  # how many of them
DEVICE = "auto"  # cuda, cuda:1, mps, cpu, or auto: the GPU where CUDA finds one, else the CPU
DATA_ROOT = None  # parent of cifar-10-batches-py; None: CIFAR10_ROOT, then data/
RESULTS_DIR = str(ROOT / "results")  # where everything is written
REDRAW = None  # a folder of tables: draw their figures again; None: measure

if __name__ == "__main__":
    script.prepare(globals())  # --help, and what is refused, end before long imports

import numpy as np
import pandas as pd
import torch
from torch import nn

from data import datasets, image_folder
from utils import visualizer
from utils.figures import analyze_model as draw
from utils.frequency import spectrum_from_power
from utils.runtime import devices, distributed, results
from utils.spectra.external_models import Source, find_model
from utils.spectra.feature_maps import feature_spectra
from utils.spectra.input_sensitivity import (
    DEFAULT_PROBES,
    MAX_EXACT_OUTPUTS,
    count_outputs,
    input_sensitivity,
)
from utils.spectra.kernels import kernel_spectra
from utils.spectra.modules import one_line


def main() -> int:
    s = settings.read_settings(globals())
    if s.redraw:
        return results.redraw(s, "analyze", figures, visualizer.save)
    distributed.alone("analyze_model")
    device = devices.choose_device(s.device)
    source = find_model(s.model, s.weights)
    images = load_images(s, source) if s.images else None
    reference, other = "white kernels", None
    if s.compare_with != "initial":
        known = s.weights in ("default", "random")
        against = find_model(s.compare_with, s.weights if known else "default")
        reference, other = against.about, kernel_spectra(against.model, s.folded, s.cutoff)[1]
    print(f"Model    {source.about}\nAgainst  {reference}\n", flush=True)

    kernels, correlations = kernel_spectra(source.model, s.folded, s.cutoff, reference=other)
    if not len(kernels):
        say_left_out(kernels.attrs["skipped"], "Skipped")
        raise OSError(
            f"{source.about} has no convolution larger than 1x1 that can be measured"
            + ("" if other is None else f" and is in {reference} too")
        )
    say_kernels(s, kernels, reference)
    offsets = by_offset(correlations).to_frame("value")
    if other:
        offsets["other"] = by_offset(other)
    tables = {source.name: kernels, f"{source.name}_autocorrelation": offsets.reset_index()}
    if s.images:
        tables |= measure_network(s, source, images, device)
    labels = {"model": source.about, "reference": reference, "folded": s.folded}
    labels |= {"cutoff": s.cutoff, "device": devices.describe_device(device, "float32")}
    with results.one_at_a_time(s):
        return results.write(s, "analyze", labels, tables, figures, visualizer.save, [])


def by_offset(correlations: dict[str, np.ndarray]) -> pd.Series:
    """Autocorrelations by layer as one column with the index (layer, dy, dx)."""
    columns = {}
    for layer, values in correlations.items():
        dy, dx = (np.arange(n) - n // 2 for n in values.shape)
        columns[layer] = pd.DataFrame(values, dy, dx).stack()
    return pd.concat(columns, names=["layer", "dy", "dx"])


def load_images(s, source: Source) -> torch.Tensor:
    """Pixels (N, 3, H, W) in [0, 1], of the size that the network takes."""
    if source.prepare is None:
        raise OSError(f"IMAGES: {source.about} does not say how pictures become its input")
    if s.images == "cifar10":
        sets, _ = datasets.load("cifar10", s.data_root, 2, s.image_count)
        return source.prepare(sets["test"].images)
    return image_folder.load(s.images, s.image_count, source.prepare)


def measure_network(s, source: Source, images: torch.Tensor, device) -> dict[str, pd.DataFrame]:
    """Tables of feature maps and of the input sensitivity."""
    model = nn.Sequential(source.normalize, source.model).to(device)
    try:
        outputs = count_outputs(model, images)
    except Exception as error:
        text = f"IMAGES: {source.about} fails on them ({one_line(error)})"
        raise OSError(text) from error
    ways = (
        f"all {outputs} classes"
        if outputs <= MAX_EXACT_OUTPUTS
        else f"{DEFAULT_PROBES} random signs per image"
    )
    size = images.shape[-1]
    print(f"\n{len(images)} images of {size} x {size} pixels; sensitivity from {ways}", flush=True)
    tables = {"features": feature_spectra(source.model, source.normalize(images), batch=8)}
    say_left_out(tables["features"].attrs["skipped"], "No map")
    power = input_sensitivity(model, images, batch=8)
    spectrum = spectrum_from_power(power)
    if spectrum.total > 0:
        white = spectrum.multiplicity[spectrum.radius > s.cutoff].sum() / power.size
        print(
            f"{spectrum.high_share(s.cutoff):.3f} of the sensitivity lies above {s.cutoff:g} "
            f"cycles/pixel (white: {white:.3f}); mean radius {spectrum.mean_radius:.3f}; total "
            f"{spectrum.total:.4g} per image, squared logits per squared pixel unit"
        )
        tables["sensitivity"] = spectrum.table().assign(directions=ways)
        by_frequency = pd.DataFrame(
            power, *(np.fft.fftshift(np.fft.fftfreq(n)) for n in power.shape)
        )
        by_frequency = by_frequency.stack().rename_axis(["fy", "fx"])
        tables["sensitivity_map"] = by_frequency.rename("power").reset_index()
    else:  # torchvision's transformers start with a last layer of zeros
        print("No sensitivity: the output does not depend on the images, or is not a number.")
    seen = {"images": f"{len(images)} images of {Path(s.images).name}"}
    return {f"{source.name}_{n}": results.with_columns(t, seen) for n, t in tables.items()}


def say_kernels(s, table: pd.DataFrame, reference: str) -> None:
    """The table by layer, what was left out, and three sentences."""
    levels = table.filter(like="db_").ffill(axis=1)
    shown = table[["layer", "kernel_size", "kernels", "ssr", "high_share", "corner_share"]]
    shown = shown.assign(**{"DC, dB": levels.iloc[:, 0], "corner, dB": levels.iloc[:, -1]})
    print(shown.to_string(index=False, float_format="{:.3f}".format))
    say_left_out(table.attrs["skipped"], "Skipped")
    if s.folded:
        say_left_out({n: t for n, t in zip(table.layer, table.note) if t}, "Not folded")
    ssr = table.set_index("layer").ssr.dropna().sort_values(ascending=False)
    if not len(ssr):
        print(f"\nNo radius of these kernels lies above {s.cutoff:g} cycles/pixel: no SSR.")
        return
    mean, names = ssr.mean(), [f"{layer} ({value:.3f})" for layer, value in ssr.items()]
    print(
        f"\nThe kernels' share of energy above {s.cutoff:g} cycles/pixel is {100 * abs(mean):.1f} % "
        f"{'lower' if mean > 0 else 'higher'} than in {reference} (mean SSR over {len(ssr)} "
        f"layers: {mean:.3f}); it is lower in {(ssr > 0).sum()} of them.",
        f"Most low-pass, by SSR: {', '.join(names[:3])}.",
        f"Least low-pass: {', '.join(names[:-4:-1])}.",
        sep="\n",
    )


def say_left_out(reasons: dict[str, str], title: str) -> None:
    """A line per reason: how many layers, and the first of them."""
    for reason in dict.fromkeys(reasons.values()):
        layers = [layer for layer, why in reasons.items() if why == reason]
        more = f" and {len(layers) - 3} more" if len(layers) > 3 else ""
        print(f"{title}: {', '.join(layers[:3])}{more}: {reason}")


def figures(tables: dict[str, pd.DataFrame]) -> dict:
    """Every figure of this script by name, from its tables."""
    drawn = {}
    for name, table in tables.items():
        if f"{name}_autocorrelation" in tables:
            drawn[name] = draw.kernels(table, tables[f"{name}_autocorrelation"])
        elif name.endswith("_features") and len(table):
            drawn[name] = draw.features(table)
        elif name.endswith("_sensitivity"):
            drawn[name] = draw.sensitivity(table, tables[f"{name}_map"])
    return drawn


if __name__ == "__main__":
    script.run(main, "Stopped. Nothing is written; the same command starts over.")
