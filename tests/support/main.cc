// SPDX-License-Identifier: Apache-2.0
//
// The main of every test program. Meson takes exit code 77 for "skipped"; GoogleTest returns 0 when
// every test skipped itself, which would be reported as a success.
#include <gtest/gtest.h>

int main(int argc, char **argv)
{
    testing::InitGoogleTest(&argc, argv);
    int status = RUN_ALL_TESTS();
    const testing::UnitTest &all = *testing::UnitTest::GetInstance();
    bool none_ran = all.skipped_test_count() == all.test_to_run_count();
    return status == 0 && all.test_to_run_count() > 0 && none_ran ? 77 : status;
}
