"""DEA-Net for any base width, with the key names of the official unfolded
checkpoints (388 tensors).

A DEConv has five parallel 3x3 branches: vanilla, and four that look at pixel
differences (central, angular, horizontal, vertical). All are linear in the
input, so even in training the five kernels are added first and one convolution
runs; the gradient reaches every branch. Refold does the same sum once, at load.
"""
import torch
import torch.nn as nn
import torch.nn.functional as F

# angular branch: tap t keeps its weight and loses that of its ring neighbour
ANGULAR_NEIGHBOUR = [3, 0, 1, 6, 4, 2, 7, 8, 5]


class Branch(nn.Module):
    """Holds a weight under `.conv`, as the official difference branches do."""

    def __init__(self, conv):
        super().__init__()
        self.conv = conv


class DEConv(nn.Module):
    def __init__(self, dim):
        super().__init__()
        self.conv1_1 = Branch(nn.Conv2d(dim, dim, 3))   # central
        self.conv1_2 = Branch(nn.Conv1d(dim, dim, 3))   # horizontal
        self.conv1_3 = Branch(nn.Conv1d(dim, dim, 3))   # vertical
        self.conv1_4 = Branch(nn.Conv2d(dim, dim, 3))   # angular
        self.conv1_5 = nn.Conv2d(dim, dim, 3)           # vanilla
        self.register_buffer("ring", torch.tensor(ANGULAR_NEIGHBOUR),
                             persistent=False)

    def folded(self):
        c = self.conv1_1.conv.weight.flatten(2)
        h = self.conv1_2.conv.weight
        v = self.conv1_3.conv.weight
        a = self.conv1_4.conv.weight.flatten(2)
        n = self.conv1_5.weight
        centre = F.pad(c.sum(2, keepdim=True), (4, 4))
        zero = torch.zeros_like(h)
        left_minus_right = torch.stack([h, zero, -h], 3).flatten(2)
        top_minus_bottom = torch.cat([v, zero, -v], 2)
        taps = (c - centre + left_minus_right + top_minus_bottom
                + a - a[:, :, self.ring])
        bias = (self.conv1_1.conv.bias + self.conv1_2.conv.bias
                + self.conv1_3.conv.bias + self.conv1_4.conv.bias
                + self.conv1_5.bias)
        return n + taps.view_as(n), bias

    def forward(self, x):
        weight, bias = self.folded()
        return F.conv2d(x, weight, bias, padding=1)


