"""First thing in each process of a job: the snapshot comes first, and the warning of the time limit is kept.

Run as a file, in the place of the interpreter: `python start.py -u -m MODULE WORDS`. Importing what a run needs takes
seconds; a signal that came meanwhile would end the process, and the job would not be queued again.
"""

import runpy
import signal
import sys

if __name__ == "__main__":
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR2])
    module = sys.argv.index("-m") + 1
    name = sys.argv[module]
    sys.argv = sys.argv[module:]
    del sys.path[0]  # nothing stands before the snapshot, not the folder in which the command was given
    runpy.run_module(name, run_name="__main__", alter_sys=True)
