"""Run a module as a program that ends when the process that started it is gone, even if that was killed:

python -m lowlat_seg_ros.ros.tied_process PARENT MODULE ARGUMENTS...
"""

from __future__ import annotations

import ctypes
import os
import runpy
import signal
import sys
from typing import Final

PR_SET_PDEATHSIG: Final = 1  # from Linux' sys/prctl.h; prctl(2)


def main() -> None:
    """``PARENT`` is the process id of who has started this one."""
    parent, module, *arguments = sys.argv[1:]
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
    if os.getppid() != int(parent):
        return  # it was gone before this process asked to be told
    sys.argv = [module, *arguments]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
