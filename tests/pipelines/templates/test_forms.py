import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st

from filters.phrase import as_phrase, without_stop
from pipelines.templates.forms import (
    EDIT,
    T2I,
    UNDERSTAND,
    Forms,
    fill,
    fill_caption,
    load_forms,
    medium_in,
)
from pipelines.templates.pair_files import load_t2i, write_t2i
from pipelines.templates.places import Place, place_of, places_for
from pipelines.templates.template_file import Conversation, converse, load_templates
from schemas.conversation import message_faults
from schemas.store.storage import CorpusError
from schemas.subsets import EDIT as EDIT_SUBSET
from schemas.subsets import T2I as T2I_SUBSET
from schemas.subsets import UNDERSTAND as UNDERSTAND_SUBSET

GENERATE = load_forms("t2i-v2", T2I, "templates")
EDITS = load_forms("edit-v1", EDIT)
QUESTIONS = load_forms("understand-v1", UNDERSTAND, "understand_forms")

CAPTIONS = {
    "phrase": "a red fox in the snow",
    "phrase with capital and stop": "A red fox.",
    "definite": "The old bridge over the river",
    "plural": "Two small birds on a wire",
    "vowel": "An owl, a hen and two mice",
    "sentence": "Two dogs run.",
    "tags": "fox, snow, winter",
    "paragraph": "A fox runs through the snow. It looks for mice. The sky is grey, and it is cold.",
    "Chinese": "\u4e00\u53ea\u7ea2\u72d0\u72f8\u5728\u96ea\u5730\u91cc\u3002",
    "German": "Ein roter Fuchs im Schnee.",
    "quoted words": 'A sign that says "Open"',
    "quoted": "\u201cA red fox\u201d",
    "question": "Who is there?",
    "name": "The Beatles",
    "abbreviation": "Main St.",
    "lines": "A poem:\nroses are red",
}
PIECES = ["A", "a", "The", "Two", "red", "fox", "foxes", "runs", "of", "the snow", "It is", "Ein"]
PIECES += [".", "?", ",", '"', "\u201c", "\u201d", "\n", "\u72d0", "St.", "{text}", "{medium}", "'"]
CAPTION = st.lists(st.sampled_from(PIECES), min_size=1).map(" ".join) | st.text(
    st.characters(exclude_categories=["Cs"]), min_size=1
)
KEY = st.integers(0, 2**128 - 1).map("{:032x}".format)


def only(forms: Forms, user: str, answer: str) -> Forms:
    return forms.model_copy(update={"user": (user,), "answers": (answer,)})


def turns(caption: str) -> Iterator[Conversation]:
    """Yield a pair of each form of the bank that a caption fits, and of each medium."""
    places = places_for(caption)
    anything = "Here it is: <image_gen>"
    for user in GENERATE.user:
        if place_of(user) in places:
            yield fill_caption(only(GENERATE, user, anything), "00ff", caption)
    for answer in GENERATE.answers:
        for medium in GENERATE.media if "{medium}" in answer else ("wish",):
            if place_of(answer) in places:
                forms = only(GENERATE, f"My {medium}: {{text}}", answer)
                yield fill_caption(forms, "00ff", caption)


def as_fitted(form: str, turn: str) -> str:
    """Return what stands in a turn where its form has the caption."""
    before, _, after = form.partition("{text}")
    assert turn.startswith(before), turn
    assert turn.endswith(after), turn
    return turn[len(before) : len(turn) - len(after)]


@pytest.mark.parametrize("caption", CAPTIONS.values(), ids=CAPTIONS)
def test_every_form_reads_well_with_every_caption_that_fits(caption: str):
    made = [*turns(caption)]
    assert len(made) > 90
    for turn in {turn for pair in made for turn in (pair.user, pair.assistant)}:
        words = turn.removesuffix("<image_gen>").rstrip()
        assert not words[:1].islower(), turn
        assert not re.search(r"  | [.,;:?!]|[,.;:?!][.,;:]|[{}<>]|^\s", words), turn
        assert words.count('"') % 2 == 0, turn
        assert words.count("\u201c") == words.count("\u201d"), turn
        assert not re.search(r"\b[Aa] [aeiou]|\b[Aa]n [^aeiou]", words), turn


@pytest.mark.parametrize("caption", CAPTIONS.values(), ids=CAPTIONS)
def test_a_caption_inside_a_sentence_is_a_phrase_and_elsewhere_as_it_is(caption: str):
    for form in GENERATE.user:
        if (place := place_of(form)) in places_for(caption):
            user = fill_caption(only(GENERATE, form, "<image_gen>"), "00ff", caption).user
            inside = {
                Place.INSIDE: as_phrase(caption),
                Place.OPENING: as_phrase(caption, starts=True),
                Place.QUOTED: without_stop(caption),
            }
            assert as_fitted(form, user) == inside.get(place, caption)


