"""The network of TDSM: a diffusion transformer whose blocks attend jointly to skeleton and text.

Two parallel streams, one skeleton token and L text tokens, each with projections, MLP and
adaptive layer norm of its own; they meet in one softmax attention over all 1 + L tokens (the
joint block of Stable Diffusion 3, Esser et al. 2024; adaptive layer norm and its zero start as
in DiT, Peebles and Xie 2023).

Leading dimensions broadcast everywhere, which is where the speed comes from. Shapes are written
for scoring, with n noised clips against K classes:

    skeleton (n, 1, 1, D)   text (K, L, D)   modulation (K, 1, 6D)   ->   output (n, K, C)

so modulations, and in the first block the text's norm and projection, are computed for K rows
and not for n * K. In training the leading dimensions are (2, B): positive and negative text.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Generator, Tensor, nn

TextTokens = Literal["both", "global", "local"]
TextCondition = Literal["mlp", "linear"]


# --------------------------------------------------------------------------------------
# Small parts


def sincos(t: Tensor, channels: int, max_period: float = 10_000.0) -> Tensor:
    """Embed steps t (...) as cosines, then sines, of falling frequency: (..., channels)."""
    half = channels // 2
    steps = torch.arange(half, dtype=torch.float32, device=t.device)
    angles = t.float().unsqueeze(-1) * torch.exp(-math.log(max_period) / half * steps)
    return torch.cat([angles.cos(), angles.sin()], dim=-1)


def two_layers(into: int, width: int) -> nn.Sequential:
    """Linear, SiLU, Linear: the condition's map of t and, by default, of the global text."""
    return nn.Sequential(nn.Linear(into, width), nn.SiLU(), nn.Linear(width, width))


def modulate(tokens: Tensor, shift: Tensor, scale: Tensor) -> Tensor:
    """Layer norm without an affine of its own; the condition gives scale and shift instead."""
    return F.layer_norm(tokens, tokens.shape[-1:], eps=1e-6) * (1 + scale) + shift


def join(a: Tensor, b: Tensor) -> Tensor:
    """Put tokens a (..., A, D) and b (..., B, D) in one row of (..., A + B, D)."""
    lead = torch.broadcast_shapes(a.shape[:-2], b.shape[:-2])
    return torch.cat([a.expand(*lead, -1, -1), b.expand(*lead, -1, -1)], dim=-2)


