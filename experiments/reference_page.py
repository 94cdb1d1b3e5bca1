"""The committed results: copies a results folder into results/reference, and writes their page.

    python experiments/reference_page.py full                   # results -> results/reference/full
    python experiments/reference_page.py medium --from RESULTS  # of another results folder
    python experiments/reference_page.py dose --only exp_b      # tables and figures of B alone
    python experiments/reference_page.py                        # the page alone, written again

Tables above 32 kB are compressed, and images of the data sets are never copied. The page shows one
figure of a control, and each of the others once, of the largest job that has it; figures that it
does not show are removed. Everything on results/reference/README.md follows from the tables in
the folders beside it, verdicts too: a changed rule needs no new run.
"""

import argparse
import json
import lzma
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from utils import visualizer as vis
from utils.evidence import sections
from utils.figures import exp_b, exp_b_ssr
from utils.runtime import script
from utils.runtime.files import atomic_write
from utils.runtime.results import write_figure

# The folders of the main experiment, largest first.
MAIN = ("full", "wide", "narrow", "medium", "medium-float32", "quick")
CONTROLS = {  # folder -> what it asks, and the one figure that answers
    "dose": ("Is there a dose, and where does accuracy turn?", "exp_b_dose_response.png"),
    "whitened": ("Images with a flat amplitude spectrum", "exp_b_spectrum_evolution.png"),
    "inverted": ("Images in which high frequencies dominate", "exp_b_spectrum_evolution.png"),
    "steps": ("As many steps as medium, a tenth of the images, two norms", "exp_b_layers.png"),
    "dropout": ("Does dropout keep high frequencies?", "exp_b_dose_response.png"),
    "weights": ("Does decay on BatchNorm and biases matter?", "exp_b_layers.png"),
    "slower": ("Experiment A for 20,000 steps: slower or suppressed?", "exp_a_spectral_bias.png"),
}
CAPTIONS = {  # figure -> what to see in it
    "answer.png": "L2 keeps more of the highest frequency in the first stages, and bears its noise least.",
    "scales.png": "Below zero, L2 has pushed the corner further down than its baseline. The "
    "schedules differ: at its own last step each learning rate has fallen to 0.",
    "mobilenet.png": "A training of torchvision's MobileNetV3-Small on CIFAR-10, three epochs, followed "
    "by `utils/recorder.py` (script: experiments/README.md).",
    "exp_a_comparison.gif": "The fit during training, without and with the strongest penalty.",
    "exp_a_frequency_curves.png": "Low frequencies are learned first; a penalty holds high ones.",
    "exp_a_frequency_decomp.png": "What is learned of each frequency after the last step.",
    "exp_a_spectral_bias.png": "The order in which frequencies are learned.",
    "exp_b_evolution.gif": "Training as an animation: the response loses its corners.",
    "exp_b_first_layer.png": "The first convolution relative to zero frequency, as published.",
    "exp_b_layer_evolution.png": "Where and when the corner falls, from input to output.",
    "exp_b_layers.png": "Below zero, a layer has less of the corner than its baseline.",
    "exp_b_response.png": "The diagonal falls; the ends of the axes hardly change.",
    "exp_b_spectrum_evolution.png": "The darker the top row, the more low-pass are the kernels.",
    "exp_b_ssr_comparison.png": "The higher, the more of its high frequencies a network lost.",
    "exp_b_training.png": "Loss and accuracy.",
    "exp_c_band_noise.png": "Noise of one energy: which frequencies a network cannot bear.",
    "exp_c_fourier_heatmap.png": "Dark where one Fourier mode costs accuracy.",
    "exp_c_robustness.png": "Accuracy under Gaussian noise.",
    "exp_c_sensitivity.png": "On which frequencies the output depends.",
    "exp_d_blur_robustness.png": "Accuracy on blurred, low-pass and high-pass filtered images.",
    "exp_d_resolution_robustness.png": "Accuracy at low resolution.",
}
HEAD = """# Reference results

Written by `experiments/reference_page.py` from the tables in the folders beside it. Differences are
paired by seed; brackets and ± are 95 % Student-t intervals over seeds, not adjusted; n is the number
of seeds. *Holds* or *contradicted*: the mean lies on the claimed or on the other side of the value
that would mean no effect, and the two-sided t-test has p < 0.05 after Holm's adjustment for all claims
of its table; else *undecided*. A published number is one run: *compatible* if a further run here is
expected around it (95 % prediction interval), judged at the published scale and recipe only. n = 3 is
three seeds: an interval reaches 2.5 standard deviations to each side, and hardly anything passes the
adjusted test. The corner is the highest frequency of a 3x3 kernel, on its diagonals, sqrt(2)/3
cycles/pixel. `.venv/bin/python experiments/exp_b_spectrum_evolution.py --redraw FOLDER` draws
a folder's figures again (so do the other experiments)."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("name", nargs="?", help="folder in results/reference; none: only the page")
    parser.add_argument("--from", dest="source", default=ROOT / "results", type=Path)
    parser.add_argument("--only", default="", help="what names of files begin with, as exp_b")
    arguments = parser.parse_args()
    reference = ROOT / "results" / "reference"
    if name := arguments.name:
        if Path(name).name != name:
            parser.error(f"{name} is not the name of a folder")
        copy_results(arguments.source, reference / name, arguments.only)
    print("Written:", write_page(reference))


def copy_results(source: Path, place: Path, only: str = "") -> None:
    """Copy tables and figures; what the same scripts left in the place before goes.

    Raises:
        OSError: no tables, or of several jobs; nothing is copied then.
    """
    paths = [p for part in ("data", "figures") for p in sorted((source / part).glob(f"{only}*"))]
    paths = [p for p in paths if p.suffix in (".csv", ".json", ".png", ".gif")]
    # Images are not ours, and claims follow from the other tables.
    paths = [p for p in paths if not p.stem.endswith(("_examples", "_claims"))]
    if not any(path.suffix == ".csv" for path in paths):
        raise OSError(f"no tables {only}* in {source / 'data'}")
    jobs = {}
    for path in paths:
        if path.match("exp_[bcd]_settings.json"):
            written = json.loads(path.read_text("utf-8"))
            jobs[path.name[:5]] = written["dataset"], written["scale"].split(", changed")[0]
    if len(set(jobs.values())) > 1:
        text = f"the tables are of several jobs, {jobs}: copy those of one script with --only"
        raise OSError(text)
    for prefix in {"analyze" if p.name.startswith("analyze") else p.name[:5] for p in paths}:
        for path in place.glob(f"{prefix}_*"):
            path.unlink()
    for path in paths:
        content, name = path.read_bytes(), path.name
        if path.suffix == ".csv" and len(content) > 2**15:
            content, name = lzma.compress(content), f"{name}.xz"
        with atomic_write(place / name) as temporary:
            temporary.write_bytes(content)


def write_page(folder: Path) -> Path:
    """Write README.md of the folder results/reference, its scales.png and its answer.png (of the
    largest job that has B and C), and remove the figures that the page does not show."""
    found = read_all(folder)
    tables = {name: found[name] for name in ("quick", "medium", "steps", "full") if name in found}
    spectra = {name: sections.read_table(folder / name, "exp_b_spectrum") for name in tables}
    spectra = {name: t for name, t in spectra.items() if len(t) and t.configuration.nunique() > 1}
    if spectra:
        write_figure(folder / "scales", exp_b.corner_over_steps(spectra), vis.save)
    for name in [n for n in MAIN if n in found and {"b", "c"} <= found[n].settings.keys()][:1]:
        accuracy = sections.read_table(folder / name, "exp_c_robustness")
        figure = exp_b_ssr.overview(found[name].tables["ssr"], accuracy)
        write_figure(folder / "answer", figure, vis.save)
    text = page(folder)
    with atomic_write(folder / "README.md") as temporary:
        temporary.write_text(text, "utf-8")
    for figure in folder.glob("*/*.[pg][ni][gf]"):
        if f"]({figure.relative_to(folder).as_posix()})" not in text:
            figure.unlink()
    return folder / "README.md"


def read_all(folder: Path) -> dict[str, sections.Results]:
    """What lies in the folders of results/reference, the main ones first."""
    names = sorted({path.parent.name for path in folder.glob("*/*_settings.json")})
    order = [*MAIN, *CONTROLS, *names]
    return {name: sections.read(folder / name) for name in sorted(names, key=order.index)}


def page(folder: Path) -> str:
    """The text of the page for the tables in the folders of `folder`."""
    found = read_all(folder)
    main = [found[name] for name in MAIN if name in found]
    parts = [HEAD, "## 1. The claims of the publication"]
    parts += [part for results in main for part in sections.claims(results)]
    parts += ["## 2. Tests of its conclusion", sections.CONCLUSION]
    parts += [part for results in main for part in sections.tests(results)]
    parts += ["## 3. Is it the norm of the filters?", sections.NORM]
    parts += [part for results in main for part in sections.norm(results)]
    parts.append("## 4. Controls")
    for name, (question, figure) in CONTROLS.items():
        if name in found:
            parts += [f"### {question} (`{name}/`)", *sections.numbers(found[name])]
            parts += [f"![{question}]({name}/{figure})"] * (folder / name / figure).exists()
    parts += ["## 5. The published recipe, and the width", *sections.published(main)]
    for results in main:
        parts += [f"### All numbers of `{results.name}/`", *sections.numbers(results)]
    parts += ["## 6. Float32 and bfloat16", *sections.precisions(main)]
    parts += ["## What was run", *sections.runs(found)]
    missing = [name for name in (*MAIN, *CONTROLS) if name not in found]
    missing += [
        f"experiment {letter.upper()} on `{results.name}`"
        for results in main
        for letter in "cd"
        if letter not in results.settings
    ]
    parts += [f"Not run, or not here yet: {', '.join(missing)}."] if missing else []
    # Every figure of the largest job that has it, and what to see in it.
    paths = {path.name: path for path in folder.glob("*.png") if path.name in CAPTIONS}
    for name in [name for name in found if name not in CONTROLS]:
        for path in sorted((folder / name).glob("*.[pg][ni][gf]")):
            paths.setdefault(path.name, path)
    parts.append("## Figures")
    for name, path in sorted(paths.items()):
        shown = path.relative_to(folder).as_posix()
        parts += [f"### {name}", *filter(None, [CAPTIONS.get(name)]), f"![{name}]({shown})"]
    return "\n\n".join(parts) + "\n"


if __name__ == "__main__":
    script.run(main)
