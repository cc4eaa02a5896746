"""Rows of well-known layouts of edits, conversations and preferences, and data sets of one row."""

import json
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from pair_sources import drawing, embedded, png, write_parquet

Row = dict[str, Any]

# Layout -> subset, further parts of the source, columns, and a row as its data set writes it. Sets
# with images in their rows are of kind huggingface, the others name files or URLs.
LAYOUTS: dict[str, tuple[str, Row, Row, Row]] = {
    "UltraEdit": (
        "edit",
        {"image": "edited_image"},
        {"input": "source_image", "text": "edit_prompt", "keep": ["ssim", "clip_sim_dir"]},
        {"edit_prompt": "Add a hat", "edit_object": None, "ssim": 0.7, "clip_sim_dir": 0.2},
    ),
    "AnyEdit": (
        "edit",
        {"image": "edited_file"},
        {"input": "image_file", "text": "edit_instruction", "edit_type": "edit_type"},
        {"edit_instruction": "Make it blue", "edit_type": "color_alter", "image_id": "1"},
    ),
    "HQ-Edit": (
        "edit",
        {"image": "output_image"},
        {"input": "input_image", "text": "edit", "inverse": "inverse_edit"},
        {"edit": "Add a hat", "inverse_edit": "Remove the hat", "input": "a cat"},
    ),
    "SEED-Data-Edit": (
        "edit",
        {},
        {
            "input": "source_image",
            "instructions": ["instruction_1", "instruction_2", "instruction_3"],
            "edited": ["edit_image_1", "edit_image_2", "edit_image_3"],
        },
        {
            "source_image": "0.jpg",
            **{"instruction_1": "Add a hat", "edit_image_1": "1.jpg"},
            **{"instruction_2": "Make it red", "edit_image_2": "2.jpg"},
            **{"instruction_3": None, "edit_image_3": None},  # of sessions with two turns
        },
    ),
    "ImgEdit": (
        "edit",
        {},
        {"input": "input_images", "url": "output_images", "text": "prompt"},
        {"input_images": ["a/0.png"], "output_images": ["a/1.png"], "prompt": "Add a hat"},
    ),
    "ImgEdit in turns": (
        "edit",
        {},
        {"input": "data[0].input", "instructions": ["data.prompt"], "edited": ["data.output"]},
        {
            "data": [
                {"input": "0.png", "prompt": "Add a hat", "output": "1.png"},
                {"input": "1.png", "prompt": "Make it red", "output": "2.png"},
            ]
        },
    ),
    "Pico-Banana": (
        "edit",
        {},
        {
            "input": "open_image_input_url",
            "url": "output_image",
            "text": "text",
            "edit_type": "edit_type",
        },
        {
            "open_image_input_url": "https://a.org/0.jpg",
            "output_image": "https://b.org/1.png",
            "text": "Add a hat",
            "edit_type": "Add a new object",
            "summarized_text": "Hat.",
        },
    ),
    "X2I": (
        "edit",
        {},
        {"input": "input_images", "url": "output_image", "text": "instruction"},
        {
            "instruction": "Transform <img><|image_1|></img> into a sketch.",
            "input_images": ["0.png"],
            "output_image": "1.png",
        },
    ),
    "ShareGPT-4o-Image": (
        "edit",
        {},
        {"input": "input_image", "url": "output_image", "text": "input_prompt"},
        {"input_prompt": "Add a hat", "input_image": ["0.png"], "output_image": "1.png"},
    ),
    "UniWorld": (
        "edit",
        {},
        {"input": "image[0]", "url": "image[1]", "text": "conversations[0].value"},
        {
            "image": ["0.png", "1.png"],
            "conversations": [
                {"from": "human", "value": "<image>\nAdd a hat"},
                {"from": "gpt", "value": "<image>"},
            ],
        },
    ),
    "LLaVA-OneVision": (
        "understand",
        {"image": "image"},
        {"turns": "conversations", "keep": ["data_source"]},
        {
            "id": "1",
            "conversations": [
                {"from": "human", "value": "<image>\nWhat is it?"},
                {"from": "gpt", "value": "A cat."},
            ],
            "data_source": "vqa",
        },
    ),
    "FineVision": (
        "understand",
        {"image": "images"},
        {"turns": "texts"},
        {"texts": [{"user": "What is it?", "assistant": "A cat."}], "source": "vqa"},
    ),
    "VQA": (
        "understand",
        {"image": "image"},
        {"text": "question", "answer": "multiple_choice_answer"},
        {"question": "What is it?", "multiple_choice_answer": "a cat"},
    ),
    "chat with parts": (
        "understand",
        {},
        {"url": "image", "turns": "messages"},
        {
            "image": "0.png",
            "messages": [
                {
                    "role": "user",
                    "content": [{"type": "image"}, {"type": "text", "text": "What is it?"}],
                },
                {"role": "assistant", "content": "A cat."},
            ],
        },
    ),
    "Pick-a-Pic": (
        "preference",
        {"image": "jpg_0"},
        {"text": "caption", "candidates": ["jpg_0", "jpg_1"], "scores": ["label_0", "label_1"]},
        {"caption": "a cat", "label_0": 0.0, "label_1": 1.0, "has_label": True},
    ),
    "HPDv2": (
        "preference",
        {},
        {"text": "prompt", "candidates": ["image_path"], "scores": ["human_preference"]},
        {"prompt": "a cat", "image_path": ["0.jpg", "1.jpg"], "human_preference": [0, 1]},
    ),
    "HPDv3": (
        "preference",
        {},
        {"text": "prompt", "url": "path1", "rejected": "path2", "keep": ["confidence"]},
        {"prompt": "a cat", "path1": "1.jpg", "path2": "0.jpg", "confidence": 0.9},
    ),
    "ImageReward": (
        "preference",
        {},
        {
            "text": "prompt",
            "candidates": ["generations"],
            "scores": ["ranking"],
            "best": "lowest",
        },
        {"prompt": "a cat", "generations": ["0.jpg", "x.jpg", "1.jpg"], "ranking": [3, 2, 1]},
    ),
    "Rapidata": (
        "preference",
        {"image": "image1"},
        {
            "text": "prompt",
            "candidates": ["image1", "image2"],
            "scores": ["votes_image1", "votes_image2"],
        },
        {"prompt": "a cat", "votes_image1": 4, "votes_image2": 11},
    ),
}


