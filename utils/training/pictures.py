"""What somebody's network does with pictures: its feature maps, input sensitivity and errors."""

from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn
from tqdm import tqdm

from data import datasets, image_folder
from utils.frequency import spectrum_from_power
from utils.spectra import input_sensitivity as sensitivity
from utils.spectra.external_models import Source
from utils.spectra.feature_maps import feature_spectra
from utils.spectra.modules import one_line
from utils.training.evaluation import fourier_errors


def load(source: Source, images: str, count: int, data_root) -> tuple[Tensor, tuple | None, str]:
    """Read pictures as a network takes them, at most `count` of a folder, or of cifar10.

    Returns pixels (N, 3, H, W) in [0, 1]; the class of each as a number, and the names of all
    classes, where they are known; how many pictures of which size they are.
    """
    if source.prepare is None:
        raise OSError(f"IMAGES: {source.about} does not say how pictures become its input")
    sizes = []

    def prepare(picture):
        sizes.append(picture.shape[:-3:-1] if torch.is_tensor(picture) else picture.size)
        return source.prepare(picture)

    if images == "cifar10":
        test = datasets.load("cifar10", data_root, 2, count)[0]["test"]
        pixels, classes = prepare(test.images), (test.labels, image_folder.CIFAR10)
    elif found := image_folder.load_classes(images, count, prepare):
        pixels, *classes = found
    else:
        pixels, classes = image_folder.load(images, count, prepare), None
    (width, height), size = min(sizes), pixels.shape[-1]
    about = f"{len(pixels)} images of {Path(images).name}, {size} x {size} pixels"
    if min(width, height) < size:
        about += f", enlarged from {width} x {height}"
    return pixels, classes, about


def measure(
    source: Source, pixels: Tensor, classes: tuple | None, modes: tuple, device
) -> tuple[dict[str, pd.DataFrame], list[str]]:
    """Measure feature maps, input sensitivity and, where classes are known, errors by Fourier mode.

    Pixels and classes are from `load`, modes the last three arguments of `fourier_errors`.

    Returns the tables features, and where there are any sensitivity, sensitivity_map and fourier;
    and a sentence for each that there is not.
    """
    model, missing = nn.Sequential(source.normalize, source.model).to(device), []
    try:
        outputs = sensitivity.count_outputs(model, pixels)
    except Exception as error:
        raise OSError(f"IMAGES: {source.about} fails on them ({one_line(error)})") from error
    with tqdm(total=2 * len(pixels), unit="image", desc="maps, sensitivity", disable=None) as bar:
        watch = source.model.register_forward_hook(lambda _, given, __: bar.update(len(given[0])))
        with watch:
            maps = feature_spectra(source.model, source.normalize(pixels), batch=8)
            power = sensitivity.input_sensitivity(model, pixels, batch=8)
    same = nn.Conv2d(3, 3, 1, groups=3, bias=False)
    nn.init.ones_(same.weight)
    given = feature_spectra(same, source.normalize(pixels))  # the input, as a layer before all
    tables = {"features": pd.concat([given.assign(layer="(input)", module="images"), maps])}
    tables["features"].attrs = maps.attrs
    spectrum = spectrum_from_power(power)
    if spectrum.total > 0:
        ways = f"{sensitivity.DEFAULT_PROBES} random signs per image"
        if outputs <= sensitivity.MAX_EXACT_OUTPUTS:
            ways = f"all {outputs} classes"
        tables["sensitivity"] = spectrum.table().assign(directions=ways)
        axes = (np.fft.fftshift(np.fft.fftfreq(n)) for n in power.shape)
        by_frequency = pd.DataFrame(power, *axes).stack().rename_axis(["fy", "fx"])
        tables["sensitivity_map"] = by_frequency.rename("power").reset_index()
    else:  # torchvision's transformers start with a last layer of zeros
        missing.append("No sensitivity: the output does not depend on the images, or is no number.")
    numbers = classes and image_folder.class_numbers(classes[1], source.classes, outputs)
    if numbers:
        right = torch.tensor(numbers)[classes[0]]
        tables["fourier"] = fourier_errors(model, pixels, right, *modes)
    elif classes:
        missing.append(f"No map of errors: it is not known which of {outputs} outputs is right.")
    return tables, missing
