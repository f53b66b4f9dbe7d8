"""Replays on other machines, over Dask's distributed scheduler (https://distributed.dask.org)."""

from __future__ import annotations

from collections.abc import Sequence

from lowlat_seg_ros.evaluation.rows import SettingsError
from lowlat_seg_ros.replay.jobs import Endings, Failure, Job, run_job

CONNECT_SECONDS = 10


def run_on_cluster(jobs: Sequence[Job], address: str) -> Endings:
    """Run every job on the scheduler at ``address``. Closing the iterator cancels what has not ended.

    Its workers need this package, and the bags and the model at the same paths; reports and pictures come back over
    the network.

    Raises:
        SettingsError: Dask's distributed is not installed, or nobody answers at the address.
    """
    try:
        from distributed import Client, as_completed
    except ImportError as error:
        raise SettingsError(
            f"--cluster needs the package distributed ({error}); pip install 'lowlat-seg-ros[cluster]'"
        ) from error
    try:
        client = Client(address, timeout=CONNECT_SECONDS)
    except (OSError, ValueError) as error:
        raise SettingsError(
            f"no Dask scheduler answers at {address}: {' '.join(str(error).split())}; expected one as tcp://HOST:8786"
        ) from error
    with client:
        numbers = {client.submit(run_job, job, pure=False): number for number, job in enumerate(jobs)}
        try:
            for future in as_completed(list(numbers)):
                failure = future.exception()
                # run_job itself raises nothing: such an error is the cluster's, a worker that died for instance.
                yield (
                    numbers[future],
                    future.result() if failure is None else Failure(f"the cluster lost it: {failure}"),
                )
                future.release()
        finally:
            client.cancel(list(numbers))
