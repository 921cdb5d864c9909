"""What the reference scripts share: seeded weights, a small SentencePiece vocabulary, schedulers, file writing.

Versions that wrote the fixtures: torch 2.9.0 (CPU), diffusers 0.42.1, transformers 5.23.0, tokenizers 0.23,
sentencepiece 0.2.3, safetensors 0.8.0, Python 3.11.
"""

import json
import os
import random

import sentencepiece
import torch
from safetensors.torch import save_file

WORDS = (
    "a man woman person young elderly smiling walking talking reading playing guitar in the park at sunset wearing red blue "
    "jacket hat glasses camera slowly moves around kitchen street rain snow light soft warm close up portrait of an old teacher "
    "doctor child running dog beach waves img cooking laughing nodding looking to left right window coffee shop city night"
).split()

# A charsmap of a few rules in place of the 240 kB of nmt_nfkc: full-width letters, ligature, no-break and ideographic space.
SMALL_RULES = "\n".join(
    ["FF21\t41", "FF41\t61", "FB01\t66 69", "A0\t20", "3000\t20", "9\t20", "A\t20", "65 301\tE9", "61 300\tE0"]
)


def train_spiece(folder, seed, full_charsmap):
    """Write `folder`/spiece.model: a unigram vocabulary of about a hundred pieces, laid out as T5's (pad 0, eos 1, unk 2)."""
    rng = random.Random(seed)
    os.makedirs(folder, exist_ok=True)
    prefix = os.path.join(folder, "spiece")
    corpus, rules = os.path.join(folder, "corpus.txt"), os.path.join(folder, "rules.tsv")
    with open(corpus, "w") as file:
        for _ in range(4000):
            words = " ".join(rng.choice(WORDS) for _ in range(rng.randint(5, 14)))
            file.write(words + rng.choice([".", "!", ", café déjà vu", " — 1234567890", ""]) + "\n")
    with open(rules, "w") as file:
        file.write(SMALL_RULES + "\n")
    normalisation = {"normalization_rule_name": "nmt_nfkc"} if full_charsmap else {"normalization_rule_tsv": rules}
    # relative names: the trainer stores its arguments inside the model
    here = os.getcwd()
    os.chdir(folder)
    try:
        sentencepiece.SentencePieceTrainer.train(
            input="corpus.txt",
            model_prefix="spiece",
            vocab_size=300,
            model_type="unigram",
            pad_id=0,
            eos_id=1,
            unk_id=2,
            bos_id=-1,
            character_coverage=1.0,
            hard_vocab_limit=False,
            minloglevel=2,
            **{name: os.path.basename(value) for name, value in normalisation.items()},
        )
    finally:
        os.chdir(here)
    for path in (corpus, rules, prefix + ".vocab"):
        os.remove(path)
    return sentencepiece.SentencePieceProcessor(model_file=prefix + ".model").get_piece_size()


def write_tokenizer_config(folder, pieces, max_length):
    """The files beside spiece.model in the released checkpoints (written by transformers 4): no tokenizer.json among them."""
    sentinels = {f"<extra_id_{i}>": pieces + 99 - i for i in range(100)}
    plain = {"lstrip": False, "normalized": False, "rstrip": False, "single_word": False, "special": True}
    stripped = plain | {"lstrip": True, "rstrip": True}
    decoder = {str(i): {"content": token, **plain} for i, token in enumerate(["<pad>", "</s>", "<unk>"])}
    decoder |= {str(i): {"content": token, **stripped} for token, i in sorted(sentinels.items(), key=lambda item: item[1])}
    write_json(os.path.join(folder, "added_tokens.json"), sentinels)
    write_json(
        os.path.join(folder, "tokenizer_config.json"),
        {
            "added_tokens_decoder": decoder,
            "additional_special_tokens": list(sentinels),
            "clean_up_tokenization_spaces": True,
            "eos_token": "</s>",
            "extra_ids": 100,
            "legacy": True,
            "model_max_length": max_length,
            "pad_token": "<pad>",
            "sp_model_kwargs": {},
            "tokenizer_class": "T5Tokenizer",
            "unk_token": "<unk>",
        },
    )


def randomise(module, generator, scale=0.625):
    """Draw every weight: zero-initialised gates and unit norms would hide mistakes."""
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            if parameter.ndim <= 1:
                centre = 1.0 if "norm" in name and name.endswith("weight") else 0.0
                parameter.copy_(centre + 0.2 * noise)
            else:
                parameter.copy_(noise * (scale / parameter[0].numel() ** 0.5))


def scheduler(cls, snr_shift):
    """The scheduler settings of every released checkpoint; `snr_shift` is 3 for 2B and 1 for 5B and 1.5."""
    return cls(
        num_train_timesteps=1000,
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        clip_sample=False,
        set_alpha_to_one=True,
        steps_offset=0,
        prediction_type="v_prediction",
        rescale_betas_zero_snr=True,
        snr_shift_scale=snr_shift,
        timestep_spacing="trailing",
    )


class RecordedNoise:
    """Stands in for the DPM scheduler's `randn_tensor` and keeps, for each step, the draw that the step uses (its last)."""

    def __init__(self, generator):
        self.generator, self.draws, self.open = generator, [], True

    def __enter__(self):
        import diffusers.schedulers.scheduling_dpm_cogvideox as module

        self.module, self.original = module, module.randn_tensor
        module.randn_tensor = self.draw
        return self

    def __exit__(self, *_):
        self.module.randn_tensor = self.original

    def draw(self, shape, generator=None, device=None, dtype=None, **_):
        noise = torch.randn(shape, generator=self.generator, dtype=dtype)
        if self.open:
            self.draws.append(noise)
        else:
            self.draws[-1] = noise
        self.open = False
        return noise

    def next_step(self, *_):
        """Callback at the end of a step."""
        self.open = True
        return {}


def write_json(path, value):
    with open(path, "w") as file:
        json.dump(value, file, indent=1)
        file.write("\n")


def write_tensors(path, tensors):
    save_file({name: tensor.detach().clone().contiguous() for name, tensor in tensors.items()}, path)
