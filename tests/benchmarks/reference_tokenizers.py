"""The published formulation of both encoders, written plainly: the peer of bench_tokens.

Float32, one image at a time, contiguous NCHW, eager, scale by scale, as the authors' code runs.
Weights are those of a loaded tokenizer, by their keys.
"""

import copy

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from model.tokenizers.infinity_bsq import InfinityBsq
from model.tokenizers.network_tokenizer import NetworkTokenizer
from model.tokenizers.var_quantizer import phi_index


class Reference:
    """Encodes one image at a time with the weights of a tokenizer."""

    def __init__(self, tokenizer: NetworkTokenizer) -> None:
        state = tokenizer._network.state_dict()
        used = [key for key in state if not key.startswith(("decoder", "post_quant_conv"))]
        self._w = {key: state[key].clone().contiguous() for key in used}
        self._is_bsq = isinstance(tokenizer, InfinityBsq)
        self._schedule = tokenizer.schedule

    def in_float64(self) -> "Reference":
        """Return one that computes in float64, as a yardstick."""
        other = copy.copy(self)
        other._w = {key: x.double() for key, x in self._w.items()}
        return other

    @torch.no_grad()
    def features(self, image_13HW: Tensor) -> Tensor:
        """Return what the quantizer reads, [1, C, H / 16, W / 16]."""
        f = self._encoder(image_13HW)
        return f if self._is_bsq else self._conv("quant_conv", f)

    @torch.no_grad()
    def encode(self, image_13HW: Tensor) -> np.ndarray:
        """Return the codes of one image, [L]: indices, or packed bits."""
        f = self.features(image_13HW)
        return self._bsq(f) if self._is_bsq else self._var(f)

    def _bsq(self, h: Tensor) -> np.ndarray:
        rest, bits = h.unsqueeze(2), []
        for size in self._schedule:
            z = F.interpolate(rest, size=(1, *size), mode="area")
            z = F.normalize(z.permute(0, 2, 3, 4, 1), dim=-1)
            bits.append((z > 0).reshape(-1, z.shape[-1]))
            corner = torch.where(z > 0, 1.0, -1.0) / z.shape[-1] ** 0.5
            corner = (z + (corner - z)).permute(0, 4, 1, 2, 3)
            rest = rest - F.interpolate(corner, size=(1, *self._schedule[-1]), mode="trilinear")
        packed = np.packbits(torch.cat(bits).cpu().numpy(), axis=-1)
        return packed.view(">u4")[:, 0].astype(np.uint32)

    def _var(self, f: Tensor) -> np.ndarray:
        book = self._w["quantize.embedding.weight"]
        rest, codes = f.clone(), []
        for scale, size in enumerate(self._schedule):
            z = F.interpolate(rest, size=size, mode="area").permute(0, 2, 3, 1).flatten(0, 2)
            norms = z.square().sum(1, keepdim=True) + book.square().sum(1)
            index = torch.addmm(norms, z, book.T, alpha=-2).argmin(1)
            h = F.embedding(index, book).T.reshape(1, -1, *size)
            if size != self._schedule[-1]:
                h = F.interpolate(h, size=self._schedule[-1], mode="bicubic")
            phi = f"quantize.quant_resi.qresi_ls.{phi_index(scale, len(self._schedule), 4)}"
            rest = rest - (h * 0.5 + self._conv(phi, h) * 0.5)
            codes.append(index)
        return torch.cat(codes).cpu().numpy().astype(np.uint16)

    def _encoder(self, x: Tensor) -> Tensor:
        x = self._conv("encoder.conv_in", x)
        level = 0
        while f"encoder.down.{level}.block.0.norm1.weight" in self._w:
            block = 0
            while f"encoder.down.{level}.block.{block}.norm1.weight" in self._w:
                x = self._block(f"encoder.down.{level}.block.{block}", x)
                x = self._attention(f"encoder.down.{level}.attn.{block}", x)
                block += 1
            if f"encoder.down.{level}.downsample.conv.weight" in self._w:
                x = F.pad(x, (0, 1, 0, 1))
                x = self._conv(f"encoder.down.{level}.downsample.conv", x, stride=2, padding=0)
            level += 1
        x = self._block("encoder.mid.block_1", x)
        x = self._attention("encoder.mid.attn_1", x)
        x = self._block("encoder.mid.block_2", x)
        return self._conv("encoder.conv_out", F.silu(self._norm("encoder.norm_out", x)))

    def _block(self, key: str, x: Tensor) -> Tensor:
        h = self._conv(f"{key}.conv1", F.silu(self._norm(f"{key}.norm1", x)))
        h = self._conv(f"{key}.conv2", F.silu(self._norm(f"{key}.norm2", h)))
        shortcut = f"{key}.nin_shortcut"
        return (self._conv(shortcut, x, padding=0) if f"{shortcut}.weight" in self._w else x) + h

    def _attention(self, key: str, x: Tensor) -> Tensor:
        if f"{key}.qkv.weight" not in self._w:
            return x
        qkv = self._conv(f"{key}.qkv", self._norm(f"{key}.norm", x), padding=0).flatten(2)
        q, k, v = (part.transpose(1, 2) for part in qkv.chunk(3, dim=1))
        weights = torch.softmax(q @ k.transpose(1, 2) * q.shape[-1] ** -0.5, dim=-1)
        h = (weights @ v).transpose(1, 2).reshape(x.shape)
        return x + self._conv(f"{key}.proj_out", h, padding=0)

    def _norm(self, key: str, x: Tensor) -> Tensor:
        return F.group_norm(x, 32, self._w[f"{key}.weight"], self._w[f"{key}.bias"], 1e-6)

    def _conv(self, key: str, x: Tensor, stride: int = 1, padding: int = 1) -> Tensor:
        weight, bias = self._w[f"{key}.weight"], self._w[f"{key}.bias"]
        return F.conv2d(x, weight, bias, stride=stride, padding=padding)
