"""The tiny architectures of the oracle fixtures: their configs, and where their sites live in transformers.

Nothing here runs a model. `ARCHITECTURES` maps a fixture name to an `Architecture`, which the other
scripts read: `make_models.py` for the config and the weight scales, `sites.py` for the module names.
"""

from dataclasses import dataclass, field
from typing import Any, Callable

import transformers as hf

WIDTH = 64
VOCAB = 96
FEED_FORWARD = 96
SLIDING_WINDOW = 8
"""Shorter than three of the four sequences, so that sliding-window layers differ from full ones."""

SATURATED_GATE = 1000.0
"""Scale of the MLP gate weights in the GELU models; see "GELU" in README.md."""


@dataclass(frozen=True)
class SiteModules:
    """Names of submodules of one transformers block, one per site that a module boundary exposes.

    attn_out and mlp_out: the module whose *output* is added to the stream. mid: the module whose *input*
    is the stream after the attention has been added. mlp_post: the module whose *input* is the hidden
    layer of the MLP (empty for a mixture of experts, which has no single one).
    """

    attn_out: str = "self_attn"
    mid: str = "post_attention_layernorm"
    mlp_out: str = "mlp"
    mlp_post: str = "mlp.down_proj"


POST_NORMED = SiteModules("post_attention_layernorm", "pre_feedforward_layernorm", "post_feedforward_layernorm")
"""Gemma: what a branch adds to the stream is the output of the norm behind it."""


@dataclass(frozen=True)
class Architecture:
    """One fixture: how to build its model, how to draw its weights, how to find its sites.

    `gains` scales the standard deviation gain / sqrt(fan_in) of every weight matrix whose name contains
    the key. `norm_offset` is the mean of the norm weights: 0 where the model itself adds one to them.
    `gguf_extra` adds metadata that llama.cpp reads and its converter does not write.
    """

    name: str
    config: Callable[[], hf.PreTrainedConfig]
    model_class: type
    seed: int
    sites: SiteModules = SiteModules()
    blocks: str = "model.layers"
    norm_offset: float = 1.0
    gains: dict[str, float] = field(default_factory=dict)
    gguf_extra: Callable[[Any], None] | None = None
    with_edits: bool = True
    tolerance: float = 1e-5


def _dimensions(layers: int = 3, **extra: Any) -> dict[str, Any]:
    """Config arguments that all architectures share, in the names of the Llama family."""
    return {
        "vocab_size": VOCAB,
        "hidden_size": WIDTH,
        "intermediate_size": FEED_FORWARD,
        "num_hidden_layers": layers,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 128,
        "bos_token_id": None,
        "eos_token_id": None,
        "pad_token_id": None,
        **extra,
    }


def _gemma2() -> hf.PreTrainedConfig:
    """Layers sliding, full, sliding; caps low enough that the random scores and logits reach them."""
    return hf.Gemma2Config(**_dimensions(
        head_dim=16, query_pre_attn_scalar=16, sliding_window=SLIDING_WINDOW,
        layer_types=["sliding_attention", "full_attention", "sliding_attention"],
        attn_logit_softcapping=5.0, final_logit_softcapping=6.0))


def _gemma3(**extra: Any) -> hf.PreTrainedConfig:
    """Layers sliding, sliding, full, with the two rope bases of the real models."""
    return hf.Gemma3TextConfig(**_dimensions(
        head_dim=16, query_pre_attn_scalar=16, sliding_window=SLIDING_WINDOW,
        layer_types=["sliding_attention", "sliding_attention", "full_attention"],
        rope_parameters={
            "full_attention": {"rope_type": "default", "rope_theta": 1_000_000.0},
            "sliding_attention": {"rope_type": "default", "rope_theta": 10_000.0}}, **extra))


def _gemma3_pattern(writer: Any) -> None:
    """Say which layers slide: the converter leaves llama.cpp's default of one full layer in six."""
    writer.add_sliding_window_pattern(3)


def _gpt2() -> hf.PreTrainedConfig:
    """LayerNorm with biases, learned positions, fused attention weights, no gate."""
    return hf.GPT2Config(
        vocab_size=VOCAB, n_positions=64, n_ctx=64, n_embd=WIDTH, n_layer=2, n_head=4,
        bos_token_id=None, eos_token_id=None, resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0)


_SATURATED = {"gate_proj": SATURATED_GATE, "up_proj": 1.0 / SATURATED_GATE}

_ALL = [
    Architecture("llama", lambda: hf.LlamaConfig(**_dimensions()), hf.LlamaForCausalLM, 11),
    Architecture("qwen2", lambda: hf.Qwen2Config(**_dimensions()), hf.Qwen2ForCausalLM, 12),
    Architecture("qwen3", lambda: hf.Qwen3Config(**_dimensions(head_dim=16)), hf.Qwen3ForCausalLM, 13),
    Architecture("gemma2", _gemma2, hf.Gemma2ForCausalLM, 14, sites=POST_NORMED, norm_offset=0.0,
                 gains=_SATURATED),
    Architecture("gemma3", _gemma3, hf.Gemma3ForCausalLM, 15, sites=POST_NORMED, norm_offset=0.0,
                 gains=_SATURATED, gguf_extra=_gemma3_pattern),
    Architecture("phi3", lambda: hf.Phi3Config(**_dimensions()), hf.Phi3ForCausalLM, 16),
    Architecture("olmo2", lambda: hf.Olmo2Config(**_dimensions(2)), hf.Olmo2ForCausalLM, 17,
                 sites=SiteModules("post_attention_layernorm", "mlp", "post_feedforward_layernorm")),
    Architecture("qwen3moe", lambda: hf.Qwen3MoeConfig(**_dimensions(
        2, head_dim=24, moe_intermediate_size=32, num_experts=4, num_experts_per_tok=2, norm_topk_prob=True)),
        hf.Qwen3MoeForCausalLM, 18, sites=SiteModules(mlp_post="")),  # heads x head_dim is not the width here
    Architecture("gpt2", _gpt2, hf.GPT2LMHeadModel, 19, blocks="transformer.h",
                 sites=SiteModules("attn", "ln_2", "mlp", "mlp.c_proj"),
                 gains={"mlp.c_fc": SATURATED_GATE, "mlp.c_proj": 1.0 / SATURATED_GATE}),
    Architecture("gemma3-gelu", _gemma3, hf.Gemma3ForCausalLM, 20, sites=POST_NORMED, norm_offset=0.0,
                 gguf_extra=_gemma3_pattern, with_edits=False, tolerance=5e-4),
]

ARCHITECTURES = {architecture.name: architecture for architecture in _ALL}
