"""``make fuzz``: reads damaged files and counts whatever is neither read nor refused in one clean sentence.

    python test/fuzz.py --seconds 600 --out fuzz_out

A process of its own does the reading, so that a crash, a hang or a flood of memory costs one input. The inputs follow
from the seed and their numbers alone; a run goes on where the last one in the same folder ended. Exit status 1 for any
fault.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import shutil
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Final

SECONDS_AN_INPUT: Final = 120.0
"""Until it counts as a hang: a busy machine may leave a process waiting for long."""

CPU_SECONDS: Final = 2.5
MEBIBYTES_AN_INPUT: Final = 200
LONGEST_SENTENCE: Final = 3000
STATE_FILE: Final = "state.json"
FAULTS_KEPT: Final = 200


@dataclass
class Tally:
    """What a run has come to; all of it is in the state file."""

    seed: int
    inputs: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)  # "KIND: OUTCOME"
    faults: list[dict[str, Any]] = field(default_factory=list)
    worst_cpu_s: float = 0.0
    worst_mebibytes: float = 0.0

    def add(self, result: dict[str, Any]) -> None:
        self.inputs = result["number"] + 1
        self.outcomes[f"{result['kind']}: {result['outcome']}"] += 1
        self.worst_cpu_s = max(self.worst_cpu_s, result["cpu_s"])
        self.worst_mebibytes = max(self.worst_mebibytes, result["mebibytes"])
        if result["outcome"] not in ("read", "refused") and len(self.faults) < FAULTS_KEPT:
            self.faults.append(result)

    @property
    def fault_count(self) -> int:
        return sum(
            count for name, count in self.outcomes.items() if name.rpartition(": ")[2] not in ("read", "refused")
        )

    def in_words(self) -> str:
        counts = ", ".join(f"{name} {count}" for name, count in sorted(self.outcomes.items()))
        return (
            f"seed {self.seed}, {self.inputs} inputs, {self.fault_count} faults; at most {self.worst_cpu_s:.2f} s of "
            f"CPU and {self.worst_mebibytes:.0f} MiB an input ({counts})"
        )


def main(arguments: list[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    options.out.mkdir(parents=True, exist_ok=True)
    tally = _taken_up(options.out / STATE_FILE, options.seed)
    if options.number is not None:
        return _show_one(options.number, tally.seed)
    end = time.monotonic() + options.seconds
    for result in _results(tally.inputs, tally.seed, end):
        tally.add(result)
        if result["outcome"] not in ("read", "refused"):
            print(f"input {result['number']}, {result['kind']}: {result['outcome']}: {result['detail']}", flush=True)
        if tally.inputs % 100 == 0:
            _keep(options.out / STATE_FILE, tally)
        if options.inputs and tally.inputs >= options.inputs:
            break
    _keep(options.out / STATE_FILE, tally)
    print(tally.in_words())
    return 1 if tally.fault_count else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="fuzz", description="Read damaged files of every kind.")
    parser.add_argument("--seconds", type=float, default=600.0, help="how long; the default is ten minutes")
    parser.add_argument("--inputs", type=int, default=0, help="end after that many in all")
    parser.add_argument("--seed", type=int, default=16, help="of the inputs, for a new folder")
    parser.add_argument("--out", type=Path, default=Path("fuzz_out"), help="folder of the state, which is gone on from")
    parser.add_argument("--number", type=int, help="read that input alone, here, and show how it ends")
    return parser


def _taken_up(path: Path, seed: int) -> Tally:
    if not path.is_file():
        return Tally(seed)
    state = json.loads(path.read_text(encoding="utf-8"))
    return Tally(**{**state, "outcomes": Counter(state["outcomes"])})


def _keep(path: Path, tally: Tally) -> None:
    part = path.with_suffix(".part")
    part.write_text(json.dumps(vars(tally), indent=1), encoding="utf-8")
    part.replace(path)


def _show_one(number: int, seed: int) -> int:
    from fuzz_kinds import Inputs

    with tempfile.TemporaryDirectory() as folder:
        inputs = Inputs(Path(folder) / "good", seed)
        work = Path(folder) / "work"
        work.mkdir()
        print(inputs.kind_of(number))
        inputs.read(number, work)
    return 0


# --- The process that reads -------------------------------------------------------------------------------------------


def _results(first: int, seed: int, end: float) -> Iterator[dict[str, Any]]:
    """What became of each input, until ``end`` on the monotonic clock; a reader that dies is replaced."""
    with tempfile.TemporaryDirectory(prefix="fuzz-") as folder:
        yield from _results_in(Path(folder), first, seed, end)


def _results_in(folder: Path, first: int, seed: int, end: float) -> Iterator[dict[str, Any]]:
    number = first
    while time.monotonic() < end:
        receiver, process = _start(number, seed, Path(tempfile.mkdtemp(dir=folder)))
        try:
            try:
                kind = receiver.recv()  # ready, and which kind is next
            except EOFError:
                sys.exit("fuzz: a whole file is not read: see --number 0")
            while time.monotonic() < end:
                died = {"number": number, "kind": kind, "cpu_s": SECONDS_AN_INPUT, "mebibytes": 0.0}
                if not receiver.poll(SECONDS_AN_INPUT):
                    yield {**died, "outcome": "hang", "detail": f"more than {SECONDS_AN_INPUT:g} s"}
                    number += 1
                    break
                try:
                    result, kind = receiver.recv()
                except EOFError:
                    process.join(5)
                    yield {**died, "outcome": "crash", "detail": f"exit code {process.exitcode}"}
                    number += 1
                    break
                yield result
                number += 1
        finally:
            process.kill()
            process.join()


def _start(number: int, seed: int, folder: Path) -> tuple[Connection, Any]:
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_read_on, args=(number, seed, folder, sender), daemon=True)
    process.start()
    sender.close()
    return receiver, process


def _read_on(number: int, seed: int, folder: Path, sender: Connection) -> None:
    import torch
    from fuzz_kinds import Inputs

    torch.set_num_threads(1)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # decoders' own complaints
    inputs = Inputs(folder / "good", seed)
    sender.send(inputs.kind_of(number))
    while True:
        work = folder / "work"
        work.mkdir()
        result = {"number": number, "kind": inputs.kind_of(number), **_outcome(inputs, number, work)}
        shutil.rmtree(work)
        number += 1
        sender.send((result, inputs.kind_of(number)))


def _outcome(inputs: Any, number: int, work: Path) -> dict[str, Any]:
    from fuzz_kinds import Misread

    from lowlat_seg_ros.errors import Error

    before = _start_of_peak()
    began = time.process_time()
    outcome, detail = "read", ""
    try:
        inputs.read(number, work)
    except Misread as error:
        outcome, detail = "silent misreading", str(error)
    except Error as error:
        outcome, detail = "refused", str(error)
        if "\n" in detail or len(detail) > LONGEST_SENTENCE or any(not letter.isprintable() for letter in detail):
            outcome = "no sentence"
    except MemoryError:
        outcome, detail = "memory", "MemoryError"
    except Exception as error:
        outcome, detail = "traceback", f"{type(error).__name__}: {error}\n{traceback.format_exc(limit=-3)}"
    cpu_s, mebibytes = time.process_time() - began, _peak() - before
    if outcome in ("read", "refused") and cpu_s > CPU_SECONDS:
        outcome, detail = "slow", f"{cpu_s:.1f} s of CPU"
    if outcome in ("read", "refused") and mebibytes > MEBIBYTES_AN_INPUT:
        outcome, detail = "memory", f"{mebibytes:.0f} MiB"
    return {"outcome": outcome, "detail": detail[:1500], "cpu_s": round(cpu_s, 3), "mebibytes": round(mebibytes, 1)}


def _start_of_peak() -> float:
    """Forget the greatest memory so far; returns what is in use, MiB. Linux alone counts it so."""
    Path("/proc/self/clear_refs").write_text("5")
    return _mebibytes("VmRSS")


def _peak() -> float:
    return _mebibytes("VmHWM")


def _mebibytes(name: str) -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith(f"{name}:"))


if __name__ == "__main__":
    sys.exit(main())
