"""PSNR and SSIM on float pictures (N, 3, H, W) in [0, 1]."""
import torch
import torch.nn.functional as F


def psnr(a, b):
    return (-10 * torch.log10(((a - b) ** 2).mean())).item()


def _blur(x, kernel):
    c = x.shape[1]
    x = F.conv2d(x, kernel.view(1, 1, 1, -1).expand(c, -1, -1, -1), groups=c)
    return F.conv2d(x, kernel.view(1, 1, -1, 1).expand(c, -1, -1, -1), groups=c)


def ssim(a, b):
    """Mean SSIM, 11x11 Gaussian window, sigma 1.5, no padding."""
    at = torch.arange(11, dtype=torch.float32) - 5
    kernel = torch.exp(-at ** 2 / (2 * 1.5 ** 2))
    kernel = kernel / kernel.sum()
    maps = _blur(torch.cat([a, b, a * a, b * b, a * b], 1), kernel)
    ma, mb, aa, bb, ab = maps.chunk(5, 1)
    va, vb, cov = aa - ma * ma, bb - mb * mb, ab - ma * mb
    c1, c2 = 0.01 ** 2, 0.03 ** 2
    score = ((2 * ma * mb + c1) * (2 * cov + c2)
             / ((ma * ma + mb * mb + c1) * (va + vb + c2)))
    return score.mean()
