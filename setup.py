"""The library's packaging; all of it stands in pyproject.toml but the version, which package.xml states."""

from pathlib import Path
from xml.etree import ElementTree

from setuptools import setup

PACKAGE_XML = Path(__file__).with_name("package.xml")

setup(version=ElementTree.parse(PACKAGE_XML).findtext("version"))
