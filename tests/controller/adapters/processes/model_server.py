"""A small model server for the tests, made to misbehave on demand.

    python model_server.py --port N [--exit-with S] [--die-after SECONDS] [--never-ready] [--children] [--deaf]

Ready (200 on /ready) unless a file called `unready` is in its working folder; one started while there is a file
called `broken` is not ready until that is gone. GET /pid tells its process id; GET /slow makes a file called `asked`,
waits for one called `go`, and tells it then.
"""

import argparse
import os
import signal
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path


class Handler(BaseHTTPRequestHandler):
    is_never_ready = False
    is_broken = False

    def do_GET(self) -> None:
        is_ready = not self.is_never_ready and not Path("unready").exists()
        is_ready = is_ready and not (self.is_broken and Path("broken").exists())
        if self.path == "/slow":
            Path("asked").touch()
            while not Path("go").exists():
                time.sleep(0.05)
        if self.path == "/host":
            body = self.headers["Host"].encode()
        elif self.path == "/env":
            body = "\n".join(f"{name}={value}" for name, value in sorted(os.environ.items())).encode()
        else:
            body = str(os.getpid()).encode()
        self.send_response(503 if self.path.endswith("/ready") and not is_ready else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *parts: object) -> None:
        pass


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--exit-with", type=int)
    parser.add_argument("--die-after", type=float)
    parser.add_argument("--never-ready", action="store_true")
    parser.add_argument("--children", action="store_true")
    parser.add_argument("--deaf", action="store_true")
    wanted = parser.parse_args()
    print(f"serving on {wanted.port}")
    if wanted.exit_with is not None:
        print("a lot is wrong", file=sys.stderr)
        sys.exit(wanted.exit_with)
    if wanted.deaf:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if wanted.children:
        worker = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
        Path("worker.pid").write_text(str(worker.pid))
    if wanted.die_after is not None:
        threading.Timer(wanted.die_after, lambda: os._exit(7)).start()
    Handler.is_never_ready = wanted.never_ready
    Handler.is_broken = Path("broken").exists()
    ThreadingHTTPServer(("127.0.0.1", wanted.port), Handler).serve_forever()


main()
