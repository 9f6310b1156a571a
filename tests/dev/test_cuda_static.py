#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""No hot CUDA kernel spills (needs nvcc: compiles some families for sm_90a); and the tools that
read the compiler's output and predict from it do their sums right (needs nothing)."""
import os
import pathlib
import sys
import unittest

ROOT = pathlib.Path(os.environ.get("RF_SOURCE_ROOT") or pathlib.Path(__file__).resolve().parents[2])
sys.path[:0] = [str(ROOT / "tools" / "dev"), str(ROOT / "bench" / "roofline")]
import cuda_static  # noqa: E402
import roofline  # noqa: E402

NVCC = cuda_static.tool("nvcc", os.environ.get("RF_NVCC"))
LOG = """ptxas info    : Compiling entry function '_Z7pa_halfI6__halfLi7EEv1P' for 'sm_90a'
ptxas info    : Function properties for _Z7pa_halfI6__halfLi7EEv1P
    8 bytes stack frame, {stores} bytes spill stores, {loads} bytes spill loads
ptxas info    : Used 128 registers, used 1 barriers, 64 bytes smem
ptxas info    : Compiling entry function '_Z4pa_sILi7EEv1P' for 'sm_90a'
ptxas info    : Function properties for _Z4pa_sILi7EEv1P
    0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads
ptxas info    : Used 38 registers, used 1 barriers
"""

# A loop of 4 products whose first branch jumps over a rare load; inside that a loop without any.
SASS = """
\t.section\t.nv.info._Z1kv,"",@"SHT_CUDA_INFO"
\t//----- nvinfo : EIATTR_MAX_THREADS
\t.align\t\t4
.L_1:
        /*0000*/ \t.byte\t0x04, 0x05
        /*0004*/ \t.word\t0x00000100
\t.section\t.text._Z1kv,"ax",@progbits
        /*0000*/                   MOV R1, c[0x0][0x28] ;
.L_x_0:
        /*0010*/               @P0 BRA `(.L_x_2) ;
.L_x_1:
        /*0020*/                   LDGSTS.E.BYPASS.128 [R2], [R4.64] ;
        /*0030*/              @!P1 BRA `(.L_x_1) ;
.L_x_2:
        /*0040*/                   LDSM.16.M88.4 R8, [R2] ;
        /*0050*/                   HMMA.16816.F32 R12, R8, R10, R12 ;
        /*0060*/                   HMMA.16816.F32 R16, R8, R10, R16 ;
        /*0070*/                   HMMA.16816.F32 R20, R8, R10, R20 ;
        /*0080*/                   HMMA.16816.F32 R24, R8, R10, R24 ;
        /*0090*/                   IADD3 R2, R2, 0x10, RZ ;
        /*00a0*/               @P2 BRA `(.L_x_0) ;
        /*00b0*/                   EXIT ;
.L_x_9:
        /*00c0*/                   BRA `(.L_x_9) ;
"""


def kernels_of(stores, loads):
    facts = cuda_static.parse_ptxas(LOG.format(stores=stores, loads=loads))
    return [{"family": "pixel_attention", "name": name, "base": cuda_static.base_name(name), **f}
            for name, f in facts.items()]


