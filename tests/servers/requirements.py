"""Prints the requirements of an installed package, except for torch and its companions. `requirements.py PACKAGE`"""

import importlib.metadata
import sys

from pip._vendor.packaging.requirements import Requirement

TORCH = {"torch", "torchaudio", "torchvision", "torchcodec"}

for line in importlib.metadata.requires(sys.argv[1]) or []:
    requirement = Requirement(line)
    applies = requirement.marker is None or requirement.marker.evaluate({"extra": ""})
    if applies and requirement.name not in TORCH:
        print(line.split(";")[0].strip())
