"""Arrow schemas of all side-cars. Each field has its meaning as metadata.

No column has nulls, but those of scores: a row that was not scored has none.
"""

from typing import Any

import pyarrow as pa


def _field(name: str, type_: pa.DataType, meaning: str) -> "pa.Field[Any]":
    return pa.field(name, type_, nullable=False, metadata={"meaning": meaning})


KEY = _field("key", pa.string(), "32 hex digits, schemas.keys.sample_key(source, url)")

MESSAGE = pa.struct(
    [
        _field("role", pa.string(), "user or assistant; system too where a source has it"),
        _field("content", pa.string(), "<image_gen> marks the generated image, <image> an input"),
    ]
)

LISTED_IMAGE = pa.struct(
    [
        _field("role", pa.string(), "source (to edit) or rejected"),
        _field("url", pa.string(), "URL as listed, or path inside the source"),
        _field("place", pa.string(), "where the source's reader finds the bytes; '' for a URL"),
    ]
)

STORED_IMAGE = pa.struct(
    [
        _field("role", pa.string(), "as in sources/"),
        _field("file", pa.string(), "file that holds the bytes: relative to the corpus, or a URL"),
        _field("offset", pa.int64(), "bytes from the start of the file"),
        _field("length", pa.int64(), "bytes"),
        _field("sha256", pa.string(), "of the bytes as fetched, 64 hex digits"),
    ]
)

MEASURED_IMAGE = pa.struct(
    [
        _field("role", pa.string(), "as in sources/"),
        _field("width", pa.int32(), "px"),
        _field("height", pa.int32(), "px"),
        _field(
            "distance", pa.int8(), "bits of 64 in which its pHash differs from the main image's"
        ),
        _field("change", pa.float32(), "mean difference from the main image, 0 to 255 levels"),
        _field("most_change", pa.float32(), "of a cell of a 16 x 16 grid, 0 to 255 levels"),
    ]
)

SOURCES = pa.schema(
    [
        KEY,
        _field("source", pa.string(), "name of the source in the recipe"),
        _field("url", pa.string(), "URL as listed, or path inside the source (tar::member)"),
        _field("place", pa.string(), "where the source's reader finds the bytes; '' for a URL"),
        _field("text", pa.string(), "alt text, prompt or description as listed, '' if none"),
        _field("title", pa.string(), "'' if none"),
        _field("tags", pa.list_(pa.string()), "in the order listed"),
        _field("licence", pa.string(), "as listed, or the source's; '' if unknown"),
        _field("author", pa.string(), "'' if unknown"),
        _field("images", pa.list_(LISTED_IMAGE), "further images of the sample; none of t2i"),
        _field("turns", pa.list_(MESSAGE), "conversation as listed; none where templates write it"),
        _field("edit_type", pa.string(), "of an edit, as listed; '' if unknown"),
        _field("scores", pa.list_(pa.float64()), "as listed, of the chosen and the rejected image"),
        _field(
            "origin",
            pa.string(),
            "what samples share that must not be in two splits; '' for the caption",
        ),
        _field("listed", pa.string(), "further columns that the recipe keeps, a JSON object"),
    ]
)

RAW = pa.schema(
    [
        KEY,
        _field("file", pa.string(), "file that holds the bytes: relative to the corpus, or a URL"),
        _field("offset", pa.int64(), "bytes from the start of the file"),
        _field("length", pa.int64(), "bytes"),
        _field("sha256", pa.string(), "of the bytes as fetched, 64 hex digits"),
        _field("final_url", pa.string(), "after redirects; '' where nothing was fetched"),
        _field("status", pa.int16(), "HTTP status; 0 where nothing was fetched"),
        _field("content_type", pa.string(), "header as sent, '' if none"),
        _field(
            "opt_outs",
            pa.string(),
            "headers of all hops that may state one, as sent, lines of `URL name: value`; "
            "'' for none",
        ),
        _field("images", pa.list_(STORED_IMAGE), "further images of the sample; none of t2i"),
        _field("instruction", pa.string(), "of an edit that was made; '' of all other samples"),
        _field("edit", pa.string(), "type, direction and parameters, a JSON object; '' for none"),
    ]
)

