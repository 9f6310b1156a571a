"""Makes the demo pictures: a clear photograph and its hazy version.

    python3 sample.py WORK ../demo

The photograph (lake-sherburne, CC0) is a held-out one. The haze is the "luma"
depth of haze.py with a fixed seed: thicker toward the bright, distant part.
"""
import os
import sys

import numpy as np
from PIL import Image

import haze

PHOTO = ("x/budgie-backgrounds/usr/share/backgrounds/budgie/"
         "lake-sherburne.jpg")
WIDTH, SEED, BETA, AIR = 640, 0, 1.3, (0.80, 0.81, 0.83)


def main(work, folder):
    image = Image.open(os.path.join(work, PHOTO)).convert("RGB")
    height = round(image.height * WIDTH / image.width)
    image = image.resize((WIDTH, height), Image.LANCZOS)
    image.save(os.path.join(folder, "sample_clear.png"), optimize=True)
    clear = haze.from_bytes(np.asarray(image))
    rng = np.random.default_rng(SEED)
    t = np.exp(-BETA * haze.depth(rng, clear, "luma"))
    t = np.maximum(t, haze.MIN_T)[:, :, None]
    hazy = haze.composite(clear, t, np.float32(AIR), False)
    Image.fromarray(haze.to_bytes(hazy)).save(
        os.path.join(folder, "sample_hazy.png"), optimize=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
