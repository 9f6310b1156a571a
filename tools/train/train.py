"""Trains a small DEA-Net dehazer on one CPU thread.

    python3 train.py WORK --minutes 80 [--base 8] [--seed 1]

Reads WORK/train_{288,480}.npz (photos.py prepare), writes WORK/run/last.pth
(averaged weights, every few minutes) and WORK/run/final.pth. The learning rate
follows the wall clock, so the run ends when it should on any machine.
"""
import argparse
import json
import math
import os
import time

import numpy as np
import torch
import torch.nn.functional as F

import haze
import model
from metrics import ssim

PATCH, BATCH = 128, 4
LATE_PATCH, LATE_BATCH = 192, 2   # the last part sees wider context
LATE_FROM = 0.85
PEAK_LR, END_SHARE, WARMUP = 1e-3, 0.02, 50
CLIP = 0.5
SSIM_WEIGHT = 0.15


class Patches:
    def __init__(self, work, seed):
        self.rng = np.random.default_rng(seed)
        self.sets = []
        for side in (288, 480):
            with np.load(os.path.join(work, f"train_{side}.npz")) as data:
                self.sets.append([data[k] for k in data.files])

    def one(self, size):
        pictures = self.sets[self.rng.integers(len(self.sets))]
        picture = pictures[self.rng.integers(len(pictures))]
        top = self.rng.integers(picture.shape[0] - size + 1)
        left = self.rng.integers(picture.shape[1] - size + 1)
        patch = picture[top:top + size, left:left + size]
        return haze.train_pair(self.rng, haze.from_bytes(patch))

    def batch(self, size, count):
        pairs = [self.one(size) for _ in range(count)]
        stack = [torch.from_numpy(np.ascontiguousarray(np.stack(side)))
                 for side in zip(*pairs)]
        # (N, H, W, 3) seen as NCHW is already channels_last
        return [s.permute(0, 3, 1, 2) for s in stack]


def learning_rate(step, progress):
    cosine = 0.5 * (1 + math.cos(math.pi * min(progress, 1)))
    share = END_SHARE + (1 - END_SHARE) * cosine
    return PEAK_LR * share * min(1, (step + 1) / WARMUP)


class Average:
    """Exponential average of the weights; shorter memory at the beginning."""

    def __init__(self, net, decay=0.999):
        self.decay = decay
        self.names = [n for n, _ in net.named_parameters()]
        self.live = list(net.parameters())
        self.mean = [p.detach().clone() for p in self.live]

    @torch.no_grad()
    def update(self, step):
        keep = min(self.decay, (step + 1) / (step + 10))
        torch._foreach_lerp_(self.mean, self.live, 1 - keep)

    def state(self):
        return {n: m.contiguous().float()
                for n, m in zip(self.names, self.mean)}


def save(path, average, facts):
    """The averaged weights under official unfolded names, plus plain facts."""
    temporary = path + ".part"
    torch.save({"model": average.state(), **facts}, temporary)
    os.replace(temporary, path)


def train_step(net, optimizer, hazy, clear):
    with torch.autocast("cpu", dtype=torch.bfloat16):
        out = net(hazy)
    out = out.float()
    l1 = F.l1_loss(out, clear)
    loss = l1 + SSIM_WEIGHT * (1 - ssim(out, clear))
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    torch.nn.utils.clip_grad_norm_(net.parameters(), CLIP)
    optimizer.step()
    return loss.item()


def arguments():
    parser = argparse.ArgumentParser()
    parser.add_argument("work")
    parser.add_argument("--minutes", type=float, default=80)
    parser.add_argument("--base", type=int, default=8)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--save-every", type=float, default=300)
    return parser.parse_args()


def main():
    args = arguments()
    torch.set_num_threads(1)
    torch.manual_seed(args.seed)
    run = os.path.join(args.work, "run")
    os.makedirs(run, exist_ok=True)
    patches = Patches(args.work, args.seed)
    net = model.near_identity(model.DEANet(args.base))
    net = net.to(memory_format=torch.channels_last).train()
    optimizer = torch.optim.AdamW(net.parameters(), lr=PEAK_LR,
                                  betas=(0.9, 0.99), weight_decay=0)
    average = Average(net)
    facts = {"arch": "dea_net", "base": args.base, "seed": args.seed,
             "task": "dehazing", "haze": "S1 wide (tools/train/haze.py)"}
    start = saved = logged = time.monotonic()
    total, step, recent = args.minutes * 60, 0, []
    while (elapsed := time.monotonic() - start) < total:
        progress = elapsed / total
        late = progress >= LATE_FROM
        batch = patches.batch(LATE_PATCH if late else PATCH,
                              LATE_BATCH if late else BATCH)
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(step, progress)
        recent.append(train_step(net, optimizer, *batch))
        average.update(step)
        step += 1
        now = time.monotonic()
        facts.update(steps=step, seconds=round(now - start))
        if now - logged > 30:
            print(json.dumps({"step": step, "seconds": round(now - start),
                              "loss": round(float(np.mean(recent)), 5)}),
                  flush=True)
            logged, recent = now, []
        if now - saved > args.save_every:
            save(os.path.join(run, "last.pth"), average, facts)
            saved = now
    save(os.path.join(run, "final.pth"), average, facts)
    print("done:", step, "steps", flush=True)


if __name__ == "__main__":
    main()
