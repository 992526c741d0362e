"""What the commands read: small data, pictures and models, made from seeds."""

import json
import os
import random
import subprocess
import sys
import traceback
from pathlib import Path

from faults.processes import alone

ROOT = Path(__file__).resolve().parents[2]


def make_inputs(scratch):
    """Make them once, in a process of its own: what it imports would make forks slow."""
    scratch.mkdir(parents=True, exist_ok=True)
    with alone(scratch / "inputs.lock"):
        for make in (tables, language, pictures, sentences):
            done = scratch / f"made-{make.__name__}"
            if not done.exists():
                in_a_fork(scratch, make, done)


def in_a_fork(scratch, make, done):
    pid = os.fork()
    if pid == 0:
        try:
            os.chdir(scratch)
            make()
            done.touch()
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            os._exit(0)
    os.waitpid(pid, 0)
    assert done.exists()


def command(line):
    subprocess.run([sys.executable, "-m", "robust_rl", *line.split()], check=True, env=os.environ | {"PYTHONPATH": str(ROOT)})


def tables():
    from robust_rl import datasets

    datasets.collect("FrozenLake-v1", None, 2000, horizon=20).save("data.npz")
    command("solve FrozenLake-v1 --set tv --radius 0.1 --support nominal --discount 0.9 --out solved")
    command("concepts simulate --graph G1 --n 1000 --out concepts.csv")


def language():
    sys.path.insert(0, str(ROOT))
    from tests.alignment import tiny

    tiny.model().save_pretrained("lm")
    tiny.tokenizer().save_pretrained("lm")
    tiny.pairs().to_json("pairs.jsonl")
    Path("prompts.jsonl").write_text("".join(json.dumps({"prompt": f"say {word}: "}) + "\n" for word in tiny.WORDS))
    Path("corpus.txt").write_text(" ".join(random.Random(0).choices(tiny.WORDS, k=600)))
    command("less fit --model lm --text corpus.txt --length 48 --sequences 12 --budget 8 --epochs 2 --hidden 8 --out kernels")


def pictures():
    import numpy as np
    import torch
    from diffusers import DDPMScheduler, UNet2DModel
    from PIL import Image
    from transformers import ViTConfig, ViTImageProcessor, ViTModel

    from robust_rl.extras.dpnp import DPnPPipeline

    torch.manual_seed(0)
    unet = UNet2DModel(
        sample_size=8, in_channels=1, out_channels=1, layers_per_block=1, block_out_channels=(8, 8), norm_num_groups=4,
        down_block_types=("DownBlock2D", "DownBlock2D"), up_block_types=("UpBlock2D", "UpBlock2D"),
    )  # fmt: skip
    DPnPPipeline(unet.eval(), DDPMScheduler(1000)).save_pretrained("digits")
    shape = {"hidden_size": 32, "num_hidden_layers": 4, "num_attention_heads": 4, "intermediate_size": 64}
    ViTModel(ViTConfig(**shape, image_size=32, patch_size=4)).save_pretrained("vit")
    ViTImageProcessor(size={"height": 32, "width": 32}).save_pretrained("vit")
    noise = np.random.default_rng(0)
    Image.fromarray((noise.random((8, 8)) * 255).astype(np.uint8)).save("digit.png")
    Path("pictures").mkdir(exist_ok=True)
    for number in range(24):
        Image.fromarray((noise.random((32, 32, 3)) * 255).astype(np.uint8)).save(f"pictures/{number:02d}.png")


def sentences():
    from robust_rl.extras.matte import synthetic_sentences

    data = synthetic_sentences(140, seed=0)
    rows = (f'{domain},{style},"{text}"' for domain, style, text in zip(data.domains, data.styles, data.texts))
    Path("sentences.csv").write_text("\n".join(["domain,style,text", *rows]))
    sizes = {"c_dim": 3, "s_dim": 2, "enc_hidden": 8, "dec_hidden": 8, "embedding": 4, "flow_hidden": 8, "batch_size": 8}
    Path("matte.json").write_text(json.dumps(sizes | {"steps": 20}))
    command("matte train sentences.csv --config matte.json --steps 3 --out matte")
