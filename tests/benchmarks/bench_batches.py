"""Augmented training batches per second: data.images against a torchvision DataLoader.

    python tests/benchmarks/bench_batches.py

Both crop, mirror and normalise 32x32 images; random ones, so that no data set is needed.
"""

import sys
import time
from pathlib import Path

import numpy as np
import torch
from torchvision import transforms

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from data.images import MEAN, STD, ImageSet, Normalize, crop_windows, training_batches

IMAGES, BATCH = 50_000, 128
LOADER_IMAGES = 5_000  # it is slow
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


class Images(torch.utils.data.Dataset):
    """What torchvision.datasets.CIFAR10 does for each image."""

    def __init__(self, images):
        self.images = images  # uint8 (N, 32, 32, 3)
        self.transform = transforms.Compose(
            [
                transforms.RandomCrop(32, padding=4),
                transforms.RandomHorizontalFlip(),
                transforms.ToTensor(),
                transforms.Normalize(MEAN, STD),
            ]
        )

    def __len__(self):
        return len(self.images)

    def __getitem__(self, index):
        return self.transform(transforms.functional.to_pil_image(self.images[index])), 0


def images_per_second(batches, count: int) -> float:
    start = time.perf_counter()
    for images in batches:
        last = images
    float(last.sum())  # waits for the device
    return count / (time.perf_counter() - start)


def main() -> None:
    images = np.random.default_rng(0).integers(0, 256, (IMAGES, 32, 32, 3), np.uint8)
    tensor = torch.from_numpy(images).permute(0, 3, 1, 2).to(DEVICE)
    labels = torch.zeros(IMAGES, dtype=torch.int64, device=DEVICE)
    windows, normalize = crop_windows(tensor), Normalize(ImageSet(tensor, labels, "noise"))

    def ours(epoch, prepare):
        batches = training_batches(windows, labels, BATCH, 0, epoch)
        return (prepare(images) for images, _ in batches)

    loader = torch.utils.data.DataLoader(
        Images(images[:LOADER_IMAGES]), BATCH, shuffle=True, num_workers=2
    )
    print(f"{DEVICE}, {torch.get_num_threads()} CPU threads, torch {torch.__version__}")
    for name, batches, count in (
        ("warm-up", ours(0, normalize), IMAGES),
        ("crop, mirror, to [0, 1]", ours(1, lambda x: x), IMAGES),
        ("the same and normalised", ours(2, normalize), IMAGES),
        ("DataLoader, 2 workers", (images for images, _ in loader), LOADER_IMAGES),
    ):
        print(f"{name:28s}{images_per_second(batches, count):12,.0f} images/s")


if __name__ == "__main__":
    main()
