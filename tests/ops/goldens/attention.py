# SPDX-License-Identifier: Apache-2.0
"""Scaled dot-product attention, and the ops that are fused from DEA-Net's attention."""
import torch
import torch.nn.functional as F

from writer import case, draw, emit


def attention(name, q, k, v, bias=None, **attrs):
    case("attention", name)
    q, k, v = draw(*q), draw(*k), draw(*v)
    mask = draw(*bias) if bias is not None else None
    inputs = [q, k, v] if mask is None else [q, k, v, mask]
    if attrs.get("causal"):  # the last query sees every key
        later = torch.ones(q.shape[2], k.shape[2]).triu(k.shape[2] - q.shape[2] + 1).bool()
        hidden = torch.zeros(later.shape).masked_fill(later, -torch.inf)
        mask = hidden if mask is None else mask + hidden
    repeat = q.shape[1] // k.shape[1]
    y = F.scaled_dot_product_attention(
        q, k.repeat_interleave(repeat, 1), v.repeat_interleave(repeat, 1), mask,
        scale=attrs.get("scale"))
    emit("attention", name, attrs, inputs, y)


def attention_cases():
    attention("plain", (2, 2, 3, 4), (2, 2, 5, 4), (2, 2, 5, 3))
    attention("scale", (1, 2, 3, 4), (1, 2, 3, 4), (1, 2, 3, 4), scale=0.25)
    attention("causal", (1, 2, 4, 3), (1, 2, 4, 3), (1, 2, 4, 3), causal=1)
    attention("causal_more_keys", (1, 1, 3, 4), (1, 1, 5, 4), (1, 1, 5, 2), causal=1)
    attention("grouped", (1, 6, 3, 4), (1, 2, 4, 4), (1, 2, 4, 4))
    attention("one_key_head", (2, 3, 2, 4), (2, 1, 4, 4), (2, 1, 4, 3), causal=1)
    attention("bias", (2, 2, 3, 4), (2, 2, 4, 4), (2, 2, 4, 4), bias=(2, 2, 3, 4))
    attention("bias_of_heads", (2, 2, 3, 4), (2, 2, 4, 4), (2, 2, 4, 4), bias=(2, 1, 1))
    attention("bias_of_keys", (2, 4, 3, 4), (2, 2, 4, 4), (2, 2, 4, 4), bias=(2, 1, 1, 4), causal=1)


class ChannelAttention(torch.nn.Module):
    """What feeds `ca`: the reduction's convolutions are outside of the op."""

    def __init__(self, dim, reduction):
        super().__init__()
        self.gap = torch.nn.AdaptiveAvgPool2d(1)
        self.ca = torch.nn.Sequential(
            torch.nn.Conv2d(dim, dim // reduction, 1), torch.nn.ReLU(),
            torch.nn.Conv2d(dim // reduction, dim, 1))

    def forward(self, x):
        return self.ca(self.gap(x))


class Attention(torch.nn.Module):
    """CGA of DEA-Net (arXiv 2301.04805) as design/reparam.md 2.1 writes it down: the interleaving
    is made for real here."""

    def __init__(self, dim, k):
        super().__init__()
        self.sa = torch.nn.Conv2d(2, 1, k, padding=k // 2, padding_mode="reflect")
        self.channel = ChannelAttention(dim, 2)
        self.pa2 = torch.nn.Conv2d(2 * dim, dim, k, padding=k // 2, padding_mode="reflect",
                                   groups=dim)
        for p in self.parameters():
            p.data = draw(*p.shape, low=-0.5, high=0.5)

    def forward(self, r):
        stack = torch.cat([r.mean(1, keepdim=True), r.amax(1, keepdim=True)], 1)
        ca = self.channel(r).float().double()  # an input of the op: exact in f32
        a = self.sa(stack) + ca
        pairs = torch.stack([r, a.expand_as(r)], 2).flatten(1, 2)  # r0, A0, r1, A1, ...
        return stack, ca, torch.sigmoid(self.pa2(pairs))


def pixel_attention(name, dims, k, mix):
    case("pixel_attention", name)
    net = Attention(dims[1], k)
    x, y = draw(*dims), draw(*dims)
    r = x + y if mix else draw(*dims)
    stack, ca, p = net(r)
    ca = ca.detach()
    inputs = [r, stack, ca, net.sa.weight, net.sa.bias,
              net.pa2.weight, net.pa2.bias, x] + ([y] if mix else [])
    if mix:
        p = torch.sigmoid(p)
        out = r + p * x + (1 - p) * y
    else:
        out = r * p + x
    emit("pixel_attention", name, {"mode": "mix"} if mix else {},
         [t.detach() for t in inputs], out.detach())


def channel_stats(name, dims, two):
    case("channel_stats", name)
    x, y = draw(*dims), draw(*dims) if two else None
    i = x + y if two else x
    stack = torch.cat([i.mean(1, keepdim=True), i.amax(1, keepdim=True)], 1)
    outputs = [stack, torch.nn.AdaptiveAvgPool2d(1)(i)] + ([i] if two else [])
    emit("channel_stats", name, {"outputs": len(outputs)}, [x, y] if two else [x], outputs)


def dea_net_cases():
    channel_stats("one", (2, 5, 3, 4), False)
    channel_stats("sum", (2, 3, 4, 2), True)
    channel_stats("one_pixel", (1, 4, 1, 1), True)
    pixel_attention("gate", (1, 4, 6, 5), 7, False)
    pixel_attention("gate_batch", (2, 2, 3, 4), 3, False)
    pixel_attention("mix", (1, 4, 5, 6), 7, True)
    pixel_attention("mix_batch", (2, 2, 4, 3), 5, True)
