"""What the output of a network depends on, by spatial frequency."""

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor, nn

from utils.batchnorm import evaluation_mode

EXACT = 100  # outputs up to which the sensitivity is exact by default
PROBES = 32  # random sign vectors per image for more outputs


@torch.inference_mode(False)
@torch.enable_grad()
def input_sensitivity(
    model: nn.Module, images, batch: int = 64, probes: int | None = None, seed: int = 0
) -> np.ndarray:
    """Power spectrum of what the logits depend on in the image (Godfrey et al. 2022).

    With z_c the logits minus their mean over the classes and an orthonormal DFT of the image,

        S(k) = mean over images of sum over classes c and colours of |DFT(dz_c / dx)(k)|^2

    (arXiv:2210.01257). The gradients of a whole batch take one backward pass per class.

    Args:
        model: takes images, returns logits (batch, classes). Other outputs are flattened; the
            mean is not subtracted from a single one. Measured in evaluation mode, not changed.
        images: (N, C, H, W) in the model's units, which are the unit of dx; uint8 become [0, 1].
        batch: images at a time. The result does not depend on it.
        probes: None takes the classes one by one, up to 100 of them; for more, and with a
            number, that many (else 32) vectors v of random signs per image and the gradient of
            v . z: the same in expectation.
        seed: of the signs.

    Returns float64 (H, W), frequencies fftshift(fftfreq) cycles/pixel, zero frequency at index
    (H // 2, W // 2). `frequency.spectrum_from_power` gives its radial profile.
    """
    generator = torch.Generator().manual_seed(seed)
    total, count = 0.0, len(images)
    with evaluation_mode(model):
        for pixels in _batches(model, images, batch):
            pixels.requires_grad_()
            logits = _logits(model(pixels.clone())).flatten(1)  # (B, classes)
            classes = logits.shape[1]
            if classes > 1:
                logits = logits - logits.mean(1, keepdim=True)
            if probes is None and classes <= EXACT:
                directions = torch.eye(classes)[:, None].expand(-1, *logits.shape)
            else:
                shape = (probes or PROBES, *logits.shape)
                directions = torch.randint(2, shape, generator=generator) * 2 - 1
                directions = directions / shape[0] ** 0.5
            power = 0.0
            for direction in directions.to(logits):
                (gradient,) = torch.autograd.grad(logits, pixels, direction, retain_graph=True)
                spectrum = torch.fft.fft2(gradient.float(), norm="ortho")
                power += spectrum.abs().square().sum((0, 1))
            total += power.cpu().double().numpy()
    return np.fft.fftshift(total / count)


def _batches(model: nn.Module, images, size: int) -> Iterator[Tensor]:
    """Copies of the images as the model takes them, on its device."""
    images = torch.as_tensor(images)
    if images.ndim != 4 or not len(images):
        raise ValueError(f"images must be (N, C, H, W), found shape {tuple(images.shape)}")
    weights = (w for w in (*model.parameters(), *model.buffers()) if w.is_floating_point())
    like = next(weights, torch.empty(0, device=images.device))
    for part in images.split(size):
        scale = 1 if part.is_floating_point() else 255
        yield part.to(like.device, like.dtype, copy=True).div_(scale)


def _logits(output) -> Tensor:
    """The logits among what a model returns: a tensor, the first of several, or `.logits`."""
    output = getattr(output, "logits", output)
    if isinstance(output, dict):
        output = next(iter(output.values()))
    return output if isinstance(output, Tensor) else _logits(output[0])
