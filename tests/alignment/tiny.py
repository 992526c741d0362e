"""A language model of two layers, a tokenizer of bytes, and preferences about nothing: all made here, from a seed."""

import random

import torch
from datasets import Dataset
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

TEMPLATE = (
    "{% for m in messages %}<s>{{ m['role'] }}\n{{ m['content'] }}</s>{% endfor %}"
    "{% if add_generation_prompt %}<s>assistant\n{% endif %}"
)
WORDS = ["good", "bad", "fine", "poor", "glad", "grim", "warm", "cold", "keen", "dull"]


def tokenizer():
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    bpe = Tokenizer(models.BPE(vocab={token: i for i, token in enumerate(alphabet)}, merges=[]))
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    fast = PreTrainedTokenizerFast(tokenizer_object=bpe, eos_token="</s>", bos_token="<s>", pad_token="<pad>")
    fast.chat_template = TEMPLATE
    return fast


def model(seed=0):
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=259, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2, num_key_value_heads=2,
        max_position_embeddings=256, initializer_range=0.2, bos_token_id=257, eos_token_id=256, pad_token_id=258,
    )  # fmt: skip
    return LlamaForCausalLM(config)


def pairs(count=16, seed=0, **columns):
    """Preferences with responses of differing length; a keyword adds a column made by a function of the row number."""
    rng = random.Random(seed)

    def text():
        return " ".join(rng.choices(WORDS, k=rng.randint(1, 3)))

    rows = [{"prompt": f"say {text()}: ", "chosen": text(), "rejected": text() + "."} for _ in range(count)]
    return Dataset.from_list([row | {name: make(i) for name, make in columns.items()} for i, row in enumerate(rows)])


def settings(directory, **options):
    """Options for a CPU and a few steps; any may be replaced."""
    return {
        "output_dir": str(directory),
        "max_steps": 4,
        "per_device_train_batch_size": 4,
        "learning_rate": 1e-3,
        "logging_steps": 1,
        "report_to": "none",
        "save_strategy": "no",
        "bf16": False,
        "use_cpu": True,
        "disable_tqdm": True,
        "gradient_checkpointing": False,
        "seed": 3,
    } | options


def losses(trainer):
    return [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]


def logged(trainer, name):
    return [entry[name] for entry in trainer.state.log_history if name in entry]
