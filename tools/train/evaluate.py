"""Held-out scores of a checkpoint.

    python3 evaluate.py make WORK
        WORK/heldout/{hazy,hazy_s2}/NAME.png from WORK/heldout/ref/NAME.png
    python3 evaluate.py score MODEL WORK [--out DIR]
        mean PSNR / SSIM, hazy -> restored, per synthesis; clean in
    python3 evaluate.py restore MODEL IN.png OUT.png

The hazy pictures are made once and stored as 8-bit PNG, so that any other
program (Refold itself) is scored on exactly the same input. Scores are taken
on the float output, clamped to [0, 1].
"""
import argparse
import os
import zlib

import numpy as np
import torch
from PIL import Image

import haze
import metrics
import model


def read(path):
    image = np.asarray(Image.open(path).convert("RGB"))
    return haze.from_bytes(image)


def write(path, image):
    Image.fromarray(haze.to_bytes(image)).save(path)


def tensor(image):
    return torch.from_numpy(image).permute(2, 0, 1)[None].contiguous()


def names(folder):
    return sorted(n for n in os.listdir(folder) if n.endswith(".png"))


def make(work):
    ref = os.path.join(work, "heldout", "ref")
    for folder in ("hazy", "hazy_s2"):
        os.makedirs(os.path.join(work, "heldout", folder), exist_ok=True)
    for i, name in enumerate(names(ref)):
        clear = read(os.path.join(ref, name))
        # seeded by the name: adding a picture changes no other one
        rng = np.random.default_rng(zlib.crc32(name.encode()))
        kind = haze.DEPTH_KINDS[i % len(haze.DEPTH_KINDS)]
        s1 = haze.s1(rng, clear, kind)
        write(os.path.join(work, "heldout", "hazy", name), s1)
        write(os.path.join(work, "heldout", "hazy_s2", name),
              haze.s2(rng, clear))


@torch.no_grad()
def run(net, image):
    return model.restore(net, tensor(image))


def save_tensor(path, out):
    write(path, out[0].permute(1, 2, 0).numpy())


def score_folder(net, ref, hazy, out=None):
    """Rows of (name, psnr before, psnr after, ssim before, ssim after)."""
    rows = []
    for name in names(ref):
        clear = tensor(read(os.path.join(ref, name)))
        image = read(os.path.join(hazy, name))
        restored = run(net, image)
        if out:
            os.makedirs(out, exist_ok=True)
            save_tensor(os.path.join(out, name), restored)
        before = tensor(image)
        rows.append((name, metrics.psnr(before, clear),
                     metrics.psnr(restored, clear),
                     metrics.ssim(before, clear).item(),
                     metrics.ssim(restored, clear).item()))
    return rows


def report(title, rows):
    values = np.array([r[1:] for r in rows])
    mean, gain = values.mean(0), values[:, 1] - values[:, 0]
    worst = rows[int(gain.argmin())]
    print(f"{title}: {len(rows)} photos, PSNR {mean[0]:.2f} -> {mean[1]:.2f} dB"
          f" (mean gain {gain.mean():+.2f}, median {np.median(gain):+.2f}), "
          f"SSIM {mean[2]:.3f} -> {mean[3]:.3f}; "
          f"worse than before: {(gain < 0).sum()}; worst {gain.min():+.2f} dB "
          f"({worst[1]:.1f} -> {worst[2]:.1f}, {worst[0]})")


def score_clean(net, ref):
    values, shift = [], []
    for name in names(ref):
        clear = tensor(read(os.path.join(ref, name)))
        out = run(net, read(os.path.join(ref, name)))
        values.append(metrics.psnr(out, clear))
        shift.append((out - clear).mean().item())
    print(f"clean in: PSNR {np.mean(values):.2f} dB, lowest "
          f"{np.min(values):.2f}, brightness shift {np.mean(shift):+.4f}")


def score(path, work, out, verbose):
    net = model.load(path)
    held = os.path.join(work, "heldout")
    ref = os.path.join(held, "ref")
    for folder, title in (("hazy", "S1"), ("hazy_s2", "S2")):
        target = out and os.path.join(out, folder)
        rows = score_folder(net, ref, os.path.join(held, folder), target)
        report(title, rows)
        if verbose:
            for r in rows:
                print("  %-70s %6.2f -> %6.2f  %.3f -> %.3f" % r)
    score_clean(net, ref)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("what", choices=("make", "score", "restore"))
    parser.add_argument("paths", nargs="+")
    parser.add_argument("--out")
    parser.add_argument("--verbose", action="store_true")
    args = parser.parse_args()
    torch.set_num_threads(1)
    if args.what == "make":
        make(args.paths[0])
    elif args.what == "score":
        score(args.paths[0], args.paths[1], args.out, args.verbose)
    else:
        net = model.load(args.paths[0])
        save_tensor(args.paths[2], run(net, read(args.paths[1])))


if __name__ == "__main__":
    main()
