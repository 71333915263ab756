"""`merge`, `pack` and `export`: records from other machines and for other tools."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from adatune_lite.cli.inspect import check_folder, print_unreadable
from adatune_lite.runs import export as tables
from adatune_lite.runs.merge import merge as merge_records
from adatune_lite.runs.pack import Packed
from adatune_lite.runs.pack import pack as pack_records
from adatune_lite.runs.record import Record
from adatune_lite.runs.store import Store, stores_for

if TYPE_CHECKING:
    Commands = argparse._SubParsersAction[Any]

BAD_INPUT = 2


def add(commands: Commands) -> None:
    """Add the commands."""
    parser = commands.add_parser("merge", help="take records from another machine after checking them")
    parser.add_argument("source", type=Path, metavar="DIR", help="a folder of records or packs, or one pack")
    parser.add_argument(
        "--out",
        type=Path,
        metavar="DIR",
        help="the store that takes them (default: by profile, as `run` does)",
    )
    parser.set_defaults(do=merge)
    parser = commands.add_parser("pack", help="put records into at most 8 files under 16 MiB, for `merge`")
    parser.add_argument("source", type=Path, metavar="DIR", help="a folder of records")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="where the packs go")
    parser.set_defaults(do=pack)
    parser = commands.add_parser("export", help="all records as one table: a row a run, CSV or Parquet")
    parser.add_argument("file", type=Path, metavar="FILE", help="ends in .csv or .parquet (needs pyarrow)")
    parser.add_argument("--series", action="store_true", help="also all series, long, in FILE.series.csv")
    parser.add_argument("--experiment", metavar="NAME", help="only its records, for example 01")
    parser.add_argument("--profile", help="only the records of this profile")
    parser.add_argument("--out", type=Path, metavar="DIR", help="also look into this folder")
    parser.set_defaults(do=export)


def merge(given: argparse.Namespace) -> int:
    """What was taken; a sentence for each reason of refusal and exit code 2 if there is one."""
    stores: dict[str, Store] = {}

    def target(record: Record) -> Store:
        profile = record.labels.get("profile", "")
        if profile not in stores:
            stores[profile] = Store(given.out) if given.out else stores_for(profile)
            stores[profile].check_writable()
        return stores[profile]

    done = merge_records(given.source, target)
    for sentence in done.refused:
        print(sentence, file=sys.stderr)
    stale = f" ({done.stale} of them stale)" if done.stale else ""
    carried = f"; {done.checkpoints} runs go on from where they were" if done.checkpoints else ""
    print(f"{len(done.new)} records merged{stale}, {done.present} were there already{carried}")
    return BAD_INPUT if done.refused else 0


def pack(given: argparse.Namespace) -> int:
    """Pack a folder; exit code 1 if a record is in no pack."""
    check_folder(given.source)
    done = pack_records(given.source, given.out)
    print(packed(done, given.out))
    return 1 if done.left_out else 0


def packed(done: Packed, folder: Path) -> str:
    """What was packed, in words; what was not goes to standard error."""
    for sentence in (*done.left_out, *done.too_large):
        print(sentence, file=sys.stderr)
    under_way = f" and {done.checkpoints} checkpoints" if done.checkpoints else ""
    size = sum(path.stat().st_size for path in done.paths) / 1e6
    return f"{done.records} records{under_way} in {len(done.paths)} packs ({size:.1f} MB) in {folder}"


def export(given: argparse.Namespace) -> int:
    """Write one table, or two."""
    from adatune_lite import experiments

    tables.check(given.file)
    check_folder(given.out)
    name = experiments.find(given.experiment).NAME if given.experiment else None
    store = stores_for("smoke", given.out)
    records = tables.unique(store.records(name, given.profile))
    print_unreadable(store)
    if not records:
        raise tables.ExportError("there are no such records: status shows what is there")
    tables.write(given.file, tables.runs_table(records))
    print(f"{given.file}: {len(records)} runs")
    if given.series:
        path = given.file.with_suffix(f".series{given.file.suffix}")
        columns = tables.series_table(records)
        tables.write(path, columns)
        print(f"{path}: {len(columns['step'])} points")
    return 0
