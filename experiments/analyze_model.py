"""Is somebody's network a low-pass filter? Spectra of its kernels, feature maps and sensitivity.

Takes a model of torchvision or timm, a function that builds one, a file of weights, or a run of
experiment B, and measures the Fourier spectrum of every convolution larger than 1x1, with the
BatchNorm that follows it folded in. With the share of kernel energy above CUTOFF,

    SSR = (share in the reference - share here) / share in the reference

where the reference are white kernels, as every standard initialisation draws them, or another
model. With IMAGES, also what passes (feature maps, layer by layer) and what the output depends on
(input sensitivity): kernels, maps and sensitivity need not agree. Where IMAGES has a subfolder for
each class, also which Fourier modes make it err. Several files of weights, or a folder of them, are
followed through the training, as utils/recorder.py does while it runs.

    python experiments/analyze_model.py --model resnet50
    python experiments/analyze_model.py --model resnet18 --weights random --images cifar10
    python experiments/analyze_model.py --model my_weights.pth --compare-with resnet18
    python experiments/analyze_model.py --model mypackage.nets:build --compare-with untrained
    python experiments/analyze_model.py --model epoch1.pth epoch10.pth epoch90.pth

Writes results/data/analyze_<name>.csv and results/figures/analyze_<name>.png, and with IMAGES
those of <name>_features, <name>_sensitivity and <name>_fourier. Seconds for the kernels; with 32
images one to two minutes for a ResNet-50 on two CPU cores.
"""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
from utils.runtime import script, settings

MODEL = ("resnet18",)  # of torchvision; timm/NAME; module:function; file, folder, run of B
WEIGHTS = "default"  # of a model by name: default (downloaded once), random, or a file
PART = None  # which of several networks in a file, as state_dict_ema; None: the usual one
COMPARE_WITH = "initial"  # as MODEL; untrained: the same; initial: white, as at initialisation
FOLDED = True  # kernels times the BatchNorm that follows them, where that is known
CUTOFF = 0.25  # cycles/pixel; the high band is above
IMAGES = None  # folder of pictures, or cifar10: feature maps and sensitivity; None: kernels alone
IMAGE_COUNT = 32  # how many of them
MODES = 15  # Fourier modes along each axis of the map of errors, at most
MODE_NORM = 4.0  # L2 norm of a mode per image of 32 x 32 pixels; per pixel the same at other sizes
NOISE_SEED = 0  # of the signs of the modes
DEVICE = "auto"  # cuda, cuda:1, mps, cpu, or auto: the GPU where CUDA finds one, else the CPU
DATA_ROOT = None  # parent of cifar-10-batches-py; None: CIFAR10_ROOT, then data/
RESULTS_DIR = str(ROOT / "results")  # where everything is written
FIGURE_FORMAT = "png"  # also pdf, svg: written beside the PNG
REDRAW = None  # a folder of tables: draw their figures again; None: measure

if __name__ == "__main__":
    script.prepare(globals())  # --help, and what is refused, end before long imports

import pandas as pd
from tqdm import tqdm

from utils import visualizer
from utils.evidence import white
from utils.figures import analyze_model as draw
from utils.recorder import checkpoint_table
from utils.runtime import devices, distributed, results
from utils.spectra import external_models
from utils.spectra.external_models import Source
from utils.spectra.kernels import by_offset, kernel_spectra
from utils.training import pictures, trained_models

OF_IMAGES = ("_features", "_sensitivity", "_sensitivity_map", "_fourier")  # tables, after the name


def main() -> int:
    s = settings.read_settings(globals())
    if s.redraw:
        return results.redraw(s, "analyze", figures, visualizer.save)
    distributed.alone("analyze_model")
    device = devices.choose_device(s.device)
    labels = {"folded": s.folded, "cutoff": s.cutoff}
    labels["device"] = devices.describe_device(device, "float32")
    first = Path(s.model[0]).expanduser()
    if len(s.model) > 1 or first.is_dir() and not (first / "settings.json").exists():
        return follow_checkpoints(s, labels)
    networks = [find(s, s.model[0])]
    if s.compare_with == "untrained":
        networks.append(find(s, s.model[0], untrained=True))
    elif s.compare_with != "initial":
        networks.append(find(s, s.compare_with))
    asked = (s.images, s.image_count, s.data_root)
    images = [pictures.load(network, *asked) for network in networks] if s.images else []
    source, reference, other = networks[0], "white kernels", None
    if len(networks) > 1:
        reference = networks[1].about
        other = kernel_spectra(networks[1].model, s.folded, s.cutoff)[1]
    print(f"Model    {source.about}\nAgainst  {reference}")
    print(*(f"Note     {n.note}\n" for n in networks if n.note), sep="", flush=True)

    kernels, correlations = kernel_spectra(source.model, s.folded, s.cutoff, reference=other)
    if not len(kernels):
        white.print_left_out(kernels.attrs["skipped"], "Skipped")
        text = f"{source.about} has no convolution larger than 1x1 that can be measured"
        raise OSError(f"{text} and is in {reference} too" if other is not None else text)
    kernels = white.with_white(kernels, s.cutoff)
    white.print_kernels(kernels, reference, s.folded, s.cutoff)
    offsets = by_offset(correlations).to_frame("value")
    if other:
        offsets["other"] = by_offset(other)
    found = [measure_network(s, *pair, device) for pair in zip(networks, images)]
    tables = {"": kernels, "_autocorrelation": offsets.reset_index()}
    for name in OF_IMAGES:
        if rows := [one[name] for one in found if name in one]:
            tables[name] = pd.concat(rows, ignore_index=True)
    return write(s, source, {"model": source.about, "reference": reference} | labels, tables)


