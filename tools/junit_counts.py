"""Prints `PASSED FAILED` of a JUnit report (ctest's or pytest's). A skipped test is not a passed one.

A report without any test is an error: a suite that found nothing to run has proved nothing.
"""

import sys
import xml.etree.ElementTree as ElementTree


def main(path: str) -> int:
    passed = failed = 0
    for case in ElementTree.parse(path).getroot().iter("testcase"):
        if case.find("failure") is not None or case.find("error") is not None or case.get("status") == "fail":
            failed += 1
        elif case.find("skipped") is None and case.get("status") not in ("notrun", "disabled"):
            passed += 1
    if passed + failed == 0:
        print(f"{path}: no test ran", file=sys.stderr)
        return 1
    print(passed, failed)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
