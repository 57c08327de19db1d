"""What is typed on a command line, as Hydra reads it the way it was meant."""

import re
from pathlib import Path

UNREADABLE = re.compile(r"[^\w\s/\-\\+.$%*@?|:,]|[^\x00-\x7f]")  # signs that Hydra reads only within quotes
RUN_NAMES = ("datastore.runs", "datastore.holdout", "evaluation.runs")
NUMBER_LIKE = re.compile(r"(?<![\w.+-])(?!(0|[1-9]\d*)(?![\w.+-]))\d[\w.+-]*")  # but no plain whole number
CALL = re.compile(r"\w+\(.*\)$")  # choice(1, 2) and its like


def readable(word: str) -> list[str]:
    """What Hydra would not read as it was meant.

    `a.b={...}` replaces a mapping (Hydra merges it into the old one and refuses new keys); `~/` at the start of a value
    is the home folder; text with a sign that Hydra does not take as it stands is quoted, unless it is a list of values;
    names of runs that Hydra would read as numbers, such as 1_0 for 10, are quoted.
    """
    key, equals, value = word.partition("=")
    if not equals:
        return [word]
    if key.lstrip("+") in RUN_NAMES and not set("'\"") & set(value):
        value = NUMBER_LIKE.sub(r"'\g<0>'", value)
    if value.startswith("{") and "." in key and not key.startswith("~"):
        plain = key.lstrip("+")
        return [f"{'++' if key != plain else ''}{plain}=null", f"++{plain}={value}"]
    if value.startswith("~/"):
        value = str(Path(value).expanduser())
    if value[:1] not in set("'\"[{$") and UNREADABLE.search(value) and "\\" not in value and not CALL.match(value):
        value = "'{}'".format(value.replace("'", "\\'"))
    return [f"{key}={value}"]
