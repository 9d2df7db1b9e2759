"""Builds the tiny seeded models of the oracle fixtures and writes them as GGUF with llama.cpp's converter.

    python make_models.py --llama-cpp DIR [--out test/fixtures/oracle] [--only llama,phi3]

The conversion (renaming, head permutation, Gemma's norm shift, expert stacking) is llama.cpp's own code;
only the vocabulary step is replaced, because these models have token ids and no tokenizer.
"""

import argparse
import json
import logging
import os
import sys
import tempfile
import zlib
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import torch
import transformers

from architectures import ARCHITECTURES, VOCAB, Architecture

DEFAULT_OUT = Path(__file__).resolve().parents[2] / "test" / "fixtures" / "oracle"


def set_deterministic() -> None:
    """One thread, deterministic kernels, float32 throughout."""
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    torch.set_default_dtype(torch.float32)
    transformers.utils.logging.disable_progress_bar()


def draw_weight(name: str, parameter: torch.Tensor, architecture: Architecture, is_conv1d: bool) -> np.ndarray:
    """Random values for one parameter, a function of the architecture's seed and the parameter's name only.

    Norm weights vary around `norm_offset`, biases around 0; matrices get gain / sqrt(fan_in), with larger
    query and key weights so that attention is far from uniform; embeddings are of order one.
    """
    rng = np.random.default_rng([architecture.seed, zlib.crc32(name.encode())])
    values = rng.standard_normal(tuple(parameter.shape))
    if parameter.dim() == 1:
        is_norm = name.endswith("weight")
        return (values * 0.3 + (architecture.norm_offset if is_norm else 0.0)).astype(np.float32)
    if "embed_tokens" in name or ".wte" in name or ".wpe" in name:
        return (values * 0.5).astype(np.float32)
    gain = next((g for key, g in architecture.gains.items() if key in name), None)
    if gain is None:
        gain = 1.5 if any(key in name for key in ("q_proj", "k_proj", "qkv_proj", "c_attn")) else 1.0
    fan_in = parameter.shape[-2] if is_conv1d else parameter.shape[-1]
    return (values * gain / np.sqrt(fan_in)).astype(np.float32)


def build_model(architecture: Architecture) -> torch.nn.Module:
    """The transformers model with its seeded weights, eager attention, float32, in evaluation mode."""
    config = architecture.config()
    config._attn_implementation = "eager"
    model = architecture.model_class(config).to(torch.float32).eval()
    conv1d = {id(module.weight) for module in model.modules() if type(module).__name__ == "Conv1D"}
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            values = draw_weight(name, parameter, architecture, id(parameter) in conv1d)
            parameter.copy_(torch.from_numpy(values))
    return model


def save_for_conversion(model: torch.nn.Module, directory: Path) -> None:
    """Write the checkpoint in the layout the converter reads.

    The Gemma-3 converter counts the tokens in tokenizer.json to trim the embedding, so a stand-in with the
    right number of entries lies beside it; nothing else reads that file.
    """
    model.save_pretrained(directory)
    vocab = {f"t{token}": token for token in range(VOCAB)}
    (directory / "tokenizer.json").write_text(json.dumps({"model": {"vocab": vocab}, "added_tokens": []}))


def load_converter(llama_cpp: Path):
    """Import `conversion` and `gguf` from a llama.cpp checkout, ahead of any installed gguf package."""
    sys.path[:0] = [str(llama_cpp / "gguf-py"), str(llama_cpp)]
    import conversion
    import gguf
    logging.getLogger("hf-to-gguf").setLevel(logging.WARNING)
    logging.getLogger("gguf").setLevel(logging.WARNING)
    return conversion, gguf


def write_gguf(architecture: Architecture, llama_cpp: Path, out: Path, quantization: str = "f32") -> None:
    """Convert one architecture to `out`; `quantization` is f32, q8_0 or q4_0 (matrices only, norms stay f32)."""
    conversion, gguf = load_converter(llama_cpp)
    file_type = {"f32": gguf.LlamaFileType.ALL_F32, "q8_0": gguf.LlamaFileType.MOSTLY_Q8_0,
                 "q4_0": gguf.LlamaFileType.MOSTLY_Q4_0}[quantization]
    with tempfile.TemporaryDirectory() as scratch, torch.inference_mode():
        directory = Path(scratch) / f"oracle-{architecture.name}"
        save_for_conversion(build_model(architecture), directory)
        hparams = conversion.ModelBase.load_hparams(directory, False)
        name = conversion.get_model_architecture(hparams, conversion.ModelType.TEXT)
        converter = conversion.get_model_class(name)(
            directory, file_type, out, eager=True, model_name=f"oracle-{architecture.name}")

        def set_vocab() -> None:
            converter._set_vocab_none()
            converter.gguf_writer.remove_key(gguf.Keys.LLM.VOCAB_SIZE.format(arch=converter.gguf_writer.arch))
            converter.gguf_writer.add_vocab_size(VOCAB)
            if architecture.gguf_extra is not None:
                architecture.gguf_extra(converter.gguf_writer)

        converter.set_vocab = set_vocab
        if quantization == "q4_0":  # not among the converter's own file types, but gguf-py can encode it
            converter.tensor_force_quant = lambda *_: gguf.GGMLQuantizationType.Q4_0
        converter.write()


def selected(only: str | None) -> list[Architecture]:
    """The architectures named in a comma-separated list, or all of them."""
    return [ARCHITECTURES[name] for name in (only.split(",") if only else ARCHITECTURES)]


def gguf_jobs(architecture: Architecture) -> list[tuple[str, str]]:
    """The GGUF files of one architecture, as (quantization, file name)."""
    jobs = [("f32", f"{architecture.name}.gguf")]
    if architecture.name == "llama":
        jobs += [("q8_0", "llama-q8_0.gguf"), ("q4_0", "llama-q4_0.gguf")]
    return jobs


def main() -> None:
    """Command line entry point."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--llama-cpp", type=Path, required=True, help="llama.cpp source checkout")
    parser.add_argument("--out", type=Path, default=DEFAULT_OUT, help="directory of the fixtures")
    parser.add_argument("--only", help="comma-separated architecture names; default: all")
    args = parser.parse_args()
    set_deterministic()
    args.out.mkdir(parents=True, exist_ok=True)
    for architecture in selected(args.only):
        for quantization, file_name in gguf_jobs(architecture):
            write_gguf(architecture, args.llama_cpp.resolve(), args.out / file_name, quantization)
            print(f"{file_name}: {(args.out / file_name).stat().st_size} bytes")


if __name__ == "__main__":
    main()
