"""Readers that need torch: language models, what VPO trains on, pictures, and the models of the other papers."""

import contextlib
import io
import json
import os
import tarfile
import warnings
from unittest import mock

import numpy as np

from robust_rl.errors import InvalidArgumentError, RobustRLError
from tests.fuzz_cases import OF_TORCH, have, preferences, resume, runs
from tests.fuzzing import (
    Case,
    mutate_ends,
    mutate_json,
    mutate_jsonl,
    mutate_safetensors,
    mutate_tar,
    mutate_text,
    mutate_weights,
)

# ----------------------------------------------------------------------------------------------------------- language models

EVIL = "import os\nos.mkdir(os.environ['FUZZ_MARK'])\nclass Model: pass\nclass Config: pass\n"


def language_models(folder):
    """A sound one, one whose weights are a pickle, and one that brings code."""
    import torch

    from tests.alignment import tiny

    for name in ("lm", "pickled", "code"):
        tiny.model().save_pretrained(folder / name)
        tiny.tokenizer().save_pretrained(folder / name)
    (folder / "pickled/model.safetensors").unlink()
    torch.save(tiny.model().state_dict(), folder / "pickled/pytorch_model.bin")
    brings_code(folder / "code", "AutoModelForCausalLM")
    return [folder / "lm", folder / "lm", folder / "pickled", folder / "code"]


def brings_code(folder, kind):
    """Make a folder's configuration name classes of its own, in a file that leaves a mark when it is run."""
    config = json.loads((folder / "config.json").read_text())
    config |= {"model_type": "of-its-own", "auto_map": {"AutoConfig": "evil.Config", kind: "evil.Model"}}
    (folder / "config.json").write_text(json.dumps(config))
    tokens = json.loads((folder / "tokenizer_config.json").read_text())
    (folder / "tokenizer_config.json").write_text(json.dumps(tokens | {"auto_map": {"AutoTokenizer": ["evil.Model", None]}}))
    (folder / "evil.py").write_text(EVIL)


def read_language_model(path):
    from robust_rl.extras.llm_loading import load_language_model

    load_language_model(str(path))


