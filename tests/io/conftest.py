import multiprocessing
import random

import pytest


@pytest.fixture
def kill_writer():
    """Kills a process that writes in a loop, in the midst of a write.

    The writer gets a path and a pipe, to which it sends after each write.
    """
    def kill(writer, path, seed):
        rng = random.Random(seed)
        # Forked, since a new interpreter would take seconds for imports.
        context = multiprocessing.get_context('fork')
        receiver, sender = context.Pipe(duplex=False)
        process = context.Process(target=writer, args=(path, sender))
        process.start()
        for _ in range(rng.randrange(1, 4)):
            receiver.recv()
        for _ in range(rng.randrange(50_000)):
            pass
        process.kill()
        process.join()

    return kill
