"""The window of a forcing: names, and what is folded."""

import numpy as np
import pytest

from spacecast.data.forcing import fold_window, window_names, window_of


@pytest.mark.parametrize("names", [("n",), ("n", "flux"), ("a[1]", "b c")])
@pytest.mark.parametrize(("past", "future"), [(0, 0), (1, 0), (0, 2), (2, 1), (12, 0)])
def test_names_tell_the_window(names, past, future):
    folded = window_names(names, past, future)
    assert len(folded) == len(names) * (past + 1 + future)
    assert window_of(folded) == (names, past, future)


@pytest.mark.parametrize(
    "names", [(), ("n[-1]",), ("n[0]", "n[-1]"), ("n[-1]", "n[0]", "m[0]"), ("n[+0]", "n"), ("n[0]", "n[0]"), ("n[x]",)]
)
def test_names_of_another_form_have_no_window(names):
    assert window_of(names) == (names, 0, 0)


def test_variables_are_slow_and_steps_fast():
    """Value = 10 * frame + variable."""
    frames = 10.0 * np.arange(5)[:, None, None] + np.arange(2)
    folded = fold_window(frames, 1, 1)
    assert folded.shape == (3, 1, 6)
    assert folded[0, 0].tolist() == [0, 10, 20, 1, 11, 21]
