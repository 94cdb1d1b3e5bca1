"""Which images a script gets: CIFAR-10, or the planted set where CIFAR-10 cannot be had."""

from . import cifar10, planted
from .images import ImageSet


def load(
    dataset: str, data_root: str | None, train_images: int, test_images: int
) -> tuple[dict[str, ImageSet], str]:
    """Image sets "train", "test" and, planted, "low cue" and "high cue" (test sets).

    Args:
        dataset: "cifar10", "planted", or "auto": CIFAR-10 where it can be had, else planted.
        data_root: folder to look in first.
        train_images, test_images: how many; of CIFAR-10 the first ones in official order.

    Returns the sets and a notice, empty unless "auto" had to settle for the planted set.

    Raises:
        cifar10.DataError: damaged, too small or, with "cifar10", not available.
    """
    if dataset == "planted":
        return planted.load(train_images, test_images), ""
    try:
        train, test = cifar10.load(data_root)
    except cifar10.DataNotAvailable as error:
        if dataset == "cifar10":
            raise
        return planted.load(train_images, test_images), str(error)
    for name, count, found in (("TRAIN", train_images, train), ("TEST", test_images, test)):
        if count > len(found):
            raise cifar10.DataError(f"{name}_IMAGES is {count}; CIFAR-10 has {len(found)}")
    return {"train": train.first(train_images), "test": test.first(test_images)}, ""
