"""What a network's output depends on in the image, by spatial frequency.

    sensitivity = spectrum_from_power(input_sensitivity(model, images))

Images and models are as for `feature_maps.feature_spectra`.
"""

import numpy as np
import torch
from torch import nn

from .feature_maps import amplitudes, first_tensor, image_batches, warn_of_batches
from .modules import evaluation_mode, unwrap

MAX_EXACT_OUTPUTS = 100  # up to which the sensitivity is exact by default
DEFAULT_PROBES = 32  # random sign vectors per image for more outputs


@torch.inference_mode(False)
@torch.enable_grad()
def input_sensitivity(
    model: nn.Module, images, batch: int = 32, probes: int | None = None
) -> np.ndarray:
    """Measure the power spectrum of the logits' gradient in the image (Godfrey et al. 2022).

    With z_c the logits minus their mean over the classes and an orthonormal DFT of the image,

        S(k) = mean over images of sum over classes c and colours of |DFT(dz_c / dx)(k)|^2

    (arXiv:2210.01257). The gradients of a whole batch take one backward pass per class.

    Args:
        model: takes images, returns logits (batch, classes), alone or among other things. Other
            outputs are flattened; the mean is not subtracted from a single one.
        images: (N, C, H, W); their unit is that of dx.
        batch: images at a time. The result does not depend on it; a warning tells where it does.
        probes: vectors v of random signs per image, drawn from its number, of which the gradient
            of v . z is taken: the same in expectation, and 1, with many images, is quickest. None:
            every class exactly if there are at most 100, else 32.

    Returns float64 (H, W), frequencies fftshift(fftfreq) cycles/pixel, zero frequency at index
    (H // 2, W // 2). `frequency.spectrum_from_power` gives its radial profile.

    Raises:
        ValueError: `probes` is below 1, or the model gives no such output.
    """
    if probes is not None and probes < 1:
        raise ValueError(f"probes must be None or at least 1, found {probes}")
    model, total, done = unwrap(model), 0.0, 0
    warn_of_batches(model)
    with evaluation_mode(model):
        for pixels in image_batches(model, images, batch):
            pixels.requires_grad_()
            logits = first_tensor(model(pixels.clone()))
            if logits is None or not logits.requires_grad or len(logits) != len(pixels):
                raise ValueError("model gives no tensor that depends on each image smoothly")
            logits = logits.flatten(1) if logits.ndim > 1 else logits[:, None]  # (B, classes)
            (classes,) = size = logits.shape[1:]
            if classes > 1:
                logits = logits - logits.mean(1, keepdim=True)
            exact = probes is None and classes <= MAX_EXACT_OUTPUTS
            count = classes if exact else probes or DEFAULT_PROBES
            generators = [torch.Generator().manual_seed(done + n) for n in range(len(pixels))]
            done += len(pixels)
            for number in range(count):  # a direction at a time: maps have a million outputs
                if exact:
                    direction = torch.zeros_like(logits)
                    direction[:, number] = 1
                else:
                    bits = [torch.randint(2, size, generator=g, device="cpu") for g in generators]
                    direction = (2 * torch.stack(bits) - 1).to(logits) / count**0.5
                (gradient,) = torch.autograd.grad(logits, pixels, direction, retain_graph=True)
                total += sum(a.square().sum((0, 1)) for a in amplitudes(gradient)).cpu().numpy()
    return np.fft.fftshift(total / len(images))


@torch.no_grad()
def count_outputs(model: nn.Module, images) -> int:
    """Count the logits of the model, as many directions as `input_sensitivity` has to take."""
    model = unwrap(model)
    with evaluation_mode(model):
        return first_tensor(model(next(image_batches(model, images, 1)))).numel()
