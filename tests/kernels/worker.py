"""A process of its own that counts with Triton's interpreter; it reads calls from stdin and writes results to stdout.

TRITON_INTERPRET has to be set before anything imports triton, and nothing else in a process can use triton then.
"""

import os
import pickle
import subprocess
import sys

CALLS = ("attention_points", "attention_total")


class Interpreter:
    """Calls the functions of `tokprune.kernels` in the interpreter."""

    def __init__(self):
        environment = {**os.environ, "TRITON_INTERPRET": "1", "OMP_NUM_THREADS": "1"}
        self.process = subprocess.Popen(
            [sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment
        )

    def __call__(self, name, *args, **options):
        pickle.dump((name, args, options), self.process.stdin)
        self.process.stdin.flush()
        result, ran = pickle.load(self.process.stdout)
        if isinstance(result, Exception):
            raise result
        return result, ran

    def close(self):
        self.process.stdin.close()
        self.process.wait(30)


def serve():
    """Answer until stdin ends."""
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # nothing else may be printed among the answers
    import numpy as np
    import torch

    from tokprune import kernels

    torch.set_num_threads(1)
    np.seterr(all="ignore")  # a duel's difference overflows on purpose
    while True:
        try:
            name, args, options = pickle.load(sys.stdin.buffer)
        except EOFError:
            return
        try:
            with kernels.record_backends() as ran:
                result = getattr(kernels, name)(*args, **options, backend="triton")
        except Exception as error:
            result = error
        pickle.dump((result, ran), answers)
        answers.flush()


if __name__ == "__main__":
    serve()
