"""The model's shape, its byte tokenizer, and batched sampling: what training and evaluation share.

Token ids are byte values (0 to 255); 256 ends a text, 257 pads. No token is put in front of a prompt.
"""

from __future__ import annotations

import torch
from transformers import Qwen2Config, Qwen2ForCausalLM

END = 256
PAD = 257
VOCAB = 258
CONTEXT = 512
MAX_COMPLETION = 96


def build_model(seed: int) -> Qwen2ForCausalLM:
    """A freshly initialised Qwen2-shaped model of about 2.4 M parameters."""
    torch.manual_seed(seed)
    config = Qwen2Config(
        vocab_size=VOCAB,
        hidden_size=192,
        intermediate_size=512,
        num_hidden_layers=6,
        num_attention_heads=6,
        num_key_value_heads=2,
        max_position_embeddings=CONTEXT,
        rms_norm_eps=1e-6,
        rope_theta=10000.0,
        tie_word_embeddings=True,
        use_sliding_window=False,
        bos_token_id=None,
        eos_token_id=END,
        pad_token_id=PAD,
    )
    return Qwen2ForCausalLM(config)


def encode(text: str) -> list[int]:
    """One token per byte, nothing added."""
    return list(text.encode("utf-8"))


def decode(tokens: list[int]) -> str:
    """The text up to the first end token."""
    if END in tokens:
        tokens = tokens[: tokens.index(END)]
    return bytes(token for token in tokens if token < 256).decode("utf-8", errors="replace")


def batch_of(pairs: list[tuple[list[int], list[int]]]) -> tuple[torch.Tensor, torch.Tensor]:
    """Right-padded `[batch, time]` inputs and labels; labels are -100 on prompts and padding."""
    width = max(len(prompt) + len(completion) for prompt, completion in pairs)
    inputs = torch.full((len(pairs), width), PAD)
    labels = torch.full((len(pairs), width), -100)
    for row, (prompt, completion) in enumerate(pairs):
        start, stop = len(prompt), len(prompt) + len(completion)
        inputs[row, :stop] = torch.tensor(prompt + completion)
        labels[row, start:stop] = torch.tensor(completion)
    return inputs, labels


@torch.no_grad()
def sample(
    model: Qwen2ForCausalLM, prompts: list[str], generator: torch.Generator, temperature: float = 1.0
) -> list[list[int]]:
    """Samples one completion per prompt from the full distribution (no top-k, no top-p); 0 is greedy.

    All prompts must have the same length, so that no padding is needed on the left. Each completion ends with
    the end token unless it ran into `MAX_COMPLETION`.
    """
    inputs = torch.tensor([encode(prompt) for prompt in prompts])
    cache, done, steps = None, torch.zeros(len(prompts), dtype=torch.bool), []
    for _ in range(MAX_COMPLETION):
        output = model(input_ids=inputs, past_key_values=cache, use_cache=True, logits_to_keep=1)
        cache, logits = output.past_key_values, output.logits[:, -1].float()
        if temperature == 0:
            token = logits.argmax(-1)
        else:
            token = torch.multinomial((logits / temperature).softmax(-1), 1, generator=generator)[:, 0]
        token = torch.where(done, torch.tensor(PAD), token)
        steps.append(token)
        done |= token == END
        if bool(done.all()):
            break
        inputs = token[:, None]
    rows = torch.stack(steps, 1).tolist()
    return [row[: row.index(END) + 1] if END in row else row for row in rows]
