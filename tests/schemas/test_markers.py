import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.data.text_tokenizer import ADDED, QWEN_SPECIAL
from schemas.markers import MARKS, marker_in

TOKENS = [
    *(*MARKS, *QWEN_SPECIAL, *ADDED),
    *("<|begin_of_text|>", "<|eot_id|>", "<|start_header_id|>", "<|image_1|>", "<|user|>"),
    *("<s>", "</s>", "<unk>", "<pad>", "<mask>", "<bos>", "<eos>", "<BOS_TOKEN>"),
    *("[INST]", "[/INST]", "[inst]", "<<SYS>>", "<</SYS>>", "[IMG]", "[IMG_BREAK]", "[IMG_END]"),
    *("[AVAILABLE_TOOLS]", "[/AVAILABLE_TOOLS]", "[TOOL_CALLS]", "[SYSTEM_PROMPT]", "[MASK]"),
    *("<start_of_turn>", "<end_of_turn>", "<start_of_image>", "<|turn>", "<turn|>"),
    *("<image>", "</image>", "<IMAGE>", "<Image_Gen>", "<video>", "<img>", "<im_patch>"),
    *("<think>", "</think>", "<tool_call>", "<IMG_CONTEXT>", "<loc0123>", "<extra_id_0>"),
    *("<seed:bos>", "<|image start|>", "[gMASK]", "<image1>"),
    *("[MODEL_SETTINGS]", "[/IMG]", "[control_8]", "[unused1]", "<0x0A>", "<reserved08706>"),
    *("<dummy32008>", "<endoftext>", "<vila/sentinel>", "<global-img>", "<image_gen/>"),
    *("<image-gen>", "|ENDOFTEXT|", ">>QUESTION<<", "<user>", "<assistant>", "<system>", "<human>"),
    *("<vid>", "<answer>", "<phrase>", "<poly>", "<od>", "<unit>", "</unit>", "<placeholder1>"),
    *("<ctrl99>", "<2en>", "<image/>"),
    "<\uff5cend\u2581of\u2581sentence\uff5c>",  # DeepSeek's
    "<|im_\u200bend|>",
    "<|im\u200d_end\ufe0f|>",
    "[IN\u00adST]",
    "\uff1cimage\uff1e",
]


@pytest.mark.parametrize("token", TOKENS)
def test_a_token_of_a_chat_template_is_found(token: str) -> None:
    assert marker_in(token)
    assert marker_in(f"a fox {token} in the snow")
    assert marker_in(f"a fox{token}runs")


@pytest.mark.parametrize(
    "text",
    [
        "a<b and c>d",
        "x < y > z | w <|> v",
        "I <3 you",
        "a <2 b> 3, 5<x>4, <3>",
        "a <well-known> fox | newline | speaker |",
        "a [red] fox with a [mask], [audio]",
        "std::vector<int> v",
        "<b>bold</b> <your name>",
        "an image of a fox",
        "Instructions: [1] sit, [2] roll",
    ],
)
def test_ordinary_words_hold_none(text: str) -> None:
    assert marker_in(text) == ""


def test_the_first_that_is_not_allowed_is_named() -> None:
    text = "<image> as <image_gen>, then <s> and </s>"
    assert marker_in(text) == "<image>"
    assert marker_in(text, allowed=MARKS) == "<s>"
    assert marker_in("<image> to <image_gen>", allowed=MARKS) == ""


@given(st.from_regex(r"<\|[a-z_]{1,20}\|>", fullmatch=True), st.text("ab <>[]"), st.text("ab <>[]"))
def test_no_surroundings_hide_a_token(token: str, before: str, after: str) -> None:
    assert marker_in(before + token + after)
