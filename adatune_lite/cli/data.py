"""`data`: which data sets are found where, and which networks there are; `data fetch` and `data pack`."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from adatune_lite import files
from adatune_lite.cli.tables import table
from adatune_lite.tasks import sources
from adatune_lite.tasks.models import MODELS, described

if TYPE_CHECKING:
    Commands = argparse._SubParsersAction[Any]


def add(commands: Commands) -> None:
    """Add the command."""
    parser = commands.add_parser("data", help="show which data sets are found where, and the networks")
    parser.set_defaults(do=show)
    actions = parser.add_subparsers(metavar="ACTION")
    fetch_parser = actions.add_parser("fetch", help="download what is missing into the data folder")
    fetch_parser.add_argument("dataset", nargs="?", metavar="DATASET", help="by default all of them")
    fetch_parser.set_defaults(do=fetch)
    pack_parser = actions.add_parser("pack", help="write a data set to one .npz that numpy alone can read")
    pack_parser.add_argument("dataset", metavar="DATASET")
    pack_parser.add_argument("--out", type=Path, required=True, metavar="FILE.npz")
    pack_parser.set_defaults(do=pack)


def show(_: argparse.Namespace) -> int:
    """A row for each part of each data set and for each network; exit code 1 if a file is broken."""
    rows, broken = [], []
    for entry in sources.DATASETS.values():
        for name, part in entry.parts.items():
            try:
                found = sources.load_images(entry.name, name, download=False)
            except sources.DataMissing:
                rows.append((entry.name, name, part.images, "not found", "", ""))
            except sources.DataError as error:
                rows.append((entry.name, name, part.images, "broken", "", ""))
                broken.append(str(error))
            else:
                known = "verified" if found.verified else "unverified"
                rows.append((entry.name, name, part.images, found.source, found.checksum[:16], known))
    print(f"data folder: {files.raw_folder()}")
    print(table(("data set", "part", "images", "found", "sha256 of pixels and labels", ""), rows))
    for sentence in broken:
        print(sentence)
    print(table(("network", "weights", "options"), [(name, *described(name)) for name in MODELS]))
    return 1 if broken else 0


def fetch(given: argparse.Namespace) -> int:
    """Find or download, and check; exit code 1 if one could not be had, once all were tried."""
    missing = []
    for name in [given.dataset] if given.dataset else sources.DATASETS:
        try:
            for part in sources.known(name).parts:
                found = sources.load_images(name, part)
                state = "verified" if found.verified else "unverified"
                print(f"{name} {part}: {len(found.labels):,} images from {found.source}, {state}")
        except sources.DataMissing as error:
            missing.append(str(error))
    for sentence in missing:
        print(sentence)
    return 1 if missing else 0


def pack(given: argparse.Namespace) -> int:
    """One compressed file."""
    size = sources.pack(given.dataset, given.out)
    print(f"{given.out}: {size / 1e6:.1f} MB; put it as {given.dataset}.npz into the folder of ADATUNE_DATA")
    return 0
