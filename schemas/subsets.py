"""Subsets: the kinds of samples there are, what each consists of, and which command makes it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Literal, cast

from schemas.markers import IMAGE, IMAGE_GEN

SubsetName = Literal[
    "t2i",
    "edit",
    "understand",
    "preference",
    "preference_edit",
    "t2i_held_out",
    "edit_held_out",
    "understand_held_out",
    "preference_held_out",
]
# What the rows of a source become: an image to generate, an edit, a conversation about an image, or
# two images of which one is preferred.
SourceSubset = Literal["t2i", "edit", "understand", "preference"]
# Subsets of which a model may write the user's turn.
InstructedSubset = Literal["t2i", "edit", "understand"]
DEFAULT_SUBSET: SourceSubset = "t2i"
Producer = Literal["build", "preferences"]

# JSON type of every field of KEY.json; signals are one object of numbers, flags and strings.
# No list but messages and captions, which are never empty: of five samples with empty lists
# `datasets` learns lists of nothing, and fails at the first that is not.
SAMPLE_FIELDS: Mapping[str, type] = {
    "key": str,
    "messages": list,
    "caption": str,
    "caption_origin": str,
    "caption_style": str,
    "captions": list,  # style, origin and caption of each; all of the row if the recipe says so
    "text": str,
    "title": str,
    "tags": str,  # joined by ", "
    "source": str,
    "url": str,
    "licence": str,
    "author": str,
    "sha256": str,
    "width": int,  # of the image in the shard, px
    "height": int,  # of the image in the shard, px
    "crop_aspect": float,  # height / width of the shape that was tokenized; 1.0 for squares
    "signals": dict,  # what was measured of the image as fetched, by column
    "template": str,
    "listed": str,  # further columns that the recipe keeps, a JSON object
    "recipe": str,  # fingerprint of the recipe's content
}

# KEY.json of an edit: `sha256`, `width`, `height` and `signals` are of the edited image.
EDIT_FIELDS: Mapping[str, type] = {
    **SAMPLE_FIELDS,
    "edit_type": str,  # as listed, or of the edit that was made; '' if unknown
    "source_sha256": str,  # of the image to edit, as it was fetched
}

# KEY.json of a pair of images, one chosen over the other as the answer to a prompt.
PAIR_FIELDS: Mapping[str, type] = {
    "key": str,
    "messages": list,
    "prompt": str,  # what scorers read
    "source": str,  # of the prompt
    "url": str,  # of the chosen image where it is no model's, '' if unknown
    "licence": str,  # of that image, '' if unknown
    # paper: chosen is the image that the prompt came with; scored: both are a model's; listed: both
    # are of a data set.
    "pairs": str,
    "chosen_seed": str,  # that the model drew it with; '' for the prompt's own image
    "rejected_seed": str,  # the same of the rejected image
    "chosen_score": float,  # by `scorer`; 0.0 where nothing was scored
    "rejected_score": float,  # the same of the rejected image
    "margin": float,  # score of the chosen above the rejected
    "scorer": str,  # '' for none
    "samples": int,  # images that the model drew of the prompt
    "model": str,  # sha256 of config and weights
    "sampling": str,  # guidance, temperature, top-k and top-p
    "crop_aspect": float,  # height / width of both images as they were tokenized
    "listed": str,  # further columns that the recipe keeps, a JSON object
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Subset:
    """Samples of one kind."""

    name: SubsetName
    # JSON type of every field of KEY.json, in order.
    fields: Mapping[str, type] = field(hash=False)
    generated: tuple[str, ...]  # what the members of each image begin with that `<image_gen>` marks
    input_image: str = ""  # member that `<image>` marks; '' for none
    # Roles of its images beside the main one, which is generated, chosen, or talked about.
    further: tuple[str, ...] = ()
    producers: tuple[Producer, ...] = ("build",)  # commands that make it
    # Subset whose held-out samples it has: members and fields are the same; '' for no such subset.
    held_out_of: SubsetName | Literal[""] = ""

    @property
    def kind(self) -> "Subset":
        """The subset that says what its samples are: of held-out samples, that of the others.

        >>> SUBSETS["edit_held_out"].kind.name, SUBSETS["edit"].kind.name
        ('edit', 'edit')
        """
        return SUBSETS[self.held_out_of] if self.held_out_of else self

    @property
    def held_out(self) -> "Subset":
        """The subset of its held-out samples.

        >>> SUBSETS["t2i"].held_out.name
        't2i_held_out'
        """
        return SUBSETS[f"{self.kind.name}_held_out"]

    @property
    def is_pairs(self) -> bool:
        """Whether a sample has two images that answer one prompt, the chosen and the rejected.

        Both stand for the one `<image_gen>`.
        """
        return len(self.generated) > 1

    @property
    def gives_prompts(self) -> bool:
        """Whether a sample is a prompt and the one image that answers it."""
        return len(self.generated) == 1

    @property
    def images(self) -> tuple[str, ...]:
        """The members that are images, in the order in which their marks stand."""
        input_image = (self.input_image,) if self.input_image else ()
        return (*input_image, *self.of_images("jpg"))

    @property
    def marks(self) -> Mapping[str, int]:
        """How often each mark of an image stands in the messages."""
        return {IMAGE_GEN: int(bool(self.generated)), IMAGE: int(bool(self.input_image))}

    @property
    def shard_stage(self) -> str:
        """Name the stage that writes its shards, in dead letters and marks of attempts.

        >>> [SUBSETS[name].shard_stage for name in ("t2i", "edit")]
        ['shard', 'shard_edit']
        """
        return "shard" if self.name == DEFAULT_SUBSET else f"shard_{self.name}"

    @property
    def main_image(self) -> str:
        """The member of the main image."""
        return f"{self.generated[0]}jpg" if self.generated else self.input_image

    def further_image(self, role: str) -> str:
        """Name the member of a further image.

        >>> SUBSETS["edit"].further_image("source")
        'source.jpg'
        """
        return f"{role}.jpg"

    def of_images(self, member: str) -> tuple[str, ...]:
        """Name a member of each generated image.

        >>> SUBSETS["preference"].of_images("tokens256.npy")
        ('chosen.tokens256.npy', 'rejected.tokens256.npy')
        """
        return tuple(f"{image}{member}" for image in self.generated)

    def without_prefix(self, member: str) -> str:
        """Return what a member of a generated image is called without the image's prefix.

        >>> SUBSETS["preference"].without_prefix("rejected.tokens256.npy")
        'tokens256.npy'
        """
        prefix = next((each for each in self.generated if each and member.startswith(each)), "")
        return member.removeprefix(prefix)

    def members(self, arrays: Sequence[str]) -> list[str]:
        """Name the members of a sample in the order in which they are written.

        Args:
            arrays: what an image has, such as tokens256.npy.

        >>> SUBSETS["t2i"].members(["tokens256.npy"])
        ['jpg', 'json', 'tokens256.npy']
        """
        return [*self.images, "json", *(name for each in arrays for name in self.of_images(each))]


T2I = Subset(name="t2i", fields=SAMPLE_FIELDS, generated=("",))
EDIT = Subset(
    name="edit",
    fields=EDIT_FIELDS,
    generated=("",),
    input_image="source.jpg",
    further=("source",),
)
UNDERSTAND = Subset(name="understand", fields=SAMPLE_FIELDS, generated=(), input_image="jpg")
PREFERENCE = Subset(
    name="preference",
    fields=PAIR_FIELDS,
    generated=("chosen.", "rejected."),
    further=("rejected",),
    producers=("build", "preferences"),
)
PREFERENCE_EDIT = Subset(
    name="preference_edit",
    fields=PAIR_FIELDS,
    generated=PREFERENCE.generated,
    input_image=EDIT.input_image,
    further=("source", "rejected"),
    producers=("preferences",),
)


def _held_out(subset: Subset) -> Subset:
    name = cast(SubsetName, f"{subset.name}_held_out")
    return replace(subset, name=name, held_out_of=subset.name, producers=("build",))


SUBSETS: Mapping[str, Subset] = MappingProxyType(
    {
        each.name: each
        for each in (
            *(T2I, EDIT, UNDERSTAND, PREFERENCE, PREFERENCE_EDIT),
            *map(_held_out, (T2I, EDIT, UNDERSTAND, PREFERENCE)),
        )
    }
)
"""All subsets by name; those of held-out samples last."""


def made_by(producer: Producer) -> tuple[Subset, ...]:
    """Return the subsets that a command makes."""
    return tuple(each for each in SUBSETS.values() if producer in each.producers)
