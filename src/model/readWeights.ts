/** How strongly the weights behind a place in the residual stream read each of its coordinates. */
import { native } from '../native/addon.js';
import { RewardLensError, guardAsync } from '../native/errors.js';

/**
 * Matrices of a block whose input is the normalised stream, by the names of GGUF: attention of all kinds (fused, low-rank, gated,
 * linear), feed-forward, experts and their router.
 */
const ATTENTION = ['attn_q', 'attn_k', 'attn_v', 'attn_qkv', 'attn_q_a', 'attn_kv_a_mqa', 'attn_gate', 'ssm_in', 'ssm_ba', 'ssm_alpha', 'ssm_beta', 'shortconv.in_proj'] as const;
const FEED_FORWARD = ['ffn_gate', 'ffn_up', 'ffn_gate_inp', 'ffn_gate_exps', 'ffn_up_exps', 'ffn_gate_up_exps', 'ffn_gate_shexp', 'ffn_up_shexp', 'ffn_gate_inp_shexp'] as const;

/** Sum over the rows of |W_ij|, or undefined when the files have no such tensor. */
async function columnNorms(files: readonly string[], tensor: string): Promise<Float64Array | undefined> {
  const norms = await guardAsync(native().columnNorms([...files], `${tensor}.weight`));
  return norms.length === 0 ? undefined : norms;
}

/** The first of these tensors that exists. */
async function firstOf(files: readonly string[], tensors: readonly string[]): Promise<Float64Array | undefined> {
  for (const tensor of tensors) {
    const found = await columnNorms(files, tensor);
    if (found !== undefined) {
      return found;
    }
  }
  return undefined;
}

/** A group of matrices that read the stream through the same norm. */
interface Readers {
  readonly norm: Float64Array | undefined;
  readonly matrices: readonly Float64Array[];
}

async function readersOf(files: readonly string[], layer: number, layerCount: number): Promise<Readers[]> {
  if (layer === layerCount - 1) {
    const output = await firstOf(files, ['output', 'token_embd']); // without an output matrix it is the embedding's
    return [{ norm: await columnNorms(files, 'output_norm'), matrices: output === undefined ? [] : [output] }];
  }
  const block = `blk.${layer + 1}`;
  const all = async (names: readonly string[]): Promise<Float64Array[]> =>
    (await Promise.all(names.map((name) => columnNorms(files, `${block}.${name}`)))).filter((found) => found !== undefined);
  const attention = await columnNorms(files, `${block}.attn_norm`);
  // Without a norm of its own the feed-forward part reads what attention reads (parallel blocks) or the norm is named after
  // attention; blocks without any norm in front (norms behind the branches) read the stream as it is.
  const feedForward = (await columnNorms(files, `${block}.ffn_norm`)) ?? (attention === undefined ? undefined : ((await columnNorms(files, `${block}.post_attention_norm`)) ?? attention));
  return [
    { norm: attention, matrices: await all(ATTENTION) },
    { norm: feedForward, matrices: await all(FEED_FORWARD) },
  ];
}

/**
 * For every coordinate j of `residPost` of `layer`: Σ over the matrices W that read the stream next (those of block layer + 1; of the
 * last layer the output matrix) of |g_j| · Σ_i |W_ij|, with g the weight of the norm in front of W, 1 where there is none.
 * Float64Array [dModel]. `files`: the parts of the model (`Model.files`). Reads weights as they are stored, dequantized by ggml.
 * Errors: MODEL_LOAD; UNSUPPORTED_ARCH when the block has no matrix of a known name. Cost: reads these matrices once from disk.
 */
export async function readStrength(files: readonly string[], layer: number, layerCount: number): Promise<Float64Array> {
  const readers = await readersOf(files, layer, layerCount);
  const first = readers.flatMap(({ matrices }) => matrices)[0];
  if (first === undefined) {
    throw new RewardLensError('UNSUPPORTED_ARCH', `'${files[0] ?? ''}': layer ${layer}: no matrix of a known name reads the stream behind it`, { details: { layer } });
  }
  const out = new Float64Array(first.length);
  for (const { norm, matrices } of readers) {
    for (const matrix of matrices) {
      matrix.forEach((sum, j) => (out[j] = (out[j] as number) + sum * (norm?.[j] ?? 1)));
    }
  }
  return out;
}