def test_the_kinds_of_captions_take_the_forms_that_fit_them():
    inside = {Place.INSIDE, Place.OPENING}
    fits = {name: {*places_for(caption)} for name, caption in CAPTIONS.items()}
    phrases = {name for name, places in fits.items() if Place.INSIDE in places}
    lines = {name for name, places in fits.items() if Place.QUOTED in places}
    assert phrases == {
        *("phrase", "phrase with capital and stop", "definite", "plural", "vowel"),
    }
    assert lines == {*phrases, "sentence", "tags", "Chinese", "German", "name"}
    assert all({Place.APART, Place.NOWHERE} <= places for places in fits.values())
    assert {name for name in fits if Place.HEADING not in fits[name]} == {"phrase", "tags"}
    assert not any(
        {*places_for(caption, faithful=True)} & {*inside, Place.QUOTED}
        for caption in CAPTIONS.values()
    )


@settings(deadline=None)
@given(key=KEY, caption=CAPTION)
@example(key="00ff", caption="{text}")
@example(key="00ff", caption="a {medium} of {article} fox")
def test_a_pair_parses_back_to_its_template_and_caption(key: str, caption: str):
    pair = fill_caption(GENERATE, key, caption)
    name, user, answer = pair.template.split("/")
    form, said = GENERATE.user[int(user[1:])], GENERATE.answers[int(answer[1:])]
    assert name == "t2i-v2"
    found = as_fitted(form, pair.user)
    if place_of(form) in (Place.APART, Place.HEADING):
        assert found == caption
    else:
        kept = without_stop(caption)
        assert (found[0].lower(), found[1:]) == (kept[0].lower(), kept[1:])
    medium = medium_in(form, GENERATE.media)
    said = said.replace("{medium}", medium)
    said = said.replace("{article}", "an" if medium[:1] in ("i", "a", "o") else "a")
    if "{text}" in said:
        found = as_fitted(said, pair.assistant)
        assert without_stop(found).lower() == without_stop(caption).lower()
    else:
        assert said == pair.assistant


@settings(deadline=None)
@given(key=KEY, caption=CAPTION)
def test_a_faithful_pair_holds_its_caption_as_it_is(key: str, caption: str):
    pair = fill_caption(GENERATE, key, caption, faithful=True)
    form = GENERATE.user[int(pair.template.split("/")[1][1:])]
    assert as_fitted(form, pair.user) == caption


def test_the_same_key_draws_the_same_pair_and_other_keys_draw_every_form():
    drawn = [fill_caption(GENERATE, f"{n:032x}", "A red fox") for n in range(4000)]
    assert drawn == [fill_caption(GENERATE, f"{n:032x}", "A red fox") for n in range(4000)]
    users, answers = zip(*(pair.template.split("/")[1:] for pair in drawn), strict=True)
    assert len({*users}) == len(GENERATE.user)
    assert len({*answers}) == len(GENERATE.answers)


def test_pairs_of_a_key_never_change():
    pairs = [fill_caption(GENERATE, "1c", caption) for caption in ("A red fox.", "Two dogs run.")]
    assert [(pair.user, pair.assistant, pair.template) for pair in pairs] == [
        (
            "I would like a picture of a red fox.",
            "Here is the picture you asked for: <image_gen>",
            "t2i-v2/u114/a41",
        ),
        (
            'I wrote "Two dogs run" and need an image for it.',
            "The generated image: <image_gen>",
            "t2i-v2/u215/a36",
        ),
    ]


def test_answers_name_the_medium_that_the_user_named_or_none():
    for number in range(1000):
        pair = fill_caption(GENERATE, f"{number:032x}", "A red fox")
        asked, told = (medium_in(turn, GENERATE.media) for turn in (pair.user, pair.assistant))
        if asked:
            assert told in ("", asked)
        else:
            assert told in ("", "image", "picture")
            assert "{medium}" not in GENERATE.answers[int(pair.template.rpartition("/a")[2])]


@pytest.mark.parametrize(
    ("forms", "user", "answers"), [(GENERATE, 200, 50), (EDITS, 100, 40), (QUESTIONS, 60, 1)]
)
def test_banks_are_large_and_no_two_forms_are_equal(forms: Forms, user: int, answers: int):
    for each, least in ((forms.user, user), (forms.answers, answers)):
        plain = {re.sub(r"\W+", " ", form.lower()).strip() for form in each}
        assert len(each) >= least
        assert len({*each}) == len(each)
        assert len(plain) > 0.95 * len(each)  # but for the place of images, and for stops