def write_layout(name: str, folder: Path, number: int) -> dict[str, Any]:
    """Write a data set of the row of a layout, with pictures of its own; return its source.

    Images lie in the columns of the row, or beside a list that names them: URLs become paths.
    """
    subset, further, columns, row = LAYOUTS[name]
    source = {"name": f"layout-{number}", "subset": subset, "columns": columns}
    pictures = (drawing(100 + 5 * number + at) for at in range(5))
    if further:
        names = _image_columns(further, columns)
        embedding: Row = {each: embedded(next(pictures)) for each in names}
        if "images" in embedding:  # a list of one
            embedding["images"] = [embedding["images"]]
        path = write_parquet(folder / str(number), [{**row, **embedding}])
        return {**source, **further, "kind": "huggingface", "path": path}
    images = folder / str(number)
    text = re.sub(r"https://[^/\"]+/", "", json.dumps(row))
    for path in sorted(set(_image_paths(json.loads(text)))):
        (images / path).parent.mkdir(parents=True, exist_ok=True)
        (images / path).write_bytes(png(next(pictures)))
    (folder / f"{number}.jsonl").write_text(f"{text}\n")
    listed = {"kind": "folder", "path": str(images), "list": str(folder / f"{number}.jsonl")}
    return {**source, **listed}


def _image_columns(further: Row, columns: Row) -> list[str]:
    named = [further["image"], columns.get("input"), *columns.get("candidates", ())]
    return [name for name in dict.fromkeys(named) if name]


def _image_paths(value: Any) -> Iterator[str]:
    """Yield the texts of a row that are names of image files."""
    if isinstance(value, str):
        yield from [value] if value.endswith((".jpg", ".png")) else []
        return
    inner: Iterable[Any] = value.values() if isinstance(value, dict) else value
    for each in inner if isinstance(value, dict | list) else ():
        yield from _image_paths(each)