class Static(unittest.TestCase):
    def test_spills_are_found_and_nothing_else(self):
        self.assertEqual(cuda_static.problems_of(kernels_of(0, 0), ["pixel_attention"]), [])
        for spill in ((4, 0), (0, 8)):
            found = cuda_static.problems_of(kernels_of(*spill), ["pixel_attention"])
            self.assertEqual(len(found), 1, found)
            self.assertIn("pa_half", found[0])
        self.assertEqual(kernels_of(0, 0)[0]["static_shared"], 64)
        self.assertEqual(kernels_of(0, 0)[1]["registers"], 38)

    def test_a_hot_kernel_that_is_gone_is_missed(self):
        found = cuda_static.problems_of(kernels_of(0, 0)[:1], ["pixel_attention"])
        self.assertEqual(len(found), 1)
        self.assertIn("no kernel 'pa_s'", found[0])

    def test_the_loop_with_the_products_is_counted_on_its_cheapest_path(self):
        threads, code = cuda_static.parse_sass(SASS)["_Z1kv"]
        self.assertEqual(threads, 256)
        self.assertEqual(sorted(len(body) for body in cuda_static.loops_of(code)), [1, 2, 10])
        loop = cuda_static.mix_of(code)
        self.assertEqual(loop["mix"], {"HMMA": 4, "LDSM": 1, "integer": 1, "control": 2})
        self.assertFalse(loop["whole"])
        self.assertEqual(loop["clocks"], {"tensor": 6.5, "issue": 2, "shared": 4})

    def test_a_kernel_without_products_has_no_loop(self):
        _, code = cuda_static.parse_sass(SASS.replace("HMMA.16816.F32", "LDG.E"))["_Z1kv"]
        self.assertIsNone(cuda_static.mix_of(code))
        self.assertIsNone(cuda_static.mix_of([]))

    def test_occupancy(self):
        for args, want in (((128, 256, 51360), (2, 16, "registers")),
                           ((123, 128, 70272), (3, 12, "shared")),
                           ((32, 1024, 0), (2, 64, "registers")), ((16, 32, 0), (32, 32, "blocks"))):
            got = cuda_static.occupancy(*args)
            self.assertEqual((got["blocks"], got["warps"], got["limit"]), want, args)

    def test_shared_memory_comes_from_the_headers(self):
        constants = cuda_static.header_constants()
        launch = cuda_static.launches_of({"name": "pa_half<__half, 7>", "threads": 256}, constants)
        self.assertEqual([bytes for _, bytes, _ in launch], [51360, 67744])

    @unittest.skipUnless(NVCC, "no nvcc")
    def test_no_hot_kernel_spills(self):
        families = sorted(cuda_static.HOT)
        kernels = cuda_static.survey(NVCC, None, families)
        self.assertEqual(cuda_static.problems_of(kernels, families), [])


def tensor(dims, dtype_bytes, memory, stored="arena"):
    n = dtype_bytes
    for d in dims:
        n *= d
    return {"dims": dims, "bytes": n, "memory": memory, "stored": stored, "dtype": "f16"}


class Roofline(unittest.TestCase):
    LOOP = {"mix": {"HMMA": 32}, "ffma": 0, "clocks": {"tensor": 50.0, "shared": 48, "issue": 20.0}}
    STATIC = {"kernels": [{"name": "mma_resident<__half>(", "loop": LOOP}]}
    EVIDENCE = roofline.Evidence(STATIC)

    def conv(self, c):
        x = tensor([1, c, 512, 528], 2, 1)
        return {"op": "conv2d", "kernel": "sim.mma", "macs": 512 * 528 * c * c * 9,
                "scratch_bytes": 0, "in": [x, tensor([c, c, 3, 3], 4, 2, "const"), None, dict(x)],
                "out": [tensor([1, c, 512, 528], 2, 3)]}

    def test_bytes_count_every_memory_once(self):
        image = 512 * 528 * 32 * 2
        self.assertEqual(roofline.bytes_of(self.conv(32)), 2 * image + 32 * 32 * 9 * 4)
        self.assertEqual(roofline.bytes_of(self.conv(32), 4), 5 * image + 32 * 32 * 9 * 4)

    def test_a_convolution_takes_its_busiest_unit(self):
        part = roofline.predict(self.conv(32), self.EVIDENCE)
        warps = 512 * 528 // 64  # 1056 tiles of 256 pixels: 8 for every SM
        want = warps * 9 * 50 / (roofline.SMS * roofline.CLOCK * roofline.REACHED)
        self.assertAlmostEqual(part["compute"], want, delta=want * 1e-9)
        self.assertGreater(part["apart"], part["overlapped"])
        self.assertLess(part["floor"], part["overlapped"])
        self.assertEqual(part["row"], "mma (mma_resident) 32 to 32")

    def test_slower_and_faster_tensor_cores(self):
        told = roofline.predict(self.conv(32), self.EVIDENCE)["compute"]
        half = roofline.predict(self.conv(32), roofline.Evidence(self.STATIC, 0.31))["compute"]
        fast = roofline.predict(self.conv(32), roofline.Evidence(self.STATIC, 1))["compute"]
        self.assertAlmostEqual(half, 2 * told)
        self.assertAlmostEqual(fast, told * 48 / 50, msg="shared memory is next")

    def test_a_tail_of_blocks_costs_a_round(self):
        self.assertEqual(roofline.uneven(132), 1)
        self.assertAlmostEqual(roofline.uneven(133), 2 * 132 / 133)

    def test_evidence_of_another_version_is_refused(self):
        with self.assertRaises(SystemExit) as raised:
            roofline.predict(self.conv(128), self.EVIDENCE)
        self.assertIn("mma_stream<__half>", str(raised.exception))


if __name__ == "__main__":
    unittest.main()