def ggufs(folder):
    import gguf

    writer = gguf.GGUFWriter(folder / "a.gguf", "llama")
    for add, value in (
        ("block_count", 1), ("context_length", 32), ("embedding_length", 32), ("feed_forward_length", 32), ("head_count", 2),
        ("head_count_kv", 2), ("layer_norm_rms_eps", 1e-5), ("vocab_size", 9),
    ):  # fmt: skip
        getattr(writer, f"add_{add}")(value)
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list([*(chr(97 + i) for i in range(8)), "ab"])
    writer.add_token_types([1] * 9)
    writer.add_token_merges(["a b"])
    rng = np.random.default_rng(0)
    shapes = {"token_embd": (9, 32), "output_norm": (32,), "output": (9, 32), "blk.0.attn_norm": (32,), "blk.0.ffn_norm": (32,)}
    shapes |= {
        f"blk.0.{name}": (32, 32) for name in ("attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down")
    }
    for name, shape in shapes.items():
        writer.add_tensor(f"{name}.weight", rng.normal(size=shape).astype(np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return [folder / "a.gguf"]


def read_gguf(path):
    from robust_rl.alignment import gguf

    gguf.convert(path, path.parent / "converted")


def kernels(folder):
    from robust_rl.extras.less import LessKernels
    from tests.extras.tiny_llm import make

    LessKernels.from_config(make("llama").config, rank=2, hidden=4).save(folder / "k.safetensors")
    return [folder / "k.safetensors"]


def read_kernels(path):
    from robust_rl.extras.less import LessKernels

    LessKernels.load(path)


def optimizer_states(folder):
    from robust_rl.alignment.optimizer_state import save_state

    optimizer = _optimizer()
    save_state(optimizer, folder / "o.safetensors")
    return [folder / "o.safetensors"]


def _optimizer():
    import torch

    weights = [torch.nn.Parameter(torch.ones(3)), torch.nn.Parameter(torch.ones(2, 2))]
    optimizer = torch.optim.AdamW(weights)
    sum((weight**2).sum() for weight in weights).backward()
    optimizer.step()
    return optimizer


def read_optimizer_state(path):
    from robust_rl.alignment.optimizer_state import load_state

    load_state(_optimizer(), path)


def reward_models(folder):
    import torch
    from transformers import LlamaConfig, LlamaForSequenceClassification

    from tests.alignment import tiny

    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "vocab_size": 259}
    model = LlamaForSequenceClassification(LlamaConfig(**sizes, num_labels=1, pad_token_id=258))
    for name in ("rm", "code"):
        model.save_pretrained(folder / name)
        tiny.tokenizer().save_pretrained(folder / name)
    brings_code(folder / "code", "AutoModelForSequenceClassification")
    return [folder / "rm", folder / "rm", folder / "code"]


def read_reward_model(path):
    from robust_rl.alignment.judges import judge_by_name

    judge = judge_by_name(f"model:{path}")
    judge("say it", "yes", "no", np.random.default_rng(0))


def trained_on(folder):
    from tests.alignment import tiny

    made = preferences(folder)
    (folder / "splits").mkdir()
    for name in ("train", "test"):
        tiny.pairs(4).to_json(folder / f"splits/{name}.jsonl")
    tiny.model().save_pretrained(folder / "policy")
    tiny.tokenizer().save_pretrained(folder / "policy")
    return [*made, folder / "splits"]


def train_on(path):
    """Come to the point where the first step would be taken, as ``robust-rl vpo`` does."""
    from types import SimpleNamespace

    from trl import ModelConfig

    from robust_rl.alignment import VPOConfig, data, vpo
    from tests.alignment import tiny

    script = SimpleNamespace(dataset_name=str(path), dataset_train_split="train", dataset_test_split="test")
    chosen = ModelConfig(model_name_or_path=str(path.parents[1] / "seeds/policy"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        config = VPOConfig(**tiny.settings(path.parent / "out") | {"max_length": 32})
        splits = vpo.load(script, SimpleNamespace(datasets=None), data.PAIR)
        if "train" in splits:
            data.figures(vpo.make_trainer(script, config, chosen, splits), len(splits["train"]))


def configurations(folder):
    """YAML of ``vpo`` and ``vpo-online``, beside the preferences that they name."""
    preferences(folder)
    common = (
        f"model_name_or_path: nothing\ndataset_name: pairs.jsonl\noutput_dir: {folder}/out\nbf16: false\nuse_cpu: true\n"
        "learning_rate: 1.0e-3\nmax_steps: 3\ngradient_accumulation_steps: 2\neval_strategy: 'no'\nreport_to: none\n"
        "model_init_kwargs: {attn_implementation: eager}\nenv:\n  SOME_VARIABLE: x\n"
    )
    (folder / "vpo.yaml").write_text(common + "vpo_alpha: 0.1\nbeta: 0.1\nvpo_mode: offline\nuse_accelerate: false\n")
    (folder / "online.yaml").write_text(common + "judge: lexicon\nrounds: 2\nvpo_alpha: 0.1\n")
    return [folder / "vpo.yaml", folder / "online.yaml"]


def read_configuration(path):
    """Parse a configuration and check what it names, up to the training."""
    from robust_rl.alignment import vpo, vpo_online

    module = vpo_online if "online" in path.name else vpo
    here = os.getcwd()
    os.chdir(path.parent)
    try:
        with mock.patch.dict(os.environ), mock.patch("robust_rl.alignment.vpo.launch"):
            vpo.run_command(["--config", str(path)], module.MODULE, module.parser, module.check, module.check)
    except SystemExit as leaving:  # argparse's way of refusing
        raise InvalidArgumentError(f"exit code {leaving.code}") from None
    finally:
        os.chdir(here)


# ------------------------------------------------------------------------------------------------------------------ pictures


def pictures(folder):
    from PIL import Image

    values = (np.random.default_rng(0).random((8, 8)) * 255).astype(np.uint8)
    for name in ("a.png", "b.jpg", "c.gif", "d.bmp", "e.tiff", "f.webp", "g.ppm"):
        Image.fromarray(values).save(folder / name)
    return sorted(folder.iterdir())


def read_picture(path):
    from robust_rl.extras.dpnp.restoration import read_picture

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        read_picture(path, (1, 8, 8), True)


def pipelines(folder):
    import torch
    from diffusers import DDPMScheduler, UNet2DModel

    from robust_rl.extras.dpnp import DPnPPipeline

    torch.manual_seed(0)
    unet = UNet2DModel(
        sample_size=8, in_channels=1, out_channels=1, layers_per_block=1, block_out_channels=(8, 8), norm_num_groups=4,
        down_block_types=("DownBlock2D", "DownBlock2D"), up_block_types=("UpBlock2D", "UpBlock2D"),
    )  # fmt: skip
    DPnPPipeline(unet.eval(), DDPMScheduler(10)).save_pretrained(folder / "model")
    return [folder / "model"]


def read_pipeline(path):
    from robust_rl.extras.dpnp.model_folder import load_pipeline

    load_pipeline(path)


# --------------------------------------------------------------------------------------------- masked images, MATTE, concepts


def vision_models(folder):
    import torch
    import transformers
    from PIL import Image

    sizes = {"image_size": 8, "patch_size": 2, "num_channels": 1, "hidden_size": 8, "intermediate_size": 16}
    torch.manual_seed(0)
    model = transformers.ViTMAEModel(transformers.ViTMAEConfig(**sizes, num_hidden_layers=1, num_attention_heads=2))
    model.save_pretrained(folder / "vit")
    (folder / "vit/preprocessor_config.json").write_text('{"image_mean": [0.25], "image_std": [2.0]}')
    values = (np.random.default_rng(0).random((8, 8)) * 255).astype(np.uint8)
    for name in ("a.png", "b.jpg"):
        Image.fromarray(values).save(folder / "vit" / name)
    return [folder / "vit"]


def look_at_pictures(path):
    from robust_rl.extras.mim.folders import image_batches, image_files, load_vision_model

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = load_vision_model(str(path))
        for batch in image_batches(image_files(path), model, str(path)):
            assert batch.shape[0] == 1


def restyling_models(folder):
    from robust_rl.extras.matte import MatteConfig, TextMatte, synthetic_sentences

    sizes = {"c_dim": 3, "s_dim": 2, "enc_hidden": 8, "dec_hidden": 8, "embedding": 4, "domain_dim": 3, "flow_hidden": 8}
    model = TextMatte(MatteConfig(**sizes, batch_size=16, steps=2)).fit(synthetic_sentences(60, seed=0).labelled(5))
    model.save(folder / "matte.safetensors")
    return [folder / "matte.safetensors"]


def restyle(path):
    from robust_rl.extras.matte.study import load_model

    model = load_model(path)
    for style in list(model.styles)[:1]:
        model.counterfactual(["the pasta was bland"], model.domains[0], to=style, beams=2)


def matte_settings(folder):
    from dataclasses import asdict

    from robust_rl.extras.matte import MatteConfig

    (folder / "settings.json").write_text(json.dumps(asdict(MatteConfig())))
    (folder / "few.json").write_text('{"c_dim": 3, "steps": 10, "learning_rate": 0.01}')
    return [folder / "settings.json", folder / "few.json"]


def read_settings(path):
    from robust_rl.extras.matte.study import read_config

    read_config(path, "grammar")


def sentences(folder):
    """Tables of sentences, and the archive inside an archive that vaderSentiment's source distribution is."""
    from robust_rl.extras.matte.vader import ARCHIVE, FILES

    rows = 6 * [("hotel", "positive", "a fine, hot day"), ("movie", "negative", "cold"), ("hotel", "", "so so")]
    rows = [("domain", "style", "text"), *rows]
    for suffix, sign in (("csv", ","), ("tsv", "\t")):
        text = "".join(sign.join(f'"{cell}"' for cell in row) + "\n" for row in rows)
        (folder / f"table.{suffix}").write_text(text)
    texts = dict.fromkeys(FILES.values(), b"1_1\t1.5\tGood one\r\n2_1\t-2\tbad\r\n3_1\t0\tso so\r\n")
    inner = _archive({f"hutto/{name}": content for name, content in texts.items()})
    (folder / "inner.tar.gz").write_bytes(inner)
    (folder / "vaderSentiment-3.3.2.tar.gz").write_bytes(_archive({f"v/{ARCHIVE}": inner}))
    (folder / "texts").mkdir()
    for name, content in texts.items():
        (folder / "texts" / name).write_bytes(content)
    names = ("table.csv", "table.tsv", "inner.tar.gz", "vaderSentiment-3.3.2.tar.gz", "texts")
    return [folder / name for name in names]


def _archive(files):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return out.getvalue()


def read_sentences(path):
    from robust_rl.extras.matte import study

    if path.suffix in (".csv", ".tsv"):
        with contextlib.suppress(RobustRLError):
            study.read_lines(path)
    study.read_sentences(str(path))


def backbones(folder):
    from tests.extras.matte.test_backbone import save

    made = save(folder / "t5", "t5")
    save(folder / "code", "t5")
    brings_code(folder / "code", "AutoModelForSeq2SeqLM")
    return [made, made, folder / "code"]


def read_backbone(path):
    from robust_rl.extras.matte.backbone import load_backbone

    load_backbone(path)
    load_backbone(path, weights=False)


def observations(folder):
    from robust_rl.extras.concepts import DiscreteHierarchy
    from robust_rl.extras.concepts.page import write_sample

    write_sample(DiscreteHierarchy.random("G1", 2, seed=0), 40, folder / "data.csv", seed=0)
    (folder / "data.json").unlink()
    (folder / "names.csv").write_text("wet,wind\nyes,no\nno,no\nyes,yes\n" * 9)
    return [folder / "data.csv", folder / "names.csv"]


def read_observations(path):
    from robust_rl.extras.concepts import HierarchicalConceptDiscovery
    from robust_rl.extras.concepts.page import read_table

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        HierarchicalConceptDiscovery(n_states=2, refine=False).fit(read_table(path))


def hierarchies(folder):
    from robust_rl.extras.concepts import DiscreteHierarchy

    truth = DiscreteHierarchy.random("G4", 2, seed=0).to_spec()
    (folder / "whole.json").write_text(json.dumps(truth))
    (folder / "bare.json").write_text(json.dumps({"children": truth["children"]}))
    return [folder / "whole.json", folder / "bare.json"]


def read_hierarchy(path):
    from robust_rl.extras.concepts.page import hierarchy_from

    hierarchy_from(str(path), (2, 2), seed=0, strength=0.6).sample(5, seed=0)


# --------------------------------------------------------------------------------------------------------------------- cases


def cases_of_torch():
    """Return the cases of this file, as far as the packages that they need are installed."""
    tensors, run, text = (mutate_safetensors,), (mutate_json, mutate_jsonl, mutate_safetensors), (mutate_text,)
    folder = (mutate_json, mutate_safetensors, mutate_weights)
    picture = (mutate_ends,)
    needs = {
        Case("runs: checkpoints of torch", runs(OF_TORCH), resume, run): ("diffusers", "zuko", "sklearn"),
        Case("LESS kernels", kernels, read_kernels, tensors): (),
        Case("optimizer states", optimizer_states, read_optimizer_state, tensors): (),
        Case("language models", language_models, read_language_model, folder): (),
        Case("reward models", reward_models, read_reward_model, folder): (),
        Case("GGUF", ggufs, read_gguf, (mutate_ends,)): ("gguf",),
        Case("vpo: preferences, tokenized", trained_on, train_on, (mutate_jsonl,)): ("trl", "pyarrow"),
        Case("vpo: configurations", configurations, read_configuration, text): ("trl", "pyarrow"),
        Case("pictures", pictures, read_picture, picture): ("PIL",),
        Case("diffusion models", pipelines, read_pipeline, folder): ("diffusers",),
        Case("masked images: models, pictures", vision_models, look_at_pictures, (*folder, mutate_ends)): ("PIL",),
        Case("MATTE: models", restyling_models, restyle, tensors): ("zuko",),
        Case("MATTE: settings", matte_settings, read_settings, (mutate_json,)): ("zuko",),
        Case("MATTE: sentences", sentences, read_sentences, (mutate_text, mutate_tar)): ("zuko",),
        Case("MATTE: encoder-decoders", backbones, read_backbone, folder): ("zuko",),
        Case("concepts: tables", observations, read_observations, text): ("sklearn",),
        Case("concepts: graphs", hierarchies, read_hierarchy, (mutate_json,)): ("sklearn",),
    }
    return [case for case, packages in needs.items() if have(*packages)]