def find(s, name: str, untrained: bool = False) -> Source:
    """The network of a name or path, or an untrained one like it."""
    path = Path(name).expanduser()
    if path.is_dir():
        return trained_models.as_source(path, "epoch-000.pt" if untrained else "last.pt")
    if untrained and path.exists():
        raise OSError("COMPARE_WITH: a file of weights does not say what it was untrained; name it")
    weights = s.weights
    if untrained or name != s.model[0] and weights not in ("default", "random"):
        weights = "random" if untrained else "default"
    return external_models.find_model(name, weights, s.part)


def follow_checkpoints(s, labels: dict) -> int:
    """Spectra of several files of weights, by the number in their names."""
    files = external_models.checkpoint_files(s.model)
    steps, out = external_models.numbered(files)
    bar = tqdm([path for path in files if path not in out], unit="file", disable=None)
    table, unfit = checkpoint_table(bar, s.part, steps)
    for path, reason in (out | unfit).items():
        print(f"Left out {path}: {reason}")
    if not len(table):
        raise OSError(f"none of the {len(files)} files can be measured")
    folder = Path(s.model[0]).expanduser() if len(s.model) == 1 else files[0].parent
    names = external_models.file_names(folder, end="_".join(filter(None, [s.part, "evolution"])))
    about = f"{table.file.nunique()} files of {external_models.shown(folder)}, raw weights"
    print(about)
    white.print_first_and_last(table)
    labels = {"model": about} | labels | {"folded": False}
    return write(s, Source(names, about, {}), labels, {"": table})


def measure_network(s, source: Source, given: tuple, device) -> dict[str, pd.DataFrame]:
    """Tables of feature maps, of the input sensitivity, and of errors by Fourier mode."""
    pixels, classes, about = given
    print(f"\n{source.about}: {about}", flush=True)
    modes = (s.modes, s.mode_norm, s.noise_seed)
    tables, missing = pictures.measure(source, pixels, classes, modes, device)
    white.print_left_out(tables["features"].attrs["skipped"], "No map")
    if "sensitivity" in tables:
        white.print_sensitivity(tables["sensitivity"], s.cutoff)
    if "fourier" in tables:
        white.print_errors(tables["fourier"])
    print(*(f"{text}\n" for text in missing), sep="", end="")
    seen = {"network": source.about, "images": about}
    return {f"_{name}": results.with_columns(table, seen) for name, table in tables.items()}


def write(s, source: Source, labels: dict, tables: dict[str, pd.DataFrame]) -> int:
    """Tables and figures under the first of the source's names that no other network's have.

    What an earlier start has left under that name, and this one has not measured, is removed.
    """
    data, figure = (Path(s.results_dir) / folder for folder in ("data", "figures"))
    for name in source.names:
        path = data / f"analyze_{name}.csv"
        if not path.exists() or pd.read_csv(path, nrows=1).get("model", [""])[0] == source.about:
            break
    for kind in {"_autocorrelation", *OF_IMAGES} - set(tables):
        (data / f"analyze_{name}{kind}.csv").unlink(missing_ok=True)
        (figure / f"analyze_{name}{kind}.png").unlink(missing_ok=True)
    named = {f"{name}{kind}": table for kind, table in tables.items()}
    with results.one_at_a_time(s):
        return results.write(s, "analyze", labels, named, figures, visualizer.save, [])


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
        elif name.endswith("_fourier"):
            drawn[name] = draw.fourier(table)
        elif name.endswith("_evolution"):
            drawn[name] = draw.evolution(table)
    return drawn


if __name__ == "__main__":
    script.run(main)
