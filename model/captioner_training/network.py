"""The captioner to train: a vision-encoder-decoder of transformers, and the files beside it."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from model.clip_training.network import tokenizer_files

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast, VisionEncoderDecoderModel

SIDE: Final = 64  # px
WHITE: Final = 1.0  # the mean of the pixels, so that white is 0, as is what surrounds an image
STD: Final = 0.33
MAX_TOKENS: Final = 24  # of a caption, its end included
CONFIG, WEIGHTS = "config.json", "model.safetensors"  # transformers' names


@dataclass(frozen=True, kw_only=True, slots=True)
class CaptionerSizes:
    """The sizes of the encoder (a ResNet, then a transformer, as in DPT) and of the GPT-2."""

    stem: int = 32  # channels
    stages: tuple[int, int, int] = (64, 160, 320)  # channels of each stage
    blocks: tuple[int, int, int] = (1, 2, 3)  # of each stage
    width: int = 192  # of both transformers
    heads: int = 3
    encoder_layers: int = 1
    decoder_layers: int = 2
    dropout: float = 0.1


def make_captioner(
    sizes: CaptionerSizes, tokenizer: "PreTrainedTokenizerFast"
) -> "VisionEncoderDecoderModel":
    """Build the network, with random weights of torch's own seed.

    Args:
        sizes: of the network.
        tokenizer: whose end starts a caption too.
    """
    import transformers as tf

    end = tokenizer.eos_token_id
    marks: dict[str, Any] = {
        **{"eos_token_id": end, "pad_token_id": end, "bos_token_id": end},
        "decoder_start_token_id": end,
    }
    reads_images: dict[str, Any] = {"is_decoder": True, "add_cross_attention": True}
    config = tf.VisionEncoderDecoderConfig(
        encoder=_encoder(sizes).to_dict(),
        decoder=tf.GPT2Config(
            vocab_size=len(tokenizer),
            n_embd=sizes.width,
            n_layer=sizes.decoder_layers,
            n_head=sizes.heads,
            n_positions=2 * MAX_TOKENS,
            resid_pdrop=sizes.dropout,
            embd_pdrop=sizes.dropout,
            attn_pdrop=sizes.dropout,
            **reads_images,
            **marks,
        ).to_dict(),
        **marks,
    )
    model = tf.VisionEncoderDecoderModel(config)
    model.generation_config = tf.GenerationConfig(max_new_tokens=MAX_TOKENS, **marks)
    return model


def _encoder(sizes: CaptionerSizes) -> Any:
    import transformers as tf

    stages = [f"stage{number}" for number in range(1, len(sizes.stages) + 1)]
    read: dict[str, Any] = {"out_features": stages}
    patch = 2 ** (len(stages) + 1)  # px of the image for a place of the last stage
    return tf.DPTConfig(
        is_hybrid=True,
        backbone_config=tf.ResNetConfig(
            embedding_size=sizes.stem,
            hidden_sizes=[*sizes.stages],
            depths=[*sizes.blocks],
            layer_type="bottleneck",
            **read,
        ),
        backbone_featmap_shape=[1, sizes.stages[-1], SIDE // patch, SIDE // patch],
        hidden_size=sizes.width,
        num_hidden_layers=sizes.encoder_layers,
        num_attention_heads=sizes.heads,
        intermediate_size=4 * sizes.width,
        hidden_dropout_prob=sizes.dropout,
        image_size=SIDE,
        patch_size=patch,
    )


def write_parts(folder: Path) -> "PreTrainedTokenizerFast":
    """Write the processors of images and texts, and return the latter."""
    import transformers as tf

    folder.mkdir(parents=True, exist_ok=True)
    # Pads with the mean, which is white, to a square.
    square = {"height": SIDE, "width": SIDE}
    tf.LlavaImageProcessor(
        do_pad=True,
        size=square,
        crop_size=square,
        do_center_crop=False,
        image_mean=[WHITE] * 3,
        image_std=[STD] * 3,
    ).save_pretrained(folder)
    for name, written in tokenizer_files().items():
        text = json.dumps(written, ensure_ascii=False, separators=(",", ":"))
        (folder / name).write_text(text + "\n")
    return tf.AutoTokenizer.from_pretrained(folder, local_files_only=True)
