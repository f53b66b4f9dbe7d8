"""Make the ROS 2 wheels of this virtual environment usable by CMake.

The wheels' exported CMake targets name the Python and NumPy headers of the machine that built them
(/opt/python/cp311-cp311/...); CMake stops at "includes non-existent path". This rewrites those paths to the headers of
the Python that runs it. Running it twice changes nothing.
"""

import re
import sys
import sysconfig
from pathlib import Path

import numpy

BUILD_FARM = r"/opt/python/cp3\d+-cp3\d+"


def repaired(cmake: str, python_include: str, numpy_include: str) -> str:
    """The text of a CMake file with the build farm's two header folders replaced."""
    cmake = re.sub(rf"{BUILD_FARM}/lib/python3\.\d+/site-packages/numpy/_core/include", lambda _: numpy_include, cmake)
    return re.sub(rf"{BUILD_FARM}/include/python3\.\d+", lambda _: python_include, cmake)


def main() -> None:
    for file in Path(sys.prefix, "share").glob("**/*.cmake"):
        before = file.read_text(encoding="utf-8")
        after = repaired(before, sysconfig.get_path("include"), numpy.get_include())
        if after != before:
            file.write_text(after, encoding="utf-8")


if __name__ == "__main__":
    main()
