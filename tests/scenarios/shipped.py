"""The configurations that this repository ships, and whether what they boot is on this machine."""

import os
from pathlib import Path

import yaml

CONFIGS = Path(__file__).parents[2] / "configs"


def missing(name):
    """Files of other people's packages that a configuration wants and that are not here; with CI=true all must be."""
    if os.environ.get("CI") == "true":
        return []
    domains = yaml.safe_load((CONFIGS / f"{name}.yaml").read_text())["domains"].values()
    wanted = [domain[key] for domain in domains for key in ("kernel", "ramdisk") if key in domain]
    return [file for file in wanted if file.startswith("/") and not Path(file).exists()]


def names():
    """Of those that can run here."""
    return sorted(path.stem for path in CONFIGS.glob("*.yaml") if not missing(path.stem))
