"""Language models of two layers with random weights, one of each architecture."""

import torch
import transformers as tf

SIZES = {
    "vocab_size": 61, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "max_position_embeddings": 128,
    "bos_token_id": 1, "eos_token_id": None, "pad_token_id": 0,
}  # fmt: skip
GLU = SIZES | {"intermediate_size": 48, "num_key_value_heads": 2}
FAMILIES = {
    "llama": lambda: tf.LlamaForCausalLM(tf.LlamaConfig(**GLU)),
    "llama-bias": lambda: tf.LlamaForCausalLM(tf.LlamaConfig(**GLU, mlp_bias=True)),
    "qwen2": lambda: tf.Qwen2ForCausalLM(tf.Qwen2Config(**GLU)),
    "qwen3": lambda: tf.Qwen3ForCausalLM(tf.Qwen3Config(**GLU, head_dim=8)),
    "mistral": lambda: tf.MistralForCausalLM(tf.MistralConfig(**GLU)),
    "gemma": lambda: tf.GemmaForCausalLM(tf.GemmaConfig(**GLU, head_dim=8)),
    "gemma2": lambda: tf.Gemma2ForCausalLM(tf.Gemma2Config(**GLU, head_dim=8, sliding_window=16)),
    "gemma3": lambda: tf.Gemma3ForCausalLM(tf.Gemma3TextConfig(**GLU, head_dim=8, sliding_window=16)),
    "phi": lambda: tf.PhiForCausalLM(tf.PhiConfig(**GLU)),
    "phi3": lambda: tf.Phi3ForCausalLM(tf.Phi3Config(**GLU)),
    "opt": lambda: tf.OPTForCausalLM(tf.OPTConfig(**SIZES, ffn_dim=48, word_embed_proj_dim=32)),
    "falcon": lambda: tf.FalconForCausalLM(tf.FalconConfig(**SIZES, ffn_hidden_size=48)),
    "gpt-neox": lambda: tf.GPTNeoXForCausalLM(tf.GPTNeoXConfig(**SIZES, intermediate_size=48)),
    "gpt2": lambda: tf.GPT2LMHeadModel(
        tf.GPT2Config(
            vocab_size=61, n_embd=32, n_layer=2, n_head=4, n_inner=48, n_positions=128,
            bos_token_id=1, eos_token_id=None, pad_token_id=0,
        )
    ),
}  # fmt: skip


def make(family, dtype=torch.float64, seed=0):
    """Return a model whose weights are large enough to make neurons differ."""
    torch.manual_seed(seed)
    model = FAMILIES[family]().to(dtype).eval()
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if weight.dim() == 2:
                weight.normal_(0, 0.3)
            elif name.endswith("bias"):
                weight.normal_(0, 0.1)
    return model


def tokens(*shape, seed=0):
    """Return random ids, none of which pads."""
    return torch.randint(2, 61, shape, generator=torch.Generator().manual_seed(seed))
