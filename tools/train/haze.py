"""Haze synthesis: I = J t + A (1 - t), t = exp(-beta d).

train_pair  what the network is trained on ("S1 wide")
s1          evaluation with the same depth family, sRGB, no noise, no JPEG
s2          evaluation with a synthesis never trained on: depth per superpixel
            on a ground plane (hard edges), linear light, denser, JPEG

All take and give float32 arrays (H, W, 3) in [0, 1], sRGB values.
"""
import io

import numpy as np
from PIL import Image
from scipy import ndimage

DEPTH_KINDS = ("grad", "perlin", "plane", "luma", "const")
# Denser haze hides the picture; asking for it back only trains sky darkening
# and mottle.
MIN_T = 0.1


def n01(f):
    low, high = f.min(), f.max()
    return (f - low) / max(high - low, 1e-6)


def noise_field(rng, h, w):
    """Three octaves of smooth noise, 2 to 8 cells across."""
    total = np.zeros((h, w), np.float32)
    for octave in range(3):
        cells = 2 << octave
        grid = rng.standard_normal((cells + 1, cells + 1)).astype(np.float32)
        field = Image.fromarray(grid).resize((w, h), Image.BICUBIC)
        total += np.asarray(field) / (1 << octave)
    return n01(total)


def _coordinates(h, w):
    y = np.linspace(1, 0, h, dtype=np.float32)[:, None]  # 1 at the top
    x = np.linspace(-0.5, 0.5, w, dtype=np.float32)[None, :]
    return y, x


def _grad(rng, h, w):
    y, x = _coordinates(h, w)
    return (y ** rng.uniform(0.6, 2) + rng.uniform(-0.3, 0.3) * x
            + 0.12 * noise_field(rng, h, w))


def _plane(rng, h, w):
    y, x = _coordinates(h, w)
    planes = [rng.uniform(-1, 1) * y + rng.uniform(-1, 1) * x
              + rng.uniform(-0.3, 0.3) for _ in range(3)]
    return np.maximum(np.minimum(planes[0], planes[1]), planes[2])


def _luma(rng, image):
    """Depth edges on picture edges, mostly bright = far."""
    h, w = image.shape[:2]
    luma = image @ np.float32([0.299, 0.587, 0.114])
    dark = ndimage.minimum_filter(image.min(2), size=max(3, h // 32))
    mix = rng.uniform(0, 1)
    field = ndimage.gaussian_filter(mix * luma + (1 - mix) * dark,
                                    rng.uniform(1, 6))
    sign = 1 if rng.random() < 0.75 else -1
    y, _ = _coordinates(h, w)
    return (sign * n01(field) + rng.uniform(0, 0.8) * y
            + 0.1 * noise_field(rng, h, w))


def depth(rng, image, kind):
    h, w = image.shape[:2]
    if kind == "const":
        return np.full((h, w), rng.uniform(0.15, 1.2), np.float32)
    if kind == "luma":
        field = _luma(rng, image)
    else:
        make = {"grad": _grad, "perlin": noise_field, "plane": _plane}[kind]
        field = make(rng, h, w)
    return rng.uniform(0, 0.6) + rng.uniform(0.15, 1.1) * n01(field)


def to_linear(v):
    return np.where(v <= 0.04045, v / 12.92, ((v + 0.055) / 1.055) ** 2.4)


def to_srgb(v):
    v = np.clip(v, 0, 1)
    return np.where(v <= 0.0031308, v * 12.92, 1.055 * v ** (1 / 2.4) - 0.055)


def composite(image, t, air, linear):
    if not linear:
        return image * t + air * (1 - t)
    return to_srgb(to_linear(image) * t + to_linear(air) * (1 - t))


def jpeg(image, quality):
    buffer = io.BytesIO()
    Image.fromarray(to_bytes(image)).save(buffer, "JPEG", quality=quality)
    return from_bytes(np.asarray(Image.open(buffer)))


def to_bytes(image):
    return (np.clip(image, 0, 1) * 255 + 0.5).astype(np.uint8)


def from_bytes(data):
    return data.astype(np.float32) / 255


def _airlight(rng, image):
    """Mostly grey, sometimes tinted, sometimes brighter on one side."""
    air = np.full(3, rng.uniform(0.6, 1.0))
    draw = rng.random()
    if draw < 0.2:
        air += rng.normal(0, 0.06, 3)
    elif draw < 0.7:
        air += rng.normal(0, 0.025, 3)
    air = air[None, None, :]
    if rng.random() < 0.2:
        _, x = _coordinates(*image.shape[:2])
        air = air * (1 + rng.uniform(-0.2, 0.2) * x[:, :, None])
    return np.clip(air, 0.45, 1)


def _train_beta(rng):
    """8 % no haze at all, 10 % thin haze: without them the network darkens
    pictures that need nothing."""
    draw = rng.random()
    if draw < 0.08:
        return 0.0
    return rng.uniform(0.03, 0.3) if draw < 0.18 else rng.uniform(0.2, 2.3)


def train_pair(rng, clear):
    """Returns (hazy, clear) of one augmented patch."""
    clear = clear[:, ::-1] if rng.random() < 0.5 else clear
    clear = np.clip(clear ** rng.uniform(0.8, 1.25) * rng.uniform(0.8, 1.1),
                    0, 1).astype(np.float32)
    beta = _train_beta(rng)
    hazy = clear
    if beta > 0:
        kind = DEPTH_KINDS[rng.integers(len(DEPTH_KINDS))]
        t = np.exp(-beta * depth(rng, clear, kind))
        t = np.maximum(t, MIN_T)[:, :, None]
        hazy = composite(clear, t, _airlight(rng, clear), rng.random() < 0.5)
    if rng.random() < 0.5:
        hazy = hazy + rng.normal(0, rng.uniform(0, 0.012), hazy.shape)
    if rng.random() < 0.25:
        hazy = jpeg(hazy, int(rng.integers(60, 96)))
    return from_bytes(to_bytes(hazy)), clear


def s1(rng, clear, kind):
    """Haze as in training, at full picture size."""
    t = np.exp(-rng.uniform(0.4, 2.0) * depth(rng, clear, kind))[:, :, None]
    air = np.full(3, rng.uniform(0.6, 1.0))
    if rng.random() < 0.6:
        air += rng.normal(0, 0.025, 3)
    return composite(clear, t, np.clip(air, 0.45, 1)[None, None, :], False)


def s2(rng, clear):
    """Never trained on. Hides some regions almost completely (t near 0.03)."""
    from skimage.segmentation import slic
    h, w = clear.shape[:2]
    regions = slic(clear, n_segments=120, compactness=12, start_label=0)
    count = regions.max() + 1
    y, x = _coordinates(h, w)
    rows = ndimage.mean(np.broadcast_to(y, (h, w)), regions, np.arange(count))
    distance = 1 / (1.15 - rows) - 1 / 1.15
    distance = n01(distance) * rng.uniform(0.85, 1.15, count)
    t = np.exp(-rng.uniform(0.8, 3) * np.clip(distance, 0.05, 1.15))
    t = t[regions][:, :, None]
    tint = rng.normal(0, 0.04, 3)[None, None, :]
    slope = 1 + rng.uniform(-0.2, 0.2) * x[:, :, None]
    air = np.clip((rng.uniform(0.7, 0.95) + tint) * slope, 0.4, 1)
    hazy = composite(clear, t, air, True)
    return jpeg(hazy + rng.normal(0, 0.006, hazy.shape), 88)
