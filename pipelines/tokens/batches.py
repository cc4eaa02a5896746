"""Tokenization of encoded images: decode threads, prepared batches, device, packed codes.

Shapes: B images, V views per image, H and W pixels.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import ImageColor
from PIL.Image import Image

from filters.decode import DecodeError
from filters.face_blur import NO_BLUR, FaceBlur
from pipelines.runtime.active_images import active_images, most_at_once
from pipelines.runtime.device import DeviceClock, device_lock, prepared_ahead
from pipelines.runtime.images import decode_image
from pipelines.runtime.sidecar import Reject
from pipelines.tokens.tokenizers import Target, target_tokenizer
from schemas.keys import unit
from schemas.recipe import DecodeConfig, VqTokensConfig

if TYPE_CHECKING:
    import torch

    from model.tokenizers.network_tokenizer import NetworkTokenizer

COMPARED = "compared with fp32"  # salt of the draw
CHECKED_SHARE = 1 / 16  # of images, encoded in fp32 too if another precision is set


@dataclass(frozen=True, kw_only=True, slots=True)
class TokenRequest:
    """An image to tokenize, and its missing targets."""

    key: str
    body: bytes  # as fetched
    targets: Sequence[Target]
    blur: FaceBlur = NO_BLUR
    prefix: str = ""  # of the members of this image of a sample


@dataclass(frozen=True, kw_only=True, slots=True)
class Tokenized:
    """The arrays of one image at one target."""

    request: TokenRequest
    arrays: dict[str, np.ndarray]  # member -> codes [L], features [C, h, w]; [V, ...] of views
    about: dict[str, Any]  # columns of TOKENS: aspect, device, pass_images, compared, psnr, ...


@dataclass(frozen=True, kw_only=True, slots=True)
class _Prepared:
    """The pixels of one image at each requested resolution."""

    request: TokenRequest
    aspect: float
    views_VHWC: dict[int, NDArray[np.uint8]]  # by resolution


@dataclass(kw_only=True)
class TokenBatches:
    """Tokenizes images in batches that fill across a whole shard.

    Threads decode and crop images in advance. Each resolution and shape has its own batch, which
    all tokenizers of that resolution read. The result depends on the image alone: batches go
    through the network in passes of one size, the last one padded.
    """

    recipe: VqTokensConfig
    decode: DecodeConfig
    clock: DeviceClock = field(default_factory=DeviceClock)
    _waiting: dict[tuple[int, float], list[_Prepared]] = field(default_factory=dict)

    def run(self, requests: Iterable[TokenRequest]) -> Iterator[Tokenized | Reject]:
        """Yield the arrays of each image for each target, or one reject; in any order.

        A rejected image may already have been yielded for other targets.
        """
        for prepared in prepared_ahead(requests, self._prepare, self.clock):
            if isinstance(prepared, Reject):
                yield prepared
                continue
            for resolution in prepared.views_VHWC:
                place = resolution, prepared.aspect
                batch = self._waiting.setdefault(place, [])
                batch.append(prepared)
                if len(batch) * self.recipe.views >= most_at_once(self.recipe.batch_size):
                    yield from self._encode(*place, self._waiting.pop(place))
        while self._waiting:
            place, batch = self._waiting.popitem()
            yield from self._encode(*place, batch)

    def _prepare(self, request: TokenRequest) -> _Prepared | Reject:
        try:
            with active_images(request.key):
                image = decode_image(request.body, self.decode)
                return self._cut(request, request.blur(image))
        except DecodeError as error:
            return Reject(id=request.key, reason=error.reason, detail=error.detail)

    def _cut(self, request: TokenRequest, image: Image) -> _Prepared:
        from filters.aspects import nearest_aspect
        from model.tokenizers.prepare import contain, view_box, view_crop
        from model.tokenizers.schedules import pixel_size

        buckets = self.recipe.aspects == "buckets"
        aspect = nearest_aspect(image.height, image.width) if buckets else 1.0
        views: dict[int, NDArray[np.uint8]] = {}
        for resolution in sorted({target.resolution for target in request.targets}):
            height, width = pixel_size(aspect, resolution)
            if self.recipe.fit == "contain":
                background = ImageColor.getrgb(self.decode.background)[:3]
                views[resolution] = contain(image, height, width, background)[None]
                continue
            crops: list[NDArray[np.uint8]] = []
            for view in range(self.recipe.views):
                box = view_box(image.size, height, width, key=request.key, view=view)
                covering_width, covering_height = box.covering
                if covering_width * covering_height > self.decode.max_pixels:
                    raise DecodeError(
                        "extreme_aspect",
                        f"{image.width} x {image.height} px covers {width} x {height} px only as "
                        f"{covering_width} x {covering_height}, over decode.max_pixels "
                        f"{self.decode.max_pixels:,}",
                    )
                crops.append(view_crop(image, height, width, key=request.key, view=view))
            views[resolution] = np.stack(crops)
        return _Prepared(request=request, aspect=aspect, views_VHWC=views)

    def _encode(
        self, resolution: int, aspect: float, batch: Sequence[_Prepared]
    ) -> Iterator[Tokenized | Reject]:
        """Encode one batch with each tokenizer that it was requested for."""
        wanted: dict[Target, list[_Prepared]] = {}
        for prepared in batch:
            for target in prepared.request.targets:
                if target.resolution == resolution:
                    wanted.setdefault(target, []).append(prepared)
        for target, images in wanted.items():
            requests = [prepared.request for prepared in images]
            keys = [request.key for request in requests]
            pixels_BVHWC = np.stack([prepared.views_VHWC[resolution] for prepared in images])
            tokenizer = target_tokenizer(target, self.recipe, aspect)
            with device_lock, active_images(*keys):
                done = list(self._tokenize(target, tokenizer, requests, pixels_BVHWC))
            for one in done:
                if isinstance(one, Tokenized):
                    one.about["aspect"] = aspect
                yield one

    def _tokenize(
        self,
        target: Target,
        tokenizer: "NetworkTokenizer",
        requests: Sequence[TokenRequest],
        pixels_BVHWC: NDArray[np.uint8],
    ) -> Iterator[Tokenized | Reject]:
        import torch

        keys = [request.key for request in requests]
        views = self.recipe.views
        images_NCHW = _to_device(pixels_BVHWC.reshape(-1, *pixels_BVHWC.shape[2:]), tokenizer)
        features_NCHW = tokenizer.features(images_NCHW)
        stored_NCHW = features_NCHW.half() if len(target.members) > 1 else features_NCHW
        finite_B = torch.isfinite(stored_NCHW).flatten(1).all(dim=1).view(-1, views).all(dim=1)
        kept = finite_B.nonzero().flatten().tolist()
        for number in (~finite_B).nonzero().flatten().tolist():
            detail = f"{target.tokenizer.name}: the encoder gives NaN or infinite features"
            if len(target.members) > 1:
                detail += ", in float16"
            yield Reject(id=keys[number], reason="not_finite", detail=detail)
        if not kept:
            return
        sound_NCHW = features_NCHW.unflatten(0, (-1, views))[kept].flatten(0, 1)
        made = {target.members[0]: np.stack(tokenizer.quantize(sound_NCHW).pack())}
        checked = self._checked(tokenizer, keys, kept, images_NCHW, made[target.members[0]])
        for member in target.members[1:]:
            made[member] = sound_NCHW.half().cpu().numpy()
        alike = self._likeness(tokenizer, made[target.members[0]], images_NCHW, kept)
        for place, number in enumerate(kept):
            mine = slice(place * views, (place + 1) * views) if views > 1 else place
            compared, differing = checked.get(number, (0, 0))
            yield Tokenized(
                request=requests[number],
                arrays={member: arrays[mine] for member, arrays in made.items()},
                about={
                    "device": tokenizer.compute.device,
                    "pass_images": tokenizer.passes.size,
                    "compared": compared,
                    "differing": differing,
                    **alike[place],
                },
            )

    def _likeness(
        self,
        tokenizer: "NetworkTokenizer",
        codes: np.ndarray,
        images_NCHW: "torch.Tensor",
        kept: Sequence[int],
    ) -> list[dict[str, float | None]]:
        """Return columns psnr and ssim of each image, the lowest of its views; None if not asked.

        `codes` are of the images numbered `kept`, all views of an image one after the other.
        """
        from model.tokenizers.likeness import likeness
        from model.tokenizers.protocol import Codes

        if not self.recipe.reconstruction:
            return [{"psnr": None, "ssim": None} for _ in kept]
        views = self.recipe.views
        drawn_NCHW = tokenizer.decode(Codes.unpack(codes, tokenizer.schedule)).cpu()
        found: list[dict[str, float | None]] = []
        for place, number in enumerate(kept):
            each = [
                likeness(drawn_NCHW[place * views + view], images_NCHW[number * views + view].cpu())
                for view in range(views)
            ]
            found.append({"psnr": min(x.psnr for x in each), "ssim": min(x.ssim for x in each)})
        return found

    def _checked(
        self,
        tokenizer: "NetworkTokenizer",
        keys: list[str],
        kept: Sequence[int],
        images_NCHW: "torch.Tensor",
        codes: np.ndarray,
    ) -> dict[int, tuple[int, int]]:
        """Compare codes with fp32 for some images, chosen by a hash of their keys."""
        if self.recipe.precision == "fp32":
            return {}
        drawn = {
            place: number
            for place, number in enumerate(kept)
            if unit(keys[number], COMPARED) < CHECKED_SHARE
        }
        views, exact = self.recipe.views, tokenizer.in_fp32()
        found: dict[int, tuple[int, int]] = {}
        for place, number in drawn.items():
            expected = exact.encode(images_NCHW[number * views : (number + 1) * views])
            mine = codes[place * views : (place + 1) * views]
            found[number] = tokenizer.differing(mine, expected.values_BL)
        return found


def _to_device(pixels_NHWC: NDArray[np.uint8], tokenizer: "NetworkTokenizer") -> "torch.Tensor":
    """Move pixels to the device as bytes, from pinned memory, and scale them there."""
    import torch

    from model.tokenizers.prepare import to_model_input

    pixels = torch.from_numpy(pixels_NHWC)
    if tokenizer.compute.on_cuda:
        pixels = pixels.pin_memory().to(tokenizer.compute.device, non_blocking=True)
    return to_model_input(pixels)
