"""The turns of one sample: by forms of its file, or as a model wrote them."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from filters.captions.instructions import INSTRUCTION, LEAD_IN
from pipelines.templates.forms import Forms, fill
from pipelines.templates.pair_files import PairFiles, write_t2i
from pipelines.templates.template_file import Conversation
from schemas.markers import IMAGE, IMAGE_GEN
from schemas.subsets import Subset

MODEL = "m-"  # what the part of a template's id begins with that names an engine and a prompt


@dataclass(frozen=True, slots=True, kw_only=True)
class WrittenTurn:
    """A turn that a model wrote."""

    text: str
    engine: str  # its name in the recipe
    prompt: str  # id of the prompt

    @property
    def origin(self) -> str:
        """What the template's id says of it, as m-writer-0123456789."""
        return f"{MODEL}{self.engine}-{self.prompt}"


def written_pair(
    files: PairFiles,
    key: str,
    caption: str,
    *,
    subset: Subset,
    turns: Mapping[str, WrittenTurn],
    faithful: bool = False,
) -> Conversation:
    """Write the turns of a sample.

    The template's id is NAME/USER/ANSWER: the file, then what wrote each turn: a form, an engine
    with its prompt, or nothing where an edit says itself where its image stands (NAME/ANSWER).

    Args:
        files: the template file of the subset.
        key: of the sample; it draws the forms.
        caption: caption, edit or prompt.
        subset: of the sample.
        turns: what a model wrote, by style: the user's turn (instruction), and the answer's words
            before the image (lead_in).
        faithful: whether forms copy a caption as it is.
    """
    said, lead_in = turns.get(INSTRUCTION), turns.get(LEAD_IN)
    made = _by_forms(files, key, caption, subset, faithful, said.text if said else "")
    if said is None:
        return made
    name, _, answer = made.template.split("/", 2)
    return replace(
        made,
        user=f"{IMAGE}\n{said.text}" if subset.input_image else said.text,
        assistant=f"{lead_in.text} {IMAGE_GEN}" if lead_in else made.assistant,
        template=f"{name}/{said.origin}/{lead_in.origin if lead_in else answer}",
    )


def _by_forms(
    files: PairFiles, key: str, caption: str, subset: Subset, faithful: bool, user: str
) -> Conversation:
    """Write both turns by forms; the answer agrees with `user` if that is not ''."""
    if not (isinstance(files, Forms) and subset.input_image):
        return write_t2i(files, key, caption, faithful=faithful, user=user)
    made = fill(files, key, caption)
    if IMAGE in caption:  # the edit says itself where the image stands
        name, _, answer = made.template.split("/", 2)
        made = replace(made, user=caption, template=f"{name}/{answer}")
    return made
