"""A child process that measures on request. Each request is one line.

Both sides of a comparison run in turns: while one works, the other waits for
its next line. Only the standard library is used, since the child may run
another Python.
"""

import json
import os
import subprocess
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

# The prefix that separates answers from the output of libraries.
MARK = '\x1e'


class Peer:
    """A script in a child process that calls :func:`serve`."""

    def __init__(self, python: str, script: str, *args: str,
                 log: Path) -> None:
        self.log = log
        with log.open('w') as errors:
            self.process = subprocess.Popen(
                [python, str(Path(__file__).parent / script), *args],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors,
                text=True)

    def ask(self, call: str, **kwargs: Any) -> Any:
        """Calls a function of the child and waits for its result."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        try:
            self.process.stdin.write(json.dumps([call, kwargs]) + '\n')
            self.process.stdin.flush()
        except BrokenPipeError:
            pass  # The log contains the reason.
        for line in self.process.stdout:
            if line.startswith(MARK):
                return json.loads(line[len(MARK):])
        raise RuntimeError(f'Expected an answer to {call} (got the end of the '
                           f'child: {self.log.read_text()[-2000:]})')

    def __enter__(self) -> 'Peer':
        return self

    def __exit__(self, *error: object) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        try:
            self.process.wait(timeout=60)
        except subprocess.TimeoutExpired:
            self.process.kill()
        assert self.process.stdout is not None
        self.process.stdout.close()


def serve(calls: dict[str, Callable[..., Any]]) -> None:
    """Answers requests until the input ends. The output of libraries goes to
    the log.
    """
    answers = os.fdopen(os.dup(1), 'w')
    os.dup2(2, 1)
    for line in sys.stdin:
        name, kwargs = json.loads(line)
        try:
            found = calls[name](**kwargs)
        except Exception:
            traceback.print_exc()
            sys.exit(1)
        answers.write(MARK + json.dumps(found) + '\n')
        answers.flush()
