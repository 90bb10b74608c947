"""tinygrad's server from its package. `tinygrad_server.py MODEL PORT`

The package of 0.14 lacks the module with the kernels for AMD's GPUs, which the model imports. A stand-in answers that there are none,
so that tinygrad's own operations are used.
"""

import sys
import types

from tinygrad import nn

NAME = "tinygrad.llm.kernels"


def main() -> None:
    amd = types.ModuleType(f"{NAME}.amd")
    amd.Linear = nn.Linear
    amd.amd_custom_kernels_supported = lambda device: False
    amd.flash_attention = amd.gated_delta_prefill = None
    package = types.ModuleType(NAME)
    package.amd = amd
    sys.modules.setdefault(NAME, package)
    sys.modules.setdefault(amd.__name__, amd)
    from tinygrad.llm import cli

    model, port = sys.argv[1:3]
    sys.argv = ["tinygrad.llm", "--model", model, "--max_context", "1024", "--serve", port]
    cli.main()


main()
