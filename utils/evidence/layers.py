"""Names of ResNet-18's layers and of means over them, as tables have them."""

FIRST = "conv1"  # of ResNet-18, the only layer that arXiv:2512.22192 measures
POOLED = "all (energy-weighted)"  # the energies of all layers added up
MEAN = "all (mean)"  # every layer counts once
HIDDEN = "hidden (mean)"  # all but the first
STAGES = {  # of ResNet-18, unweighted means over the layers of some blocks
    "blocks 0 to 3 (mean)": "0123",
    "blocks 4 and 5 (mean)": "45",
    "blocks 6 and 7 (mean)": "67",
}
