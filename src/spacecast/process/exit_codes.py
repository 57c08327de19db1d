"""How a process of spacecast ends, for shells and schedulers."""

DONE = 0
INTERNAL_ERROR = 1  # inside spacecast, or runs that did not finish
USER_ERROR = 2
GOES_ON = 75  # EX_TEMPFAIL: a signal came, what is done is kept, and the same command goes on
AT_ONCE = 130  # by the keyboard
