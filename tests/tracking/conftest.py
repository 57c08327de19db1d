from collections.abc import Iterator
from pathlib import Path

import pytest

from spacecast.tracking.background import BackgroundDelivery

CLOSE_SECONDS = 10.0


@pytest.fixture(autouse=True)
def _threads_end_with_their_test() -> Iterator[None]:
    """A delivery that goes on would warn when the output of its test is closed already."""
    made: list[BackgroundDelivery] = []
    begin = BackgroundDelivery.__init__

    def kept(self: BackgroundDelivery, *words: object, **options: object) -> None:
        made.append(self)
        begin(self, *words, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(BackgroundDelivery, "__init__", kept)
        yield
    for each in made:
        if each._thread.is_alive():
            each.wait(CLOSE_SECONDS, last=True)
            each._thread.join(CLOSE_SECONDS)


@pytest.fixture
def store(fresh_store: Path, tmp_path: Path) -> Path:
    path = tmp_path / "mlflow.db"
    path.write_bytes(fresh_store.read_bytes())
    return path