def attend(q: Tensor, kv: Tensor, heads: int, mask: Tensor | None, scaled: bool = True) -> Tensor:
    """Softmax attention of queries q (..., Q, D) over keys and values kv (..., M, 2D).

    ``mask`` (..., M) is True where a key may be seen. ``scaled``: divide q k by the root of a
    head's width.
    """
    lead, (queries, width) = q.shape[:-2], q.shape[-2:]

    def split(x: Tensor) -> Tensor:  # one batch dimension, or SDPA leaves its fast kernels
        return x.reshape(-1, x.shape[-2], heads, width // heads).transpose(1, 2)  # (R, H, M, D/H)

    if mask is not None:
        keys = kv.shape[-2]
        mask = mask.expand(*lead, keys).reshape(-1, 1, 1, keys)
    k, v = kv.chunk(2, dim=-1)
    scale = None if scaled else 1.0  # None is 1 / sqrt(D / heads)
    out = F.scaled_dot_product_attention(split(q), split(k), split(v), attn_mask=mask, scale=scale)
    return out.transpose(1, 2).reshape(*lead, queries, width)


class Modulation(nn.Module):
    """SiLU and one linear layer that starts at zero: ``parts`` x D values of a condition."""

    def __init__(self, width: int, parts: int) -> None:
        super().__init__()
        self.linear = nn.Linear(width, parts * width)

    def forward(self, f_c: Tensor) -> Tensor:
        """f_c (..., D) -> (..., 1, parts * D), the 1 to broadcast over a stream's tokens."""
        return self.linear(F.silu(f_c)).unsqueeze(-2)


# --------------------------------------------------------------------------------------
# The joint block


class Stream(nn.Module):
    """One of a block's two streams: everything of it but the attention itself."""

    def __init__(self, width: int, mlp_ratio: float) -> None:
        super().__init__()
        hidden = int(width * mlp_ratio)
        self.modulation = Modulation(width, 6)
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        self.mlp = nn.Sequential(
            nn.Linear(width, hidden), nn.GELU(approximate="tanh"), nn.Linear(hidden, width)
        )

    def project(self, tokens: Tensor, modulation: Tensor) -> tuple[Tensor, Tensor]:
        """tokens (..., M, D) -> queries (..., M, D), keys and values (..., M, 2D)."""
        shift, scale = modulation.chunk(6, dim=-1)[:2]
        qkv = self.qkv(modulate(tokens, shift, scale))
        width = tokens.shape[-1]
        return qkv[..., :width], qkv[..., width:]

    def update(self, tokens: Tensor, attended: Tensor, modulation: Tensor) -> Tensor:
        """The two gated residuals of a block: attention, then MLP. (..., M, D) -> the same."""
        _, _, gate, mlp_shift, mlp_scale, mlp_gate = modulation.chunk(6, dim=-1)
        tokens = tokens + gate * self.out(attended)
        return tokens + mlp_gate * self.mlp(modulate(tokens, mlp_shift, mlp_scale))


class KeysValues(nn.Module):
    """What is left of the text stream in the last block: nobody reads its tokens any more."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.modulation = Modulation(width, 2)
        self.kv = nn.Linear(width, 2 * width)

    def project(self, tokens: Tensor, modulation: Tensor) -> Tensor:
        """tokens (..., L, D) -> keys and values (..., L, 2D)."""
        return self.kv(modulate(tokens, *modulation.chunk(2, dim=-1)))


class JointBlock(nn.Module):
    """Joint attention of the skeleton token and the text tokens, then an MLP for each."""

    def __init__(
        self, width: int, heads: int, mlp_ratio: float, with_text: bool, last: bool, scaled: bool
    ) -> None:
        super().__init__()
        self.heads, self.scaled = heads, scaled
        self.skeleton = Stream(width, mlp_ratio)
        self.text: Stream | KeysValues | None = None
        if with_text:
            self.text = KeysValues(width) if last else Stream(width, mlp_ratio)

    def condition(self, f_c: Tensor) -> tuple[Tensor, Tensor | None]:
        """Modulations of both streams from the condition vector f_c (..., D)."""
        for_text = None if self.text is None else self.text.modulation(f_c)
        return self.skeleton.modulation(f_c), for_text

    def forward(
        self,
        x: Tensor,
        text: Tensor | None,
        modulations: tuple[Tensor, Tensor | None],
        mask: Tensor | None,
    ) -> tuple[Tensor, Tensor | None]:
        """x (..., 1, D), text (..., L, D) -> the same two, text None if nobody needs it."""
        for_x, for_text = modulations
        q, kv = self.skeleton.project(x, for_x)
        if self.text is None:
            attended = attend(q, kv, self.heads, None, self.scaled)
        elif isinstance(self.text, KeysValues):
            kv = join(kv, self.text.project(text, for_text))  # (..., 1 + L, 2D)
            attended, text = attend(q, kv, self.heads, mask, self.scaled), None
        else:
            q_text, kv_text = self.text.project(text, for_text)
            both = attend(join(q, q_text), join(kv, kv_text), self.heads, mask, self.scaled)
            attended = both[..., :1, :]
            text = self.text.update(text, both[..., 1:, :], for_text)
        return self.skeleton.update(x, attended, for_x), text


# --------------------------------------------------------------------------------------
# The network


@dataclass(frozen=True)
class Condition:
    """All modulations that a (class, step) pair needs: computed once, used for any clip.

    Attributes:
        blocks: per block, those of the skeleton (..., 1, 6D) and of the text (..., 1, 6D; 2D in
            the last block; None without local text).
        final: (..., 1, 2D) of the output layer.
    """

    blocks: list[tuple[Tensor, Tensor | None]]
    final: Tensor


class JointDiT(nn.Module):
    """Noised skeleton feature, step and class text -> what was asked of the noise.

    Args:
        channels: C of the skeleton feature.
        global_channels, local_channels: of the class text's vector z_g and tokens z_l.
        width, depth, heads, mlp_ratio: D, blocks, heads, hidden width of the MLPs over D.
        time_channels: size of the sin/cos embedding of t.
        local_tokens: L.
        text_tokens: which of z_g and z_l is read.
        text_condition: the map of z_g into the condition vector.
        scaled_attention: with the factor 1 / sqrt(D / heads).
        position_embedding: learn one for the skeleton token (with one token, a bias).
    """

    def __init__(
        self,
        *,
        channels: int,
        global_channels: int,
        local_channels: int,
        width: int,
        depth: int,
        heads: int,
        mlp_ratio: float,
        time_channels: int,
        local_tokens: int,
        text_tokens: TextTokens = "both",
        text_condition: TextCondition = "mlp",
        scaled_attention: bool = True,
        position_embedding: bool = False,
    ) -> None:
        super().__init__()
        self.time_channels = time_channels
        with_global, with_local = text_tokens != "local", text_tokens != "global"
        self.skeleton_in = nn.Linear(channels, width)
        self.skeleton_position = nn.Parameter(torch.zeros(1, width)) if position_embedding else None
        self.time_in = two_layers(time_channels, width)
        map_text = two_layers if text_condition == "mlp" else nn.Linear
        self.global_in = map_text(global_channels, width) if with_global else None
        self.local_in = nn.Linear(local_channels, width) if with_local else None
        self.local_position = nn.Parameter(torch.zeros(local_tokens, width)) if with_local else None
        self.blocks = nn.ModuleList(
            JointBlock(width, heads, mlp_ratio, with_local, i == depth - 1, scaled_attention)
            for i in range(depth)
        )
        self.final_modulation = Modulation(width, 2)
        self.final = nn.Linear(width, channels)

    @torch.no_grad()
    def initialise(self, generator: Generator) -> JointDiT:
        """Draw the weights; everything that scales a branch or the output starts at zero."""
        zero = {m.linear for m in self.modules() if isinstance(m, Modulation)} | {self.final}
        halves = {m.kv for m in self.modules() if isinstance(m, KeysValues)}
        for linear in (m for m in self.modules() if isinstance(m, nn.Linear)):
            nn.init.zeros_(linear.bias)
            if linear in zero:
                nn.init.zeros_(linear.weight)
            else:
                # Keys and values alone are two thirds of a (D, 3D) layer: keep its range.
                gain = math.sqrt(3 / 4) if linear in halves else 1.0
                nn.init.xavier_uniform_(linear.weight, gain, generator=generator)
        for position in (self.skeleton_position, self.local_position):
            if position is not None:
                nn.init.normal_(position, std=0.02, generator=generator)
        return self

    def embed_texts(self, z_g: Tensor, z_l: Tensor) -> tuple[Tensor, Tensor | None]:
        """What depends on the class alone: z_g (K, Dg), z_l (K, L, Dl) -> (K, D), (K, L, D).

        The first is the class's share of f_c (zero where the global text is not read), the
        second f_l (None where the local text is not read).
        """
        width = self.skeleton_in.out_features
        c = z_g.new_zeros(len(z_g), width) if self.global_in is None else self.global_in(z_g)
        f_l = None if self.local_in is None else self.local_in(z_l) + self.local_position
        return c, f_l

    def condition(self, t: Tensor, c: Tensor) -> Condition:
        """Modulations for steps t (...) and the classes' shares c (..., D)."""
        f_c = self.time_in(sincos(t, self.time_channels)) + c  # (..., D)
        return Condition([b.condition(f_c) for b in self.blocks], self.final_modulation(f_c))

    def forward(
        self, x_t: Tensor, f_l: Tensor | None, condition: Condition, mask: Tensor | None = None
    ) -> Tensor:
        """x_t (..., C), f_l (..., L, D) -> (..., C).

        Leading dimensions broadcast; those of f_l are the condition's. ``mask`` (..., L) is True
        at real text tokens; None shows the padding too.
        """
        x = self.skeleton_in(x_t).unsqueeze(-2)  # (..., 1, D)
        if self.skeleton_position is not None:
            x = x + self.skeleton_position
        if mask is not None:
            mask = F.pad(mask, (1, 0), value=True)  # the skeleton token is always seen
        text = f_l
        for block, modulations in zip(self.blocks, condition.blocks, strict=True):
            x, text = block(x, text, modulations, mask)
        x = modulate(x, *condition.final.chunk(2, dim=-1))
        return self.final(x).squeeze(-2)