# A column a score follows. It is null where a row fails a rule that needs no score.
SCORES = pa.schema(
    [
        KEY,
        _field("image_sha256", pa.string(), "of the scored image as fetched; '' if not scored"),
        _field("text_digest", pa.string(), "blake2b-128 of the scored text; '' if not scored"),
    ]
)

DUPLICATES = pa.schema(
    [
        KEY,
        _field(
            "kept_key",
            pa.string(),
            "the row that stands for a duplicate; itself for all other rows",
        ),
        _field("kept_in", pa.string(), "the earlier corpus that kept_key lies in; '' for this one"),
        _field(
            "reason", pa.string(), "'' if kept; why it is a duplicate, or the cap that drops it"
        ),
        _field("distance", pa.int8(), "Hamming distance of the two 64-bit pHashes, bits"),
        _field(
            "text_repeats",
            pa.int32(),
            "selected URLs with the same text, its own included; 0 for a repeated_url and a "
            "contaminated row",
        ),
        _field("matched", pa.string(), "prompt or image of a benchmark that it has; '' if none"),
    ]
)

BENCHMARK = pa.schema(
    [
        _field("image", pa.string(), "file in the folder, or key in the corpus"),
        _field("sha256", pa.string(), "of the bytes, 64 hex digits"),
        _field("phash", pa.uint64(), "as in signals; 0 where pHashes are not compared"),
        _field("colour_layout", pa.string(), "as in signals; '' where pHashes are not compared"),
        _field("points", pa.binary(), "embedding, int16 of value * 32767; empty if not compared"),
    ]
)

BALANCE = pa.schema(
    [
        _field("entry", pa.string(), "as in the list of entries"),
        _field("rows", pa.int64(), "rows with it that are no duplicates, before the balance"),
    ]
)

SELECTION = pa.schema(
    [
        KEY,
        _field("kept", pa.bool_(), "passed every rule"),
        _field("reason", pa.string(), "first rule that dropped it, '' if kept"),
    ]
)

WRITTEN = pa.struct(
    [
        _field("style", pa.string(), "that was asked for; source: the source's own words"),
        _field("engine", pa.string(), "name of the engine; '' for the source's words"),
        _field("origin", pa.string(), "the engine, or text, title or title_and_tags of the source"),
        _field("model", pa.string(), "as the engine calls what answered"),
        _field("prompt", pa.string(), "id of the prompt: a hash of its words"),
        _field("digest", pa.string(), "of the request, as in answers/"),
        _field("text", pa.string(), "as the engine wrote it"),
        _field("caption", pa.string(), "after the gates; '' if one refused it"),
        _field("reason", pa.string(), "the gate that refused it, or ''"),
        _field("detail", pa.string(), "what the gate found"),
        _field("finish_reason", pa.string(), "why the model stopped"),
        _field("prompt_tokens", pa.int32(), "as the engine counted them"),
        _field("completion_tokens", pa.int32(), "as the engine counted them"),
    ]
)

FLAG = pa.struct(
    [
        _field("name", pa.string(), "of the question"),
        _field("value", pa.bool_(), "whether the answer is yes"),
    ]
)

CAPTIONS = pa.schema(
    [
        KEY,
        _field("caption", pa.string(), "the caption chosen for training"),
        _field(
            "caption_origin",
            pa.string(),
            "what wrote it: text, title or title_and_tags of the source, or an engine",
        ),
        _field("caption_style", pa.string(), "style of the caption"),
        _field(
            "flags", pa.list_(FLAG), "answers to the recipe's questions, without those not answered"
        ),
        _field("written", pa.list_(WRITTEN), "all that was written, also what gates refused"),
        _field(
            "instructions",
            pa.list_(WRITTEN),
            "the user's turn (style instruction) and the answer's words before the image (lead_in) "
            "that a model wrote, also what gates refused; none where templates write them",
        ),
    ]
)

PAIRS = pa.schema(
    [
        KEY,
        _field("messages", pa.list_(MESSAGE), "the conversation, in order"),
        _field("template", pa.string(), "which parts of the template file were drawn"),
    ]
)

