"""Names of the special tokens of Qwen2-VL and VARGPT, and its chat template, in their order."""

from typing import Final

QWEN_SPECIAL: Final = (
    "<|endoftext|>",  # 151643 in Qwen's own vocabulary; the others follow
    "<|im_start|>",
    "<|im_end|>",
    "<|object_ref_start|>",
    "<|object_ref_end|>",
    "<|box_start|>",
    "<|box_end|>",
    "<|quad_start|>",
    "<|quad_end|>",
    "<|vision_start|>",
    "<|vision_end|>",
    "<|vision_pad|>",
    "<|image_pad|>",
    "<|video_pad|>",
)
IMAGE_GEN_START: Final = "<|image_gen_start|>"  # 151657
IMAGE_GEN_END: Final = "<|image_gen_end|>"
IMAGE_GEN_PAD: Final = "<|image_gen_pad|>"
ADDED: Final = (IMAGE_GEN_START, IMAGE_GEN_END, IMAGE_GEN_PAD)
"""What VARGPT-v1.1 adds to Qwen2-VL's tokenizer (prepare_vargpt_v1_1.py, 91-93)."""

SYSTEM_PROMPT: Final = "You are a helpful assistant."

CHAT_TEMPLATE: Final = (
    "{% for message in messages %}"
    "{% if loop.first and message['role'] != 'system' %}"
    f"<|im_start|>system\n{SYSTEM_PROMPT}<|im_end|>\n"
    "{% endif %}"
    "<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n"
    "{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
"""Qwen2-VL's template, of messages whose content is a string."""
