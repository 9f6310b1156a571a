#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Adds up JUnit files (meson-logs/testlog.junit.xml, gtest --gtest_output=xml) and prints
"PASSED FAILED SKIPPED", with the names of what failed before it on stderr."""
import sys
import xml.etree.ElementTree as ET


def main(paths):
    counts = {"passed": 0, "failed": 0, "skipped": 0}
    for path in paths:
        for suite in ET.parse(path).getroot().iter("testsuite"):
            for case in suite.findall("testcase"):
                name = f"{suite.get('name')}.{case.get('name')}"
                if case.find("failure") is not None or case.find("error") is not None:
                    counts["failed"] += 1
                    print(f"FAILED  {name}", file=sys.stderr)
                elif case.find("skipped") is not None or case.get("status") == "notrun":
                    counts["skipped"] += 1
                    print(f"skipped {name}", file=sys.stderr)
                else:
                    counts["passed"] += 1
    print(counts["passed"], counts["failed"], counts["skipped"])


if __name__ == "__main__":
    main(sys.argv[1:])