class ChannelAttention(nn.Module):
    def __init__(self, dim, reduction):
        super().__init__()
        self.ca = nn.Sequential(nn.Conv2d(dim, dim // reduction, 1),
                                nn.ReLU(),
                                nn.Conv2d(dim // reduction, dim, 1))

    def forward(self, x):
        return self.ca(x.mean((2, 3), keepdim=True))


class SpatialAttention(nn.Module):
    def __init__(self):
        super().__init__()
        self.sa = nn.Conv2d(2, 1, 7, padding=3, padding_mode="reflect")

    def forward(self, x):
        stack = torch.cat([x.mean(1, keepdim=True), x.amax(1, keepdim=True)], 1)
        return self.sa(stack)


class PixelAttention(nn.Module):
    def __init__(self, dim):
        super().__init__()
        self.pa2 = nn.Conv2d(2 * dim, dim, 7, padding=3, padding_mode="reflect",
                             groups=dim)

    def forward(self, x, pattern):
        pairs = torch.stack([x, pattern], 2).flatten(1, 2)
        return torch.sigmoid(self.pa2(pairs))


class DEBlock(nn.Module):
    def __init__(self, dim):
        super().__init__()
        self.conv1 = DEConv(dim)
        self.conv2 = nn.Conv2d(dim, dim, 3, padding=1)

    def body(self, x):
        return self.conv2(F.relu(self.conv1(x)) + x)

    def forward(self, x):
        return self.body(x) + x


class DEABlock(DEBlock):
    def __init__(self, dim, reduction=8):
        super().__init__(dim)
        self.sa = SpatialAttention()
        self.ca = ChannelAttention(dim, reduction)
        self.pa = PixelAttention(dim)

    def forward(self, x):
        r = self.body(x)
        return r * self.pa(r, self.sa(r) + self.ca(r)) + x


class Fusion(nn.Module):
    def __init__(self, dim, reduction):
        super().__init__()
        self.sa = SpatialAttention()
        self.ca = ChannelAttention(dim, reduction)
        self.pa = PixelAttention(dim)
        self.conv = nn.Conv2d(dim, dim, 1)

    def forward(self, x, y):
        i = x + y
        # the official code applies a second sigmoid to the sigmoid map
        p = torch.sigmoid(self.pa(i, self.sa(i) + self.ca(i)))
        return self.conv(i + p * x + (1 - p) * y)


def _up(cin, cout):
    return nn.Sequential(
        nn.ConvTranspose2d(cin, cout, 3, 2, 1, output_padding=1), nn.ReLU())


def _down(cin, cout):
    return nn.Sequential(nn.Conv2d(cin, cout, 3, 2, 1), nn.ReLU())


class DEANet(nn.Module):
    def __init__(self, base=32):
        super().__init__()
        b1, b2, b4 = base, 2 * base, 4 * base
        self.down1 = nn.Sequential(nn.Conv2d(3, b1, 3, padding=1))
        self.down2 = _down(b1, b2)
        self.down3 = _down(b2, b4)
        for i in range(1, 5):
            setattr(self, f"down_level1_block{i}", DEBlock(b1))
            setattr(self, f"down_level2_block{i}", DEBlock(b2))
            setattr(self, f"up_level2_block{i}", DEBlock(b2))
            setattr(self, f"up_level1_block{i}", DEBlock(b1))
        for i in range(1, 9):
            setattr(self, f"level3_block{i}", DEABlock(b4))
        self.fe_level_2 = nn.Conv2d(b2, b2, 3, padding=1)
        self.fe_level_3 = nn.Conv2d(b4, b4, 3, padding=1)
        self.up1 = _up(b4, b2)
        self.up2 = _up(b2, b1)
        self.up3 = nn.Sequential(nn.Conv2d(b1, 3, 3, padding=1))
        self.mix1 = Fusion(b4, 8)
        self.mix2 = Fusion(b2, 4)

    def _blocks(self, name, count, x):
        for i in range(1, count + 1):
            x = getattr(self, f"{name}_block{i}")(x)
        return x

    def forward(self, x):
        t1 = self._blocks("down_level1", 4, self.down1(x))
        d2 = self.down2(t1)
        t2 = self._blocks("down_level2", 4, self.fe_level_2(d2))
        d3 = self.down3(t2)
        t3 = self._blocks("level3", 8, self.fe_level_3(d3))
        u = self.up1(self.mix1(d3, t3))
        u = self._blocks("up_level2", 4, u)
        u = self.up2(self.mix2(d2, u))
        return self.up3(self._blocks("up_level1", 4, u))


def base_of(state):
    return state["down1.0.weight"].shape[0]


def load_state(path):
    """The unfolded state dict of a checkpoint, bare or under "model"."""
    data = torch.load(path, map_location="cpu", weights_only=True)
    return data.get("model", data)


def load(path):
    state = load_state(path)
    net = DEANet(base_of(state))
    net.load_state_dict(state)
    return net.eval()


def restore(net, x):
    """Official inference: reflect-pad to a multiple of 4, clamp, crop."""
    h, w = x.shape[2:]
    padded = F.pad(x, (0, -w % 4, 0, -h % 4), "reflect")
    return net(padded).clamp(0, 1)[:, :, :h, :w]


@torch.no_grad()
def near_identity(net):
    """Starts the net close to "copy the picture" (needs base >= 6).

    DEA-Net has no global residual; from default weights it spends its first
    hundreds of steps learning to copy. RGB travels in channels 0-2 of level 1
    and, by a space-to-depth, in channels 0-11 of level 2.
    """
    for module in net.modules():
        if isinstance(module, DEBlock):
            module.conv2.weight.mul_(0.1)
            module.conv2.bias.zero_()
    down1, down2 = net.down1[0], net.down2[0]
    up1, up2, up3, mix2 = net.up1[0], net.up2[0], net.up3[0], net.mix2
    down1.weight[:3] = 0
    down1.bias[:3] = 0
    down2.weight[:12] = 0
    down2.bias[:12] = 0
    up1.weight[:, :12] *= 0.05
    up2.weight[:, :3] *= 0.05
    up2.bias[:3] = 0
    up3.weight.mul_(0.05)
    mix2.pa.pa2.weight.mul_(0.1)
    mix2.pa.pa2.bias.zero_()
    mix2.conv.weight[:12] *= 0.05
    for c in range(3):
        down1.weight[c, c, 1, 1] = 1
        up3.weight[c, c, 1, 1] = 1
        for dy in range(2):
            for dx in range(2):
                k = 4 * c + 2 * dy + dx
                down2.weight[k, c, 1 + dy, 1 + dx] = 1
                up2.weight[k, :3] = 0
                up2.weight[k, c, 1 + dy, 1 + dx] = 1
                # 1 + sigmoid(sigmoid(0)): what the fusion multiplies x with
                mix2.conv.weight[k, k] = 1 / 1.6225
    return net
