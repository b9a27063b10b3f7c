"""The dask room: one task is one shard, idempotent and resumable. dask is imported here alone.

A task is a module-level function that gets a small dict (seeds, names, places; never arrays),
writes its own shard and returns a small dict. A lost worker costs its shard, a lost driver
nothing that was finished: each shard leaves a receipt, and only shards without one are run again.

``receipts`` tells what is finished; ``run`` keeps a few tasks a worker under way; ``where`` opens
this machine's workers, a running scheduler or (``cluster``) Slurm and Kubernetes; ``farewell`` is
how local workers end; ``turns`` lets a worker go on while a store is waited for; ``release``
compares versions.
"""

from fxpipe.tasks.receipts import INDEX_SUM as INDEX_SUM
from fxpipe.tasks.receipts import RECEIPTS as RECEIPTS
from fxpipe.tasks.receipts import Receipt as Receipt
from fxpipe.tasks.receipts import not_there as not_there
from fxpipe.tasks.receipts import read_receipts as read_receipts
from fxpipe.tasks.receipts import receipt_name as receipt_name
from fxpipe.tasks.receipts import write_receipt as write_receipt
from fxpipe.tasks.run import Job as Job
from fxpipe.tasks.run import run_tasks as run_tasks
from fxpipe.tasks.turns import Turn as Turn
from fxpipe.tasks.where import Workers as Workers
from fxpipe.tasks.where import choose_workers as choose_workers
from fxpipe.tasks.where import seen_by as seen_by
from fxpipe.tasks.where import worker_index as worker_index
