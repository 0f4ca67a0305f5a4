"""The packaged models, where their packages are installed."""

import importlib.util

import pytest

from congrad.models.packaged import PACKAGES


@pytest.fixture(params=sorted(PACKAGES))
def packaged_name(request: pytest.FixtureRequest) -> str:
    """The short name of a model; for one model alone parametrise it with `indirect=True`."""
    for module in (PACKAGES[request.param].module, "gguf"):
        if importlib.util.find_spec(module) is None:
            pytest.skip(f"{module} is not installed")
    return str(request.param)
