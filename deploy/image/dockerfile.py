"""The Dockerfile of a Bento."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from deploy.bento import Bento
from switchyard.errors import InvalidInput

__all__ = ["CUDA_IMAGE", "PYTHON_IMAGE", "render"]

PYTHON_IMAGE: Final = "docker.io/library/python:3.11-slim"
"""Where packages are installed, and what the image is based on."""

CUDA_IMAGE: Final = "docker.io/nvidia/cuda:13.0.1-base-ubuntu24.04"
"""What the image is based on where a host is to have a GPU.

The wheels bring CUDA's libraries along; of the base it takes what the driver's runtime looks for.
"""

HERE: Final = Path(__file__).parent


def render(bento: Bento, *, wheels: bool = False, base_image: str | None = None) -> str:
    """Returns the Dockerfile of a Bento; its build context is the Bento with its models beside it.

    Args:
        bento: The Bento. One with a host that declares a GPU gets the CUDA base and GPU wheels.
        wheels: Whether the folder `wheels` of the context has wheels that the index does not have;
            without it, torch for CPUs comes from PyTorch's own index.
        base_image: Image to take instead of Docker Hub's, such as a copy in a registry of yours.

    Raises:
        InvalidInput: Both torch and TensorFlow are to have GPUs.
    """
    on_gpu = {str(host.framework) for host in bento.hosts if host.gpu}
    if on_gpu >= {"torch", "tensorflow"}:
        raise InvalidInput(
            f"The hosts of torch and of TensorFlow in {bento.tag} both declare GPUs, but one image "
            "cannot hold both: torch brings CUDA 13, TensorFlow CUDA 12, and cuDNN of each lies at "
            "the same place. Give a GPU to one of them, or make an image of each: "
            "make image FRAMEWORKS=torch."
        )
    gpu = bool(on_gpu)
    frameworks = sorted({str(host.framework) for host in bento.hosts})
    python = base_image if base_image and not gpu else PYTHON_IMAGE
    base = base_image or (CUDA_IMAGE if gpu else PYTHON_IMAGE)
    options = ""
    if wheels:
        options = " --find-links /build/wheels"
    elif "torch" in frameworks and "torch" not in on_gpu:
        options = " --torch-backend cpu"
    environment = Environment(
        loader=FileSystemLoader(HERE),
        undefined=StrictUndefined,
        trim_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,
    )
    return environment.get_template("Dockerfile.j2").render(
        tag=bento.tag,
        gpu=gpu,
        wheels=wheels,
        options=options,
        python_image=python,
        base_image=base,
        python_version="3.11",
        labels={
            "org.opencontainers.image.title": "switchyard",
            "org.opencontainers.image.description": "Models behind one router, on BentoML",
            "org.opencontainers.image.version": bento.version,
            "org.opencontainers.image.base.name": base,
            "switchyard.bento": bento.tag,
            "switchyard.frameworks": ",".join(frameworks),
            "switchyard.models": ",".join(bento.models),
        },
    )
