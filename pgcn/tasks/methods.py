"""Methods of a pyramid for its tasks: each applies one task of `pgcn.tasks`, and returns the result alone.

`image` is always the image that the pyramid was trained on, at any size; other images may have other sizes. Options are
keyword arguments, named as in the task's `…Options`. Impossible requests raise `ValueError`, mostly `pgcn.TaskError`.
"""

from __future__ import annotations

from typing import Any, cast

from torch import Tensor

from pgcn.method import Model
from pgcn.tasks.task import Inputs, TaskResult, find_task


class TaskMethods:
    """The tasks, as methods of `pgcn.Pyramid`."""

    def apply(
        self,
        /,
        task: str,
        image: Tensor,
        *,
        target: Tensor | None = None,
        mask: Tensor | None = None,
        truth: Tensor | None = None,
        **options: Any,
    ) -> TaskResult:
        """Apply a task by its name; the result has its images, metrics and notes.

        >>> import pgcn
        >>> pyramid, image = pgcn.example()
        >>> made = pyramid.apply("superres", image, factor=2)
        >>> made.result.shape, made.metrics["input_error"] < made.metrics["input_error_bicubic"]
        (torch.Size([1, 3, 40, 48]), True)
        """
        return find_task(task)(cast(Model, self), Inputs(image, target, mask, truth), **options)

    def generate(self, image: Tensor, number: int = 4, *, tile: bool = False, **options: Any) -> Tensor:
        """Random samples, `(number, 3, H, W)`; with `tile`, their opposite sides fit together.

        >>> import pgcn
        >>> pyramid, image = pgcn.example()
        >>> pyramid.generate(image, 2, tile=True, width=64, height=32).shape
        torch.Size([2, 3, 32, 64])
        """
        return self.apply("generate", image, number=number, tile=tile, **options).result

    def superresolve(self, image: Tensor, factor: float = 4, **options: Any) -> Tensor:
        """The image, `factor` times as large: `(1, 3, factor·H, factor·W)`.

        >>> import pgcn
        >>> pyramid, image = pgcn.example()
        >>> pyramid.superresolve(image, 2.5).shape
        torch.Size([1, 3, 50, 60])
        """
        return self.apply("superres", image, factor=factor, **options).result

    def harmonize(self, image: Tensor, composite: Tensor, mask: Tensor | None = None, **options: Any) -> Tensor:
        """The composite, `(1, 3, h, w)`, whose pasted object takes on the image's look.

        `mask` `(1, 1, h, w)` is 1 on the object; without one, it is where composite and image differ.

        >>> import pgcn
        >>> pyramid, image = pgcn.example()
        >>> composite = image.clone()
        >>> composite[..., 6:12, 8:14] = 1
        >>> pyramid.harmonize(image, composite).shape
        torch.Size([1, 3, 20, 24])
        """
        return self.apply("harmonize", image, target=composite, mask=mask, **options).result

    def paint(self, image: Tensor, painting: Tensor, **options: Any) -> Tensor:
        """An image with the layout of `painting` `(1, 3, h, w)`, at its size.

        >>> import pgcn
        >>> pyramid, image = pgcn.example()
        >>> pyramid.paint(image, image.flip(-1).round()).shape
        torch.Size([1, 3, 20, 24])
        """
        return self.apply("paint", image, target=painting, **options).result

    def edit(self, image: Tensor, edited: Tensor, mask: Tensor | None = None, **options: Any) -> Tensor:
        """The edited image, `(1, 3, h, w)`, without seams; `mask` as for `harmonize`.

        >>> import pgcn
        >>> pyramid, image = pgcn.example()
        >>> edited = image.clone()
        >>> edited[..., 4:12, 2:10] = image[..., 8:16, 12:20]
        >>> pyramid.edit(image, edited).shape
        torch.Size([1, 3, 20, 24])
        """
        return self.apply("edit", image, target=edited, mask=mask, **options).result

    def style(self, image: Tensor, content: Tensor, **options: Any) -> Tensor:
        """The structure of `content` `(1, 3, h, w)` in the image's patches, at the content's size.

        >>> import pgcn
        >>> pyramid, image = pgcn.example()
        >>> pyramid.style(image, image.flip(-1)).shape
        torch.Size([1, 3, 20, 24])
        """
        return self.apply("style", image, target=content, **options).result

    def translate(self, image: Tensor, other: Tensor, **options: Any) -> Tensor:
        """`other` `(1, 3, h, w)` moved by chains towards the image's patches, at its own size.

        >>> import pgcn
        >>> pyramid, image = pgcn.example()
        >>> made = pyramid.apply("translate", image, target=image.flip(-1))
        >>> made.result.shape, made.values.values.shape
        (torch.Size([1, 3, 20, 24]), torch.Size([1, 1, 20, 24]))
        >>> pyramid.translate(image, image.flip(-1)).equal(made.result)
        True
        """
        return self.apply("translate", image, target=other, **options).result

    def inpaint(self, image: Tensor, mask: Tensor, *, target: Tensor | None = None, **options: Any) -> Tensor:
        """The image with new pixels where `mask` `(1, 1, H, W)` is 1; train with `pgcn.fit(image, mask=mask)`.

        With a `target` `(1, C, h, w)`, that image with new pixels of the image's patches; the mask is the target's.

        >>> import pgcn, torch
        >>> pyramid, image = pgcn.example()
        >>> mask = torch.zeros(1, 1, 20, 24)
        >>> mask[..., 6:12, 8:14] = 1
        >>> pyramid.inpaint(image, mask).shape
        torch.Size([1, 3, 20, 24])
        """
        return self.apply("inpaint", image, mask=mask, target=target, **options).result

    def animate(self, image: Tensor, frames: int = 24, **options: Any) -> Tensor:
        """Frames of a looping clip, `(frames, 3, H, W)`.

        >>> import pgcn
        >>> pyramid, image = pgcn.example()
        >>> pyramid.animate(image, frames=3).shape
        torch.Size([3, 3, 20, 24])
        """
        return self.apply("animate", image, frames=frames, **options).result

    def energy_score(self, image: Tensor, other: Tensor) -> float:
        """The energy of `other` `(1, 3, h, w)` above that of `image`, in standard deviations: 0 for the image itself.

        >>> import pgcn
        >>> pyramid, image = pgcn.example()
        >>> pyramid.energy_score(image, image)
        0.0
        """
        return self.apply("energy", image, target=other).metrics["score"]

    def restore(self, image: Tensor, corrupted: Tensor, **options: Any) -> Tensor:
        """A corrupted version of the image, `(1, 3, h, w)`, without its noise or blur.

        >>> import pgcn, torch
        >>> pyramid, image = pgcn.example()
        >>> pyramid.restore(image, (image + 0.2 * torch.randn_like(image)).clamp(-1, 1)).shape
        torch.Size([1, 3, 20, 24])
        """
        return self.apply("recover", image, target=corrupted, **options).result
