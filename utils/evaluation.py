"""Loss and accuracy of a model on a set of images."""

import torch
from torch import nn
from torch.nn import functional as F

from data.batches import ImageSet, normalize

BATCH = 64  # images: few enough for a CPU cache; the result does not depend on it


def autocast(device: torch.device) -> torch.autocast:
    """bfloat16 arithmetic on a GPU, float32 elsewhere."""
    return torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda")


@torch.no_grad()
def evaluate(model: nn.Module, images: ImageSet) -> tuple[float, float]:
    """Mean cross-entropy and accuracy in percent, over all images, at inference.

    The images must be on the model's device.
    """
    was_training = model.training
    model.eval()
    loss, correct = 0.0, 0
    for pixels, labels in zip(images.images.split(BATCH), images.labels.split(BATCH)):
        batch = normalize(pixels.float().div_(255))
        with autocast(pixels.device):
            logits = model(batch.contiguous(memory_format=torch.channels_last))
        loss += F.cross_entropy(logits.float(), labels, reduction="sum").double()
        correct += (logits.argmax(1) == labels).sum()
    model.train(was_training)
    return float(loss) / len(images), 100 * int(correct) / len(images)
