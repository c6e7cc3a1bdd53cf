import multiprocessing
import random

import pytest
import torch


def alone(writer, path, pipe):
    """Runs a writer in a fork, which has none of the threads of PyTorch: it
    would wait for them.
    """
    torch.set_num_threads(1)
    writer(path, pipe)


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
        process = context.Process(target=alone,
                                  args=(writer, path, sender))
        process.start()
        sender.close()  # The pipe ends when the writer dies.
        for _ in range(rng.randrange(1, 4)):
            receiver.recv()
        for _ in range(rng.randrange(50_000)):
            pass
        process.kill()
        process.join()

    return kill
