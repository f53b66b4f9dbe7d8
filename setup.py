"""The library's packaging: its version, which package.xml states, its packages and its C++ kernels.

pyproject.toml has the rest.
"""

from pathlib import Path
from xml.etree import ElementTree

from setuptools import Extension, find_packages, setup
from setuptools.command.build_ext import build_ext

PACKAGE_XML = Path(__file__).with_name("package.xml")

# No extension module: a plain C library that Python loads with ctypes and that wants neither Python's headers nor
# torch's. Where there is no compiler the installation goes on without it.
KERNELS = Extension(
    "lowlat_seg_ros.kernels._kernels",
    sources=[
        "src/carried_logits.cpp",
        "src/classifier_steps.cpp",
        "src/halved_image.cpp",
        "src/labels_from_logits.cpp",
        "src/matched_transport.cpp",
        "src/optical_flow.cpp",
        "src/spatially_variant_convolution.cpp",
        "src/used_cpu.cpp",
    ],
    depends=["src/bilinear.hpp", "src/parallel_rows.hpp", "src/vectors.hpp"],
    extra_compile_args=["-std=c++17", "-O3", "-ffp-contract=fast", "-fvisibility=hidden", "-Wno-psabi"],
    optional=True,
)

PACKAGES = find_packages(include=["lowlat_seg_ros*"], exclude=["lowlat_seg_ros.ros*"])


class BuildKernels(build_ext):
    """Builds them anew: where that fails, the library of an earlier build, of other sources, must not be installed."""

    def build_extension(self, extension: Extension) -> None:
        Path(self.get_ext_fullpath(extension.name)).unlink(missing_ok=True)
        super().build_extension(extension)


setup(
    version=ElementTree.parse(PACKAGE_XML).findtext("version"),
    # The descriptions of networks and recipes of training lie in config/, where ROS 2 looks for them, too.
    packages=[*PACKAGES, "lowlat_seg_ros.config"],
    package_dir={"lowlat_seg_ros": "lowlat_seg_ros", "lowlat_seg_ros.config": "config"},
    package_data={
        "lowlat_seg_ros": ["replay/templates/*", "replay/*.json", "data/*.json", "evaluation/*.json", "models/**"],
        "lowlat_seg_ros.config": ["models/*.yaml", "training/*.yaml"],
    },
    ext_modules=[KERNELS],
    cmdclass={"build_ext": BuildKernels},
)
