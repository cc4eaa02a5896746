"""Writer of the labelling page: one file with its images, style and script."""

import base64
import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cache

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from pipelines.calibration import sample_id


@dataclass(frozen=True, kw_only=True)
class Card:
    """A row on the page."""

    key: str
    source: str
    text: str
    label: str  # that it has already, '' for none
    picture: str  # data URI, '' if the image cannot be read any more


def label_page(rule: str, corpus: str, question: str, cards: Sequence[Card]) -> str:
    """Return the page as HTML. It fetches nothing, and keeps answers in the browser.

    Args:
        rule: COLUMN.BOUND.
        corpus: its name.
        question: that a person answers for each image with yes or no.
        cards: the rows; their values are not shown, so that they do not sway the answer.
    """
    css = _environment().get_template("label.css").render()
    script = _environment().get_template("label.js").render()
    told = {
        "rule": rule,
        "corpus": corpus,
        "sample": sample_id(card.key for card in cards),
        "cards": [asdict(card) for card in cards],
    }
    return (
        _environment()
        .get_template("label.html")
        .render(
            rule=rule,
            corpus=corpus,
            question=question,
            css=Markup(css),
            script=Markup(script),
            # No text of a row can end the element that it stands in.
            told=Markup(json.dumps(told).replace("<", "\\u003c")),
            style_hash=_hash(css),
            script_hash=_hash(script),
        )
    )


def _hash(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


@cache
def _environment() -> Environment:
    return Environment(
        loader=PackageLoader("pipelines.thresholds", "page"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