TOKENS = pa.schema(
    [
        KEY,
        _field("member", pa.string(), "member of the sample, e.g. tokens256.npy, features256.npy"),
        _field("file", pa.string(), "array file of this shard, relative to the corpus"),
        _field("offset", pa.int64(), "bytes from the start of the file to this row's array"),
        _field("length", pa.int64(), "bytes"),
        _field("dtype", pa.string(), "uint16 (VQ codes), uint32 (bit codes) or float16 (features)"),
        _field("shape", pa.list_(pa.int32()), "of the array, the views first if there are many"),
        _field("aspect", pa.float64(), "height / width of the crops' shape; 1.0 for squares"),
        _field("device", pa.string(), "kind of device that computed it: cpu or cuda"),
        _field("pass_images", pa.int32(), "images that went through the network at once"),
        _field("compared", pa.int64(), "bits or indices also computed in fp32; 0 for most rows"),
        _field("differing", pa.int64(), "of those, how many came out otherwise"),
        pa.field(
            "psnr",
            pa.float32(),
            metadata={"meaning": "of the decoded codes against the crop, dB; null if not asked"},
        ),
        pa.field(
            "ssim",
            pa.float32(),
            metadata={"meaning": "of the decoded codes against the crop; null if not asked"},
        ),
        _field("method", pa.string(), "fingerprint of tokenizer, weights and preparation"),
        _field("image_sha256", pa.string(), "of the image as fetched, 64 hex digits"),
        _field("sha256", pa.string(), "of the array, 64 hex digits"),
    ]
)

PLACE = pa.struct(
    [
        _field("file", pa.string(), "path or URL; '' where there is none"),
        _field("offset", pa.int64(), "bytes from the start of the file"),
        _field("length", pa.int64(), "bytes; 0 for the whole file"),
    ]
)

PROMPTS = pa.schema(
    [
        KEY,
        _field("text", pa.string(), "what scorers read"),
        _field("messages", pa.list_(MESSAGE), "the conversation whose image is drawn"),
        _field("source", pa.string(), "file of prompts, or source of the corpus they are from"),
        _field("url", pa.string(), "of the given image, '' if none or unknown"),
        _field("licence", pa.string(), "of the given image, '' if none or unknown"),
        _field("aspect", pa.float64(), "height / width of the images to draw"),
        _field("given", PLACE, "image that is preferred to the model's own"),
        _field("codes", PLACE, "codes of the given image, a .npy"),
        _field("edited", PLACE, "image to edit"),
    ]
)

PREFERENCES = pa.schema(
    [
        KEY,
        _field("seeds", pa.list_(pa.string()), "of each image that the model drew"),
        _field("scores", pa.list_(pa.float64()), "of each; empty where nothing was scored"),
        _field("given_score", pa.float64(), "of the given image; 0.0 where it was not scored"),
        _field("chosen", pa.int32(), "number of the chosen image; -1 for the given one"),
        _field("rejected", pa.int32(), "number of the rejected image"),
        _field("margin", pa.float64(), "score of the chosen above the rejected; 0.0 for none"),
        _field("model", pa.string(), "sha256 of the model's config and weights"),
        _field("device", pa.string(), "kind of device that drew the images: cpu or cuda"),
    ]
)

SHARD_INDEX = pa.schema(
    [
        KEY,
        _field("member", pa.string(), "extension of the member: jpg, json, tokens256.npy"),
        _field("offset", pa.int64(), "bytes from the start of the tar to the member's data"),
        _field("length", pa.int64(), "bytes"),
    ]
)

HELD_OUT = pa.schema(
    [
        KEY,
        _field("subset", pa.string(), "of the sample: t2i, edit, ..."),
        _field("group", pa.string(), "start of the smallest key of the samples held out with it"),
    ]
)

DEAD_LETTERS = pa.schema(
    [
        _field(
            "id", pa.string(), "key, or file and row (from 1, no header) where there is none yet"
        ),
        _field("stage", pa.string(), "stage that the row did not leave"),
        _field("outcome", pa.string(), "dropped (a decision) or failed (unusable input)"),
        _field("reason", pa.string(), "stable class: the counter's name"),
        _field("detail", pa.string(), "a sentence with the offending value"),
    ]
)


def signals_schema(columns: "list[pa.Field[Any]]") -> pa.Schema:
    """Return the schema of `signals/`: the key, a column a measured value, and `images`."""
    images = _field("images", pa.list_(MEASURED_IMAGE), "further images of the sample")
    return pa.schema([KEY, *(column.with_nullable(False) for column in columns), images])
