"""What a trained pyramid is asked for, as methods: each is one task of `pgcn.tasks`, and returns its result alone.

`image` is always the image that the pyramid has learned, at any size; other pictures may have sizes of their own.
Options go by name, as in the task's `…Options`. What cannot be asked raises `ValueError`, mostly `pgcn.TaskError`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from torch import Tensor

from pgcn.tasks.task import Inputs, TaskResult, find_task

if TYPE_CHECKING:
    from pgcn.pyramid import Pyramid


class TaskMethods:
    """Methods of `pgcn.Pyramid`."""

    def apply(
        self,
        task: str,
        image: Tensor,
        *,
        target: Tensor | None = None,
        mask: Tensor | None = None,
        truth: Tensor | None = None,
        **options: Any,
    ) -> TaskResult:
        """Any task by its name, with all that it makes: pictures, figures and notes.

        >>> import pgcn
        >>> pyramid, image = pgcn.example()
        >>> made = pyramid.apply("superres", image, factor=2)
        >>> made.result.shape, made.figures["input_error"] < made.figures["input_error_bicubic"]
        (torch.Size([1, 3, 40, 48]), True)
        """
        return find_task(task)(cast("Pyramid", self), Inputs(image, target, mask, truth), **options)

    def generate(self, image: Tensor, number: int = 4, *, tile: bool = False, **options: Any) -> Tensor:
        """Random samples, `(number, 3, H, W)`; with `tile`, left fits to right and top to bottom.

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
        """A picture with the layout of `painting` `(1, 3, h, w)`, at its size.

        >>> import pgcn
        >>> pyramid, image = pgcn.example()
        >>> pyramid.paint(image, image.flip(-1).round()).shape
        torch.Size([1, 3, 20, 24])
        """
        return self.apply("paint", image, target=painting, **options).result

    def edit(self, image: Tensor, edited: Tensor, mask: Tensor | None = None, **options: Any) -> Tensor:
        """The edited picture, `(1, 3, h, w)`, without its seams; `mask` as for `harmonize`.

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

    def inpaint(self, image: Tensor, mask: Tensor, **options: Any) -> Tensor:
        """The image with the pixels made anew where `mask` `(1, 1, H, W)` is 1; see `pgcn.fit_masked`.

        >>> import pgcn, torch
        >>> pyramid, image = pgcn.example()
        >>> mask = torch.zeros(1, 1, 20, 24)
        >>> mask[..., 6:12, 8:14] = 1
        >>> pyramid.inpaint(image, mask).shape
        torch.Size([1, 3, 20, 24])
        """
        return self.apply("inpaint", image, mask=mask, **options).result

    def animate(self, image: Tensor, frames: int = 24, **options: Any) -> Tensor:
        """Frames of a looping clip, `(frames, 3, H, W)`.

        >>> import pgcn
        >>> pyramid, image = pgcn.example()
        >>> pyramid.animate(image, frames=3).shape
        torch.Size([3, 3, 20, 24])
        """
        return self.apply("animate", image, frames=frames, **options).result

    def unlike(self, image: Tensor, picture: Tensor) -> float:
        """How unlike the image's patches those of `picture` `(1, 3, h, w)` are: 0 for the image itself.

        >>> import pgcn
        >>> pyramid, image = pgcn.example()
        >>> pyramid.unlike(image, image)
        0.0
        """
        return self.apply("energy", image, target=picture).figures["score"]

    def restore(self, image: Tensor, corrupted: Tensor, **options: Any) -> Tensor:
        """A corrupted version of the image, `(1, 3, h, w)`, without its noise or blur.

        >>> import pgcn, torch
        >>> pyramid, image = pgcn.example()
        >>> pyramid.restore(image, (image + 0.2 * torch.randn_like(image)).clamp(-1, 1)).shape
        torch.Size([1, 3, 20, 24])
        """
        return self.apply("recover", image, target=corrupted, **options).result
