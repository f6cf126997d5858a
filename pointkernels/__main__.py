"""`python -m pointkernels`: what this build is and what it uses on this machine."""

from __future__ import annotations

import torch

from pointkernels import build_info


def main() -> None:
    """Print the build information as aligned lines."""
    info = build_info()
    devices = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    lines = {
        "pointkernels": info["version"],
        "built against torch": info["torch"],
        "running with torch": torch.__version__,
        "compiler": info["compiler"],
        "CUDA": info["cuda"] or "not built",
        "CUDA architectures": info["cuda_architectures"] or "none",
        "CUDA devices": ", ".join(devices) or "none",
        "CPU instruction sets": f"{', '.join(info['isas_compiled'])} (here: {', '.join(info['isas_usable'])})",
        "CPU instruction set in use": info["isa"],
        "CPU threads": str(torch.get_num_threads()),
    }
    width = max(map(len, lines))
    for name, value in lines.items():
        print(f"{name:<{width}}  {value}")


if __name__ == "__main__":
    main()
