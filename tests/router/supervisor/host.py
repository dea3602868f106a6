"""A supervisor over the commands given as JSON in argv[1]; prints `ready` when the files that they should make are there."""

import json
import sys
from pathlib import Path

from headgate.log import Log
from router.supervisor.children import Command
from router.supervisor.supervisor import Supervisor

given = json.loads(sys.argv[1])
sys.exit(
    Supervisor(
        commands=[
            Command(**{**one, "argv": tuple(one["argv"]), "fds": tuple(one.get("fds", ()))})
            for one in given["commands"]
        ],
        log=Log("supervisor"),
        drain_s=given["drain_s"],
        on_stop=lambda: print("on_stop", flush=True),
        is_ready=lambda: all(Path(path).exists() for path in given["ready_files"]),
        announce=lambda: print("ready", flush=True),
    ).run()
)
