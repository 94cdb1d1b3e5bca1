"""Every number of arXiv:2512.22192 that results are held against, and its claims as data.

ResNet-18, CIFAR-10, one seed: 50 epochs of batches of 128 images, learning rate 0.1 falling along
a cosine, momentum 0.9, L2 1e-3 on all parameters, dropout 0.5 between the convolutions of a block.
"""

import math
from dataclasses import dataclass

SOURCE = "arXiv:2512.22192"
DATASET, SCALE = "CIFAR-10", "full"  # labels of results whose sizes can be compared

# Settings that are the same at every scale, and of the noise: edited ones are named in labels.
RECIPE = {"learning_rate": 0.1, "momentum": 0.9, "weight_decay": 1e-3, "dropout": 0.5}
RECIPE |= {"image_spectrum": "natural", "clip": True}

CONFIGURATIONS = ("baseline", "l2=0.001", "dropout=0.5")  # the order of all values below
CLEAN_ACCURACY = (92.03, 94.46, 91.65)  # percent
SSR = (-4.463, -1.397, -1.598)  # first convolution, relative to DC, from the first epoch on
ACCURACY = {  # percent, by corruption and level
    "Gaussian noise": {
        0.05: (76.93, 68.73, 71.13),
        0.1: (36.77, 25.74, 30.65),
        0.15: (16.87, 13.37, 15.16),
    },
    "low resolution, bilinear": {
        28: (79.10, 81.09, 76.51),
        24: (75.96, 82.27, 73.87),
        20: (70.67, 76.70, 68.66),
        16: (44.30, 44.50, 37.82),
        12: (32.35, 36.67, 30.20),
        10: (24.68, 27.66, 24.47),
        8: (19.83, 20.48, 20.13),
    },
    "Gaussian blur": {
        3: (51.13, 52.88, 44.75),
        5: (23.09, 21.26, 21.78),
        7: (19.39, 18.40, 18.83),
        9: (18.63, 16.97, 18.07),
        11: (19.51, 15.41, 18.23),
    },
}

# Experiment A: explained variance after 500 steps by strength and frequency, measured from the
# published code, one seed.
EXPLAINED_VARIANCE = {
    0.0: {5: 0.81, 20: 0.34, 50: 0.074},
    1e-3: {5: 0.77, 20: 0.19, 50: 0.046},
    1e-2: {5: 0.57, 20: 0.087, 50: 0.028},
}


@dataclass(frozen=True)
class Claim:
    """A quantity per seed, and what is claimed of it.

    Attributes:
        text: what it says of a configuration, whose name comes before it.
        quantity: what is measured, with its unit.
        side: 1 where the claim is a value above `no_effect`, -1 below, 0 where there is none.
        published: value; NaN where nothing was published.
        ratio: averaged as logarithms.
        bound: "more than": the size is judged against it, not against the published value.
        lead: of which corruption and level, and "lead" or "excess", where it is about a lead.
    """

    text: str
    quantity: str
    side: int
    published: float = math.nan
    no_effect: float = 0
    ratio: bool = False
    bound: float = math.nan
    lead: tuple[str, float, str] | None = None


def value(quantity: str, published: float) -> Claim:
    """A published number without a direction."""
    return Claim("published value", quantity, 0, published, no_effect=math.nan)


def _lead(text: str, side: int, corruption: str, level: float, where: str, column="lead", **more):
    """About the lead of L2 over the baseline, in points of accuracy, or its "excess" over that on
    clean images."""
    baseline, l2, _ = ACCURACY.get(corruption, {}).get(level, (math.nan,) * 3)
    lead, quantity = l2 - baseline, f"lead at {where}, points"
    if column == "excess":
        lead -= CLEAN_ACCURACY[1] - CLEAN_ACCURACY[0]
        text, quantity = f"{text}, beyond its lead on clean images", f"excess {quantity}"
    return Claim(text, quantity, side, round(lead, 2), lead=(corruption, level, column), **more)


NOISE = (-1, "Gaussian noise", 0.05, "sigma 0.05")
BILINEAR = (1, "low resolution, bilinear", 24, "24 x 24, bilinear")
ANTIALIASED = (1, "low resolution, antialiased", 24, "24 x 24, antialiased")
RATIO, CORNER = "published ratio of SSRs, first convolution", "corner share, minus baseline"
SENSITIVITY = "share of the input sensitivity above the cutoff, minus baseline"

CLAIMS = {
    "ratio": Claim(
        "suppresses the growth of high frequencies", RATIO, 1, round(SSR[0] / SSR[1], 2), 1, True
    ),
    "corner": Claim("makes the kernels of the hidden layers more low-pass", CORNER, -1),
    "sensitivity": Claim("makes the network more low-pass", SENSITIVITY, -1),
    "noise": _lead("is more sensitive to noise", *NOISE),
    "noise excess": _lead("is more sensitive to noise", *NOISE, "excess"),
    "resolution": _lead(
        "is more robust to low resolution, by more than 6 points", *BILINEAR, bound=6
    ),
    "resolution excess": _lead("is more robust to low resolution", *BILINEAR, "excess"),
    "antialiased excess": _lead(
        "is more robust to low resolution without aliases", *ANTIALIASED, "excess"
    ),
    "blur 3": _lead("is more robust to weak blur", 1, "Gaussian blur", 3, "size 3"),
    "blur 11": _lead("is less robust to strong blur", -1, "Gaussian blur", 11, "size 11"),
}