def test_every_word_of_media_is_in_a_form():
    assert {medium_in(form, GENERATE.media) for form in GENERATE.user} == {"", *GENERATE.media}


@pytest.mark.parametrize("form", [*EDITS.user, *EDITS.answers, *QUESTIONS.user])
def test_a_form_of_an_edit_or_question_reads_well(form: str):
    words = re.sub(r"<image(_gen)?>", "", form)
    for line in filter(None, map(str.strip, words.split("\n"))):
        assert line[0].isupper() or line.startswith("{text}"), form
    assert not re.search(r"  | [.,;:?!]|[,.;:?!][.,;:]| $|^ ", form), form
    if "{text}" in form:  # on its own line, or after a colon
        assert re.search(r"(^|\n|: )\{text\}(\n|$)", form), form


def test_edits_and_questions_make_sound_messages():
    for number in range(500):
        for forms, subset, text in (
            (EDITS, EDIT_SUBSET, "Make the fox blue."),
            (QUESTIONS, UNDERSTAND_SUBSET, "A red fox."),
            (GENERATE, T2I_SUBSET, "A red fox."),
        ):
            write = fill_caption if forms is GENERATE else fill
            pair = write(forms, f"{number:032x}", text)
            messages = [
                {"role": "user", "content": pair.user},
                {"role": "assistant", "content": pair.assistant},
            ]
            assert message_faults(messages, subset) == []
            user, answer = (int(part[1:]) for part in pair.template.split("/")[1:])
            if forms is not GENERATE:
                assert pair.user == forms.user[user].replace("{text}", text)
                assert pair.assistant == forms.answers[answer].replace("{text}", text)


def test_the_grammar_of_the_paper_has_a_second_name():
    assert load_templates("v1_1-faithful") == load_templates("t2i-v1")


def test_generation_takes_a_grammar_or_forms():
    grammar = load_t2i("t2i-v1")
    assert grammar == load_templates("t2i-v1")
    assert write_t2i(grammar, "00ff", "A fox") == converse(
        load_templates("t2i-v1"), "00ff", "A fox"
    )
    assert load_t2i("t2i-v2") == GENERATE
    assert write_t2i(GENERATE, "00ff", "A fox") == fill_caption(GENERATE, "00ff", "A fox")


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"user": ["Draw a fox."]}, r"must hold \{text\} once"),
        ({"user": ["{text}: {text}"]}, r"must hold \{text\} once"),
        ({"user": ["Draw this: {text}", "<image_gen> {text}"]}, "must hold <image_gen> not"),
        ({"user": ["Draw this: {text}", "<image>\n{text}"]}, "must hold <image> not"),
        ({"user": ["<|im_start|>Draw: {text}"]}, r"must not hold <\|im_start\|>"),
        ({"user": ["Draw {caption}: {text}"]}, "holds a brace"),
        ({"user": ["A {medium}: {text}"]}, "holds a brace"),
        ({"user": ["Draw this: {text}"] * 2}, "is given twice"),
        ({"user": ["Draw {text}."]}, "no form of user takes every caption"),
        ({"user": ["Draw this: {text}", "Draw. {text}"]}, "stands inside a sentence"),
        ({"user": ["Draw this: {text}", "Draw: {text}, please."]}, "stands inside a sentence"),
        ({"user": ["Draw this: {text}", 'Draw "{text}.']}, "stands inside a sentence"),
        ({"answers": ["Here it is."]}, "must hold <image_gen> once"),
        ({"answers": ["<image_gen> it is."]}, "must end in <image_gen>"),
        ({"answers": ["{text}, {text}: <image_gen>"]}, r"must hold \{text\} at most once"),
        ({"answers": ["{article} {text}: <image_gen>"]}, r"\{article\} must stand before a word"),
        ({"answers": ["Of {text}: <image_gen>"]}, "no answer fits every request"),
        ({"media": ["pen"], "answers": ["My pen: <image_gen>"]}, "no answer fits every request"),
        ({"answers": ["</s> <image_gen>"]}, "must not hold </s>"),
        ({"media": ["Image"]}, "media"),
        ({"answers": []}, "answers"),
        ({"openers": ["Draw"]}, "openers"),
    ],
)
def test_a_fault_of_a_file_of_forms_is_named(tmp_path: Path, changes: dict, fault: str):
    data = {"name": "mine", "user": ["Draw this: {text}"], "answers": ["Here: <image_gen>"]}
    file = tmp_path / "mine.yaml"
    file.write_text(yaml.safe_dump(data))
    assert load_t2i(str(file)).name == "mine"
    file.write_text(yaml.safe_dump(data | changes))
    with pytest.raises(CorpusError, match=f"(?s)pair.templates: {file}: .*{fault}"):
        load_t2i(str(file))
