"""Writes a trained reasoner as GGUF (Qwen2 architecture, Q8_0 matrices, F32 norms and biases), and reads it back.

    python -m tools.demo.export_gguf --model build/demo/base --name "Reasoner Base" --out models/reasoner-base.gguf

Qwen2 is chosen because its rotary embedding pairs dimension i with i + d/2 as transformers does, so no rows of the
query and key matrices have to be reordered.

The vocabulary is a byte-level BPE with no merge that can ever apply: one token per byte, and token id = byte value.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import gguf
import torch
from gguf import GGMLQuantizationType, GGUFReader, GGUFWriter, TokenType
from transformers import Qwen2ForCausalLM

from .model import CONTEXT, END, PAD, VOCAB, build_model

ARCHITECTURE = "qwen2"
CHAT_TEMPLATE = "{% for message in messages %}{{ message['content'] }}{% endfor %}"
# llama.cpp requires the key, and gguf leaves an empty list out. Both sides are longer than one character while every
# symbol is one byte, so this pair never occurs.
UNREACHABLE_MERGE = "<none> <none>"


def byte_tokens() -> list[str]:
    """GPT-2's printable stand-in for each byte, in byte order."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    stand_ins = {byte: chr(byte) for byte in printable}
    for byte in range(256):
        stand_ins.setdefault(byte, chr(256 + len(stand_ins) - len(printable)))
    return [stand_ins[byte] for byte in range(256)]


def add_tokenizer(writer: GGUFWriter) -> None:
    """One token per byte, an end token and a pad token; nothing is added around a text."""
    tokens = [*byte_tokens(), "<|endoftext|>", "<|pad|>"]
    assert len(tokens) == VOCAB
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("qwen2")
    writer.add_token_list(tokens)
    writer.add_token_types([TokenType.NORMAL] * 256 + [TokenType.CONTROL] * 2)
    writer.add_token_merges([UNREACHABLE_MERGE])
    writer.add_bos_token_id(END)
    writer.add_eos_token_id(END)
    writer.add_pad_token_id(PAD)
    writer.add_add_bos_token(False)
    writer.add_add_eos_token(False)
    writer.add_add_space_prefix(False)
    writer.add_chat_template(CHAT_TEMPLATE)


def add_metadata(writer: GGUFWriter, model: Qwen2ForCausalLM, name: str, description: str) -> None:
    """General facts and the shape of the model."""
    config = model.config
    writer.add_name(name)
    writer.add_description(description)
    writer.add_license("mit")
    writer.add_organization("rewardlens")
    writer.add_type("model")
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_Q8_0)
    writer.add_quantization_version(gguf.GGML_QUANT_VERSION)
    writer.add_context_length(CONTEXT)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_freq_base(10000.0)
    writer.add_vocab_size(VOCAB)


def tensor_names(model: Qwen2ForCausalLM) -> dict[str, str]:
    """GGUF name by parameter name; the tied output matrix has no entry of its own."""
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.QWEN2, model.config.num_hidden_layers)
    found = {}
    for name, _ in model.named_parameters():
        target = names.get_name(name, try_suffixes=(".weight", ".bias"))
        if target is None:
            raise ValueError(f"no GGUF name for {name}")
        found[name] = target
    return found


def export(model: Qwen2ForCausalLM, out: Path, name: str, description: str) -> None:
    """Writes the file. Matrices become Q8_0 (every row is a multiple of 32), vectors stay F32."""
    writer = GGUFWriter(str(out), ARCHITECTURE)
    add_metadata(writer, model, name, description)
    add_tokenizer(writer)
    targets = tensor_names(model)
    for parameter_name, parameter in model.named_parameters():
        values = parameter.detach().float().contiguous().numpy()
        if values.ndim == 2:
            kind = GGMLQuantizationType.Q8_0
            writer.add_tensor(targets[parameter_name], gguf.quants.quantize(values, kind), raw_dtype=kind)
        else:
            writer.add_tensor(targets[parameter_name], values)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def load_gguf(path: Path) -> Qwen2ForCausalLM:
    """The model with the file's dequantized weights, for PyTorch."""
    model = build_model(0)
    stored = {tensor.name: tensor for tensor in GGUFReader(str(path)).tensors}
    parameters = dict(model.named_parameters())
    with torch.no_grad():
        for name, target in tensor_names(model).items():
            tensor = stored[target]
            values = gguf.quants.dequantize(tensor.data, tensor.tensor_type)
            parameters[name].copy_(torch.from_numpy(values.copy()).reshape(parameters[name].shape))
    return model.eval()


def main() -> None:
    parser = argparse.ArgumentParser(description="Write a trained reasoner as GGUF.")
    parser.add_argument("--model", type=Path, required=True, help="folder in transformers format")
    parser.add_argument("--name", required=True)
    parser.add_argument("--description", default="A small demo model that solves generated arithmetic step by step.")
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    model = Qwen2ForCausalLM.from_pretrained(args.model)
    args.out.parent.mkdir(parents=True, exist_ok=True)
    export(model, args.out, args.name, args.description)


if __name__ == "__main__":
    main()
