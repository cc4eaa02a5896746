"""Tiny models that write captions, with random weights, in the folders of the real format."""

from pathlib import Path
from typing import Any

import torch
import transformers as tf
from tokenizers.pre_tokenizers import ByteLevel

from model.data.text_tokenizer import bundled_text_tokenizer

CHAT = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n"
    "{% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}<|vision_start|><|image_pad|><|vision_end|>"
    "{% else %}{{ part['text'] }}{% endif %}{% endfor %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


VIT = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "image_size": 32,
    "patch_size": 16,
    "initializer_range": 0.5,
}


def qwen2_vl(folder: Path) -> Path:
    """Save a Qwen2-VL of random weights; its answers are noise."""
    torch.manual_seed(0)
    tokenizer = bundled_text_tokenizer()
    tokenizer.padding_side = "left"
    token = tokenizer.convert_tokens_to_ids
    config = tf.Qwen2VLConfig(
        text_config={
            "vocab_size": len(tokenizer),
            "hidden_size": 64,
            "intermediate_size": 96,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "rope_parameters": {"rope_type": "default", "mrope_section": [2, 3, 3]},
            "initializer_range": 0.5,
            "bos_token_id": None,
            "eos_token_id": token("<|im_end|>"),
        },
        vision_config={"depth": 1, "embed_dim": 32, "num_heads": 2, "hidden_size": 64},
        image_token_id=token("<|image_pad|>"),
        video_token_id=token("<|video_pad|>"),
        vision_start_token_id=token("<|vision_start|>"),
        vision_end_token_id=token("<|vision_end|>"),
    )
    model = tf.Qwen2VLForConditionalGeneration(config)
    model.generation_config.eos_token_id = token("<|im_end|>")
    model.generation_config.pad_token_id = token("<|endoftext|>")
    pixels = {"min_pixels": 28 * 28, "max_pixels": 112 * 112}
    tf.Qwen2VLProcessor(
        image_processor=tf.Qwen2VLImageProcessor(**pixels),
        tokenizer=tokenizer,
        video_processor=tf.Qwen2VLVideoProcessor(**pixels),
        chat_template=CHAT,
    ).save_pretrained(folder)
    model.save_pretrained(folder)
    return folder


def blip(folder: Path) -> Path:
    """Save a BLIP of random weights, for prompts that a caption continues."""
    torch.manual_seed(0)
    tokenizer = _bert_tokenizer()
    config = tf.BlipConfig(
        text_config={**_bert_sizes(tokenizer), "encoder_hidden_size": 32},
        vision_config=VIT,
        projection_dim=16,
    )
    images = tf.BlipImageProcessor(size={"height": 32, "width": 32})
    tf.BlipProcessor(images, tokenizer).save_pretrained(folder)
    tf.BlipForConditionalGeneration(config).save_pretrained(folder)
    return folder


def florence2(folder: Path) -> Path:
    """Save a Florence-2 of random weights: an encoder and a decoder, without a chat template."""
    torch.manual_seed(0)
    alphabet = sorted(ByteLevel.alphabet())
    frame = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    vocabulary = {word: number for number, word in enumerate([*frame, *alphabet])}
    tokenizer = tf.BartTokenizer(
        vocab=vocabulary, merges=[], extra_special_tokens={"image_token": "<image>"}
    )
    places = [f"<loc_{place}>" for place in range(8)]
    tokenizer.add_tokens(places, special_tokens=True)
    config = tf.Florence2Config(
        text_config={
            "model_type": "bart",
            "vocab_size": len(tokenizer),
            "d_model": 32,
            "encoder_layers": 1,
            "decoder_layers": 1,
            "encoder_attention_heads": 2,
            "decoder_attention_heads": 2,
            "encoder_ffn_dim": 64,
            "decoder_ffn_dim": 64,
            "max_position_embeddings": 256,
            "init_std": 0.5,
        },
        vision_config={
            "depths": (1, 1, 1, 1),
            "embed_dim": (8, 8, 16, 16),
            "num_heads": (1, 1, 2, 2),
            "num_groups": (1, 1, 2, 2),
            "window_size": 4,
            "projection_dim": 32,
            "initializer_range": 0.2,
        },
        image_token_id=tokenizer.image_token_id,
    )
    images = tf.CLIPImageProcessor(size={"height": 64, "width": 64}, do_center_crop=False)
    images.image_seq_length = 5  # of an image of 64 px: 2 x 2 and their mean
    tf.Florence2Processor(images, tokenizer).save_pretrained(folder)
    tf.Florence2ForConditionalGeneration(config).save_pretrained(folder)
    return folder


LLAVA_CHAT = CHAT.replace("<|vision_start|><|image_pad|><|vision_end|>", "<image>")


def llava(folder: Path, template: str | None = LLAVA_CHAT) -> Path:
    """Save a LLaVA of random weights: a ViT of CLIP and a LLaMA."""
    torch.manual_seed(0)
    tokenizer = bundled_text_tokenizer()
    tokenizer.chat_template = None
    tokenizer.add_tokens(["<image>"], special_tokens=True)
    words = {"num_hidden_layers": 1, "num_attention_heads": 2, "initializer_range": 0.5}
    words |= {"vocab_size": len(tokenizer), "hidden_size": 32, "intermediate_size": 64}
    config = tf.LlavaConfig(
        text_config={"model_type": "llama", **words},
        vision_config={"model_type": "clip_vision_model", **VIT, "num_hidden_layers": 2},
        image_token_index=tokenizer.convert_tokens_to_ids("<image>"),
    )
    tf.LlavaProcessor(
        tf.CLIPImageProcessor(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32}),
        tokenizer,
        patch_size=16,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        image_token="<image>",
        chat_template=template,
    ).save_pretrained(folder)
    tf.LlavaForConditionalGeneration(config).save_pretrained(folder)
    return folder


def vision_encoder_decoder(folder: Path) -> Path:
    """Save a ViT with a BERT that writes, of random weights; it reads no prompt."""
    torch.manual_seed(0)
    tokenizer = _bert_tokenizer()
    decoder = tf.BertConfig(**_bert_sizes(tokenizer), is_decoder=True, add_cross_attention=True)
    config = tf.VisionEncoderDecoderConfig(
        encoder=tf.ViTConfig(**VIT).to_dict(),
        decoder=decoder.to_dict(),
        decoder_start_token_id=tokenizer.cls_token_id,
        eos_token_id=tokenizer.sep_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    tf.VisionEncoderDecoderModel(config).save_pretrained(folder)
    tf.ViTImageProcessor(size={"height": 32, "width": 32}).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def _bert_tokenizer() -> tf.BertTokenizer:
    frame = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "photo", "of", "fox", "snow", "dog"]
    letters = [chr(code) for code in range(ord("a"), ord("z") + 1)]
    words = [*frame, *letters, *(f"##{letter}" for letter in letters)]
    return tf.BertTokenizer(vocab={word: number for number, word in enumerate(words)})


def _bert_sizes(tokenizer: tf.BertTokenizer) -> dict[str, Any]:
    return {
        "vocab_size": len(tokenizer),
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "bos_token_id": tokenizer.cls_token_id,
        "eos_token_id": tokenizer.sep_token_id,
        "sep_token_id": tokenizer.sep_token_id,
        "pad_token_id": tokenizer.pad_token_id,
        "initializer_range": 0.5,
    }
