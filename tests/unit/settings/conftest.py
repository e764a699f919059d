"""A loader that sees no real environment and no system-wide configuration file."""

from collections.abc import Callable
from pathlib import Path

import pytest

from dkv.settings import Loaded, load

Loader = Callable[..., Loaded]


@pytest.fixture
def load_from(tmp_path: Path) -> Loader:
    """Command line words, environment as a mapping, and the text of the default YAML file."""

    def load_sources(*argv: str, env: dict[str, str] | None = None, yaml: str | None = None) -> Loaded:
        config = tmp_path / "dkvsrv.yaml"
        if yaml is not None:
            config.write_text(yaml)
        return load(argv, env or {}, config)

    return load_sources
