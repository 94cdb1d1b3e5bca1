"""Image sets in memory, and seeded, augmented batches made by one indexing operation."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.nn import functional as F

PAD = 4  # pixels of border from which a random crop is taken
# Mean and standard deviation of the pixels of CIFAR-10's training set, in [0, 1]. The widespread
# std 0.2023, 0.1994, 0.2010 is the mean of the per-image deviations, another quantity.
MEAN = (0.4914, 0.4822, 0.4465)
STD = (0.2470, 0.2435, 0.2616)


@dataclass(frozen=True)
class ImageSet:
    """Images, their class labels, and how a network takes them."""

    images: Tensor  # uint8 (N, 3, H, W)
    labels: Tensor  # int64 (N,)
    name: str  # for figures
    mean: tuple[float, float, float] = MEAN  # per colour in [0, 1], by which input is normalised
    std: tuple[float, float, float] = STD
    border: int = 0  # pixel value, 0 to 255, around an image from which a random crop is taken

    def __len__(self) -> int:
        return len(self.labels)

    def first(self, count: int) -> "ImageSet":
        return self.part(slice(count))

    def part(self, some: slice) -> "ImageSet":
        return replace(self, images=self.images[some], labels=self.labels[some])

    def to(self, device) -> "ImageSet":
        return replace(self, images=self.images.to(device), labels=self.labels.to(device))


def to_float(images: Tensor) -> Tensor:
    """uint8 images to float32 in [0, 1]; float images stay as they are."""
    return images if images.is_floating_point() else images.float().div_(255)


class Normalize(nn.Module):
    """Images in [0, 1], (N, 3, H, W), to zero mean and unit variance per colour channel."""

    def __init__(self, images: ImageSet):
        super().__init__()
        values = torch.tensor([images.mean, images.std], device=images.labels.device)
        self.register_buffer("mean_and_std", values.view(2, 3, 1, 1), persistent=False)

    def forward(self, pixels: Tensor) -> Tensor:
        mean, std = self.mean_and_std
        return (pixels - mean) / std


def crop_windows(images: Tensor, border: int = 0) -> Tensor:
    """All crops of images uint8 (N, 3, H, W), padded by `border`, and of their mirror images.

    Returns a uint8 view (2, N, 2 PAD + 1, 2 PAD + 1, H, W, 3): plain or mirrored, image, vertical
    and horizontal offset, then the crop. Only the padded images take memory.
    """
    height, width = images.shape[-2:]
    padded = F.pad(images, (PAD,) * 4, value=border).permute(0, 2, 3, 1)
    both = torch.stack([padded, padded.flip(2)])  # (2, N, H + 2 PAD, W + 2 PAD, 3)
    # A window's own rows and columns come last, then the colours: together in memory.
    return both.unfold(2, height, 1).unfold(3, width, 1).permute(0, 1, 2, 3, 5, 6, 4)


def training_batches(
    windows: Tensor, labels: Tensor, batch_size: int, seed: int, epoch: int
) -> Iterator[tuple[Tensor, Tensor]]:
    """One epoch of batches in random order, each image cropped and mirrored at random.

    Order and augmentation depend on (seed, epoch) alone, not on the device, the model or what was
    drawn before. `windows` are from `crop_windows`, with `labels` (N,) on one device.

    Yields float32 images (B, 3, H, W) in [0, 1], channels last in memory, and labels (B,).
    The last batch may be smaller.
    """
    _, count, offsets = windows.shape[:3]
    generator = torch.Generator().manual_seed(seed * 1_000_003 + epoch)
    drawn = {"generator": generator, "device": "cpu"}
    order = torch.randperm(count, **drawn)
    mirror = torch.randint(2, (count,), **drawn)
    top, left = torch.randint(offsets, (2, count), **drawn)
    draws = torch.stack([order, mirror, top, left]).to(windows.device)
    for image, mirrored, row, column in draws.split(batch_size, dim=1):
        crops = windows[mirrored, image, row, column]  # (B, H, W, 3)
        yield crops.permute(0, 3, 1, 2).float().div_(255), labels[image]
