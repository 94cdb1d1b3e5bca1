"""Augmented training batches per second: data.images against a torchvision DataLoader.

    python tests/benchmarks/bench_batches.py

Both crop, mirror and normalise 32x32 images; random ones, so that no data set is needed.
"""

import sys
import time
from pathlib import Path

import torch
from torchvision import transforms

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from data.images import MEAN, STD, ImageSet, Normalize, crop_windows, training_batches

BATCH = 128
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


class Images(torch.utils.data.Dataset):
    """What torchvision.datasets.CIFAR10 does for each of some images, uint8 (N, 32, 32, 3)."""

    def __init__(self, images):
        self.images = images
        steps = [transforms.RandomCrop(32, padding=4), transforms.RandomHorizontalFlip()]
        steps += [transforms.ToTensor(), transforms.Normalize(MEAN, STD)]
        self.transform = transforms.Compose(steps)

    def __len__(self):
        return len(self.images)

    def __getitem__(self, index):
        return self.transform(transforms.functional.to_pil_image(self.images[index])), 0


def main() -> None:
    images = torch.randint(256, (50_000, 3, 32, 32), dtype=torch.uint8).to(DEVICE)
    labels = torch.zeros(len(images), dtype=torch.int64, device=DEVICE)
    windows, normalize = crop_windows(images), Normalize(ImageSet(images, labels, "noise"))
    few = Images(images[:5_000].permute(0, 2, 3, 1).cpu().numpy())  # it is slow
    loader = torch.utils.data.DataLoader(few, BATCH, shuffle=True, num_workers=2)
    print(f"{DEVICE}, {torch.get_num_threads()} CPU threads, torch {torch.__version__}")
    for name, prepare in (
        ("warm-up", normalize),
        ("crop, mirror, to [0, 1]", lambda x: x),
        ("the same and normalised", normalize),
        ("DataLoader, 2 workers", None),
    ):
        batches = training_batches(windows, labels, BATCH, 0, 1) if prepare else loader
        start, count = time.perf_counter(), 0
        for pixels, _ in batches:
            last = prepare(pixels) if prepare else pixels
            count += len(last)
        float(last.sum())  # waits for the device
        print(f"{name:28s}{count / (time.perf_counter() - start):12,.0f} images/s")


if __name__ == "__main__":
    main()
