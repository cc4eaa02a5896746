"""Qwen2-VL of `transformers` as the backbone: reads embeddings, returns hidden states.

Shapes: B sequences, S positions, H hidden width, V vocabulary.
"""

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from model.vargpt.config import BackboneConfig
from schemas.store.errors import SettingsError

if TYPE_CHECKING:
    from transformers import Cache, Qwen2VLConfig, Qwen2VLForConditionalGeneration


class Backbone(nn.Module):
    """The language model, its vision tower and its text head.

    Args:
        config: sizes.
        qwen: a model with weights; None for random weights.

    Raises:
        SettingsError: the model has other sizes; shows both.
    """

    def __init__(
        self, config: BackboneConfig, qwen: "Qwen2VLForConditionalGeneration | None" = None
    ) -> None:
        from transformers import Qwen2VLForConditionalGeneration

        super().__init__()
        self.config = config
        if qwen is not None and (found := backbone_config(qwen.config)) != config:
            raise SettingsError(f"expected a Qwen2-VL of {config}, got {found}")
        self.qwen = qwen or Qwen2VLForConditionalGeneration(qwen_config(config))

    def embed(
        self, input_ids_BS: Tensor, pixel_values: Tensor | None, image_grid_thw: Tensor | None
    ) -> Tensor:
        """Return the embeddings of text and input images, [B, S, H].

        Raises:
            ValueError: the numbers of image tokens and image features differ.
        """
        embeds_BSH = self.qwen.get_input_embeddings()(input_ids_BS)
        if pixel_values is None:
            return embeds_BSH
        vision: Any = self.qwen.model.visual
        features_FH = vision(pixel_values.to(vision.dtype), grid_thw=image_grid_thw)
        features_FH = getattr(features_FH, "pooler_output", features_FH)
        here_BS = input_ids_BS == self.config.image_token
        if int(here_BS.sum()) != len(features_FH):
            raise ValueError(
                f"the text has {int(here_BS.sum())} image tokens, "
                f"but its images have {len(features_FH)} features"
            )
        return embeds_BSH.masked_scatter(here_BS[:, :, None], features_FH.to(embeds_BSH.dtype))

    def positions(
        self, input_ids_BS: Tensor, attention_mask_BS: Tensor, image_grid_thw: Tensor | None
    ) -> Tensor:
        """Return positions in time, height and width, int64 [3, B, S].

        Text and generated images have three equal positions that count up. An input image has its
        grid positions if `image_grid_thw` is given. Positions of padding have no meaning.
        """
        if image_grid_thw is None:
            plain_BS = (attention_mask_BS.long().cumsum(dim=1) - 1).clamp(min=0)
            return plain_BS.expand(3, -1, -1)
        # The type hint says LongTensor, but any int64 tensor works.
        get_rope_index: Any = self.qwen.model.get_rope_index
        positions_3BS, _ = get_rope_index(
            input_ids=input_ids_BS,
            mm_token_type_ids=(input_ids_BS == self.config.image_token).int(),
            image_grid_thw=image_grid_thw,
            attention_mask=attention_mask_BS,
        )
        return positions_3BS

    def forward(
        self,
        embeds_BSH: Tensor,
        positions_3BS: Tensor,
        mask_B1SS: Tensor | None = None,
        cache: "Cache | None" = None,
    ) -> Tensor:
        """Return the last hidden states after the norm, [B, S, H].

        Args:
            embeds_BSH: from `embed`, with generated images filled in.
            positions_3BS: from `positions`.
            mask_B1SS: bool attention mask; None for a causal mask, the fastest.
            cache: of the previous positions; it is extended.
        """
        return self.qwen.model.language_model(
            inputs_embeds=embeds_BSH,
            position_ids=positions_3BS,
            attention_mask=mask_B1SS,
            past_key_values=cache,
            use_cache=cache is not None,
        ).last_hidden_state

    def text_logits(self, hidden: Tensor) -> Tensor:
        """Return the logits of the next token, [..., V]."""
        return self.qwen.lm_head(hidden)


def qwen_config(config: BackboneConfig) -> "Qwen2VLConfig":
    """Return the config of `transformers` for given sizes."""
    from transformers import Qwen2VLConfig

    text = {
        "vocab_size": config.vocab,
        "hidden_size": config.hidden,
        "intermediate_size": config.mlp,
        "num_hidden_layers": config.layers,
        "num_attention_heads": config.heads,
        "num_key_value_heads": config.kv_heads,
        "rms_norm_eps": 1e-6,
        "rope_parameters": {
            "rope_type": "default",
            "rope_theta": config.rope_theta,
            "mrope_section": list(config.rope_sections),
        },
        "bos_token_id": None,
        "eos_token_id": None,
    }
    vision = {
        "depth": config.vision_depth,
        "embed_dim": config.vision_width,
        "num_heads": config.vision_heads,
        "patch_size": config.patch,
        "hidden_size": config.hidden,
    }
    return Qwen2VLConfig(
        text_config=text,
        vision_config=vision,
        image_token_id=config.image_token,
        video_token_id=config.video_token,
        vision_start_token_id=config.vision_start,
        vision_end_token_id=config.vision_end,
        tie_word_embeddings=config.tied,
    )


def backbone_config(qwen: "Qwen2VLConfig") -> BackboneConfig:
    """Return the sizes of a Qwen2-VL of `transformers`.

    Raises:
        SettingsError: the model has sliding-window attention, which no published size has.
    """
    text: Any = qwen.text_config
    vision: Any = qwen.vision_config
    if "sliding_attention" in text.layer_types:
        raise SettingsError(f"expected full attention in every layer, got {text.layer_types}")
    return BackboneConfig(
        vocab=text.vocab_size,
        hidden=text.hidden_size,
        layers=text.num_hidden_layers,
        heads=text.num_attention_heads,
        kv_heads=text.num_key_value_heads,
        mlp=text.intermediate_size,
        tied=qwen.tie_word_embeddings,
        rope_sections=tuple(text.rope_parameters["mrope_section"]),
        rope_theta=text.rope_parameters["rope_theta"],
        vision_depth=vision.depth,
        vision_width=vision.embed_dim,
        vision_heads=vision.num_heads,
        patch=vision.patch_size,
        image_token=qwen.image_token_id,
        video_token=qwen.video_token_id,
        vision_start=qwen.vision_start_token_id,
        vision_end=qwen.vision_end_token_id,
    )


def load_qwen(name: str, dtype: torch.dtype = torch.bfloat16) -> "Qwen2VLForConditionalGeneration":
    """Load a Qwen2-VL of any size from a repository name or a folder."""
    from transformers import Qwen2VLForConditionalGeneration

    return Qwen2VLForConditionalGeneration.from_pretrained(
        name, dtype=dtype, attn_implementation="sdpa", use_safetensors=True
    )
