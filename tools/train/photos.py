"""Finds the photographs in the unpacked packages and prepares the data sets.

    python3 photos.py sheets WORK    contact sheets of every candidate
    python3 photos.py prepare WORK   WORK/train_{288,480}.npz, WORK/heldout/

Which pictures are used, and for what, is written down by hand in photos.txt
(one `train NAME` or `heldout NAME` a line): drawings, renders, night scenes and
pictures that are already hazy do harm as a target, and no program sees that.
"""
import glob
import hashlib
import io
import os
import sys

import numpy as np
from PIL import Image, ImageDraw

import rcc

Image.MAX_IMAGE_PIXELS = None
RCC_WITH_PHOTOS = ("categorization", "details", "erase",
                   "explore_farm_animals", "explore_monuments",
                   "explore_world_animals", "explore_world_music",
                   "watercycle", "instruments", "photo_hunter")
ENDINGS = (".jpg", ".jpeg", ".png", ".webp")
MIN_SIDE = 280
SIDES = (288, 480)


def _files(work):
    """(name, bytes) of every picture file in the packages."""
    root = os.path.join(work, "x")
    for path in sorted(glob.glob(root + "/**/*", recursive=True)):
        rel = os.path.relpath(path, root)
        package, base = rel.split("/")[0], os.path.basename(path)
        if base.endswith(".rcc"):
            if base[:-4] not in RCC_WITH_PHOTOS:
                continue
            for name, data in rcc.entries(path):
                if name.lower().endswith(ENDINGS):
                    short = "/".join(name.split("/")[-2:])
                    yield f"{package}:{base[:-4]}/{short}", data
        elif base.lower().endswith(ENDINGS) and not os.path.islink(path):
            with open(path, "rb") as f:
                yield f"{package}:{'/'.join(rel.split('/')[-4:])}", f.read()


def _open(data):
    image = Image.open(io.BytesIO(data))
    if min(image.size) < MIN_SIDE:
        return None
    if image.mode in ("RGBA", "LA", "P") and "A" in image.convert("RGBA").mode:
        alpha = np.asarray(image.convert("RGBA").getchannel("A").resize((64, 64)))
        if alpha.min() < 250:
            return None  # cut-out pictures have no background to put haze in
    return image.convert("RGB")


def candidates(work):
    """(name, picture) of every candidate; of equal files only the first."""
    seen = set()
    for name, data in _files(work):
        digest = hashlib.sha256(data).digest()
        if digest in seen:
            continue
        seen.add(digest)
        try:
            image = _open(data)
        except OSError as error:
            print(f"skipped {name}: {error}", file=sys.stderr)
            continue
        if image is not None:
            yield name.replace(" ", "_"), image


def sheets(work, columns=10, rows=7, cell=150):
    """Contact sheets, numbered in the order of WORK/candidates.txt."""
    items = []
    for name, image in candidates(work):
        image.thumbnail((cell, cell - 14))
        items.append((name, image))
    with open(os.path.join(work, "candidates.txt"), "w") as f:
        f.writelines(f"{i} {name}\n" for i, (name, _) in enumerate(items))
    page = columns * rows
    for start in range(0, len(items), page):
        sheet = Image.new("RGB", (columns * cell, rows * cell), "white")
        draw = ImageDraw.Draw(sheet)
        for k, (name, image) in enumerate(items[start:start + page]):
            x, y = k % columns * cell, k // columns * cell
            sheet.paste(image, (x, y + 12))
            draw.text((x + 1, y), f"{start + k} {name.split('/')[-1][:18]}",
                      fill="black")
        sheet.save(os.path.join(work, f"sheet{start // page}.png"))
    print(len(items), "candidates")


def choices():
    here = os.path.dirname(os.path.abspath(__file__))
    chosen = {}
    with open(os.path.join(here, "photos.txt")) as f:
        for line in f:
            line = line.split("#")[0].split()
            if line:
                chosen[line[1]] = line[0]
    return chosen


def scaled(image, side):
    """Short side to `side`, long side at most 2.2 times that (centre crop)."""
    w, h = image.size
    scale = side / min(w, h)
    size = (max(side, round(w * scale)), max(side, round(h * scale)))
    image = image.resize(size, Image.LANCZOS)
    limit = int(side * 2.2)
    left, top = max(0, size[0] - limit) // 2, max(0, size[1] - limit) // 2
    return image.crop((left, top, left + min(size[0], limit),
                       top + min(size[1], limit)))


def prepare(work):
    chosen = choices()
    train = {side: {} for side in SIDES}
    held = os.path.join(work, "heldout", "ref")
    os.makedirs(held, exist_ok=True)
    found = set()
    for name, image in candidates(work):
        use = chosen.get(name)
        if use is None or name in found:
            continue
        found.add(name)
        flat = name.replace("/", "_").replace(":", "_")
        if use == "train":
            for side in SIDES:
                train[side][flat] = np.asarray(scaled(image, side))
        else:
            stem = os.path.splitext(flat)[0]
            scaled(image, SIDES[0]).save(os.path.join(held, stem + ".png"))
    for side in SIDES:
        np.savez(os.path.join(work, f"train_{side}.npz"), **train[side])
    missing = set(chosen) - found
    if missing:
        print("not found:", *sorted(missing), sep="\n  ")
    print(len(train[SIDES[0]]), "training,",
          sum(u == "heldout" for u in chosen.values()), "held-out photographs")


if __name__ == "__main__":
    if len(sys.argv) != 3 or sys.argv[1] not in ("sheets", "prepare"):
        sys.exit(__doc__)
    {"sheets": sheets, "prepare": prepare}[sys.argv[1]](sys.argv[2])
