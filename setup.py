"""The library's packaging: its version, which package.xml states, and its C++ kernels; pyproject.toml has the rest."""

from pathlib import Path
from xml.etree import ElementTree

from setuptools import Extension, setup

PACKAGE_XML = Path(__file__).with_name("package.xml")

# No extension module: a plain C library that Python loads with ctypes and that wants neither Python's headers nor
# torch's. Where there is no compiler the installation goes on without it.
KERNELS = Extension(
    "lowlat_seg_ros.kernels._kernels",
    sources=[
        "src/carried_logits.cpp",
        "src/classifier_steps.cpp",
        "src/halved_image.cpp",
        "src/inverted_residual.cpp",
        "src/labels_from_logits.cpp",
        "src/matched_transport.cpp",
        "src/spatially_variant_convolution.cpp",
        "src/used_cpu.cpp",
    ],
    depends=["src/bilinear.hpp", "src/parallel_rows.hpp", "src/vectors.hpp"],
    extra_compile_args=["-std=c++17", "-O3", "-ffp-contract=fast", "-fvisibility=hidden", "-Wno-psabi"],
    optional=True,
)

setup(version=ElementTree.parse(PACKAGE_XML).findtext("version"), ext_modules=[KERNELS])
