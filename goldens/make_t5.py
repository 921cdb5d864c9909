"""Text side: relative-position buckets, an encoder on a long sequence, and token ids of awkward strings.

Usage: python make_t5.py OUT_DIR T5_TOKENIZER_JSON      (the repository's copy: python make_t5.py t5 tokenizer.json)

T5_TOKENIZER_JSON is the tokenizer.json of google/t5-v1_1 (32100 entries); only ids made with it are kept.

OUT_DIR/text_encoder/            a tiny T5 encoder (config.json, model.safetensors)
OUT_DIR/encoder.safetensors      input_ids i64 [2,200], hidden [2,200,D]; positions [601] = -300..300 (key minus query),
                                 buckets [601]; no attention mask: padding is attended, as in CogVideoX
OUT_DIR/tokenizer/               spiece.model with T5's own normaliser (nmt_nfkc), laid out as in the released checkpoints
OUT_DIR/tokenizer_cases.json     {"spiece": [...], "t5_vocabulary": [...]}: text and ids; "padded": ids at max_length 226

What the pipeline's tokenizer is (transformers 5.23.0, tokenizers 0.23), measured:
- T5Tokenizer has one implementation, on the `tokenizers` library; sentencepiece only reads spiece.model. From that file alone:
  Unigram (pieces' scores, unk 2, no byte fallback) with the 100 sentinels appended, <extra_id_99> first and <extra_id_0> last;
  normaliser Precompiled(charsmap of the file), and nothing else; pre-tokeniser WhitespaceSplit, then
  Metaspace("▁", prepend_scheme="always", split); template "$A </s>".
- <pad>, </s>, <unk> and the sentinels are cut out of the raw text first, wherever they stand, and give their ids; each
  stretch between them is normalised and gets its "▁" anew.
- An unknown character is id 2, a run of them inside a word a single 2; the word's "▁" stays a piece of its own.
- Empty or blank text is [1]. Truncation keeps max_length - 1 ids and then </s>; padding is 0, on the right.
- `legacy` has no effect. A folder with tokenizer.json in place of spiece.model gives the same ids.
Against sentencepiece's own `encode(text) + [1]`, over every code point in four contexts, ids differ for U+0085 alone (here a
blank, there a character), and for U+2034 by a tie between two splits. Beyond single characters: special tokens in the
text, and a combining mark behind a character that the charsmap expands or turns into a blank ("ﬁ" + U+0301), which the
grapheme-wise Precompiled drops. transformers 4.57 keeps those marks, keeps U+0085 as an unknown character, and adds no
</s> to a text that ends in one; on ordinary text all three agree.
"""

import json
import os
import shutil
import sys

import torch
from reference import randomise, train_spiece, write_tensors, write_tokenizer_config
from transformers import T5Config, T5EncoderModel, T5Tokenizer
from transformers.models.t5.modeling_t5 import T5Attention

TEXTS = [
    "",
    " ",
    " \t\n ",
    "a man",
    " a man",
    "a man ",
    "a  man   walks",
    "a\tman\nwalks\r\nin the park",
    "A Man In The PARK",
    "A portrait of an old teacher, 35mm; soft light -- warm!",
    "café déjà vu",
    "cafe\u0301 de\u0301ja\u0300 vu",
    "naïve façade Ångström straße",
    "Ｆｕｌｌ　ｗｉｄｔｈ ｍａｎ １２３",
    "ﬁre ﬂow oﬃce",
    "ﬁ\u0301 man",
    "① ½ ™ … ‴ №",
    "a man 😀 smiling 👩‍👩‍👧 🇩🇪",
    "男の人が公園を歩く",
    "человек идёт по парку",
    "رجل في الحديقة",
    "하늘 한글",
    "a\x00man \x07 \x1b[0m \x7f end",
    "a\u0085man",
    "zero\u200bwidth soft\u00adhyphen no\u00a0break \ufeffbom",
    "line\u2028separator paragraph\u2029separator",
    "thin\u2009space em\u2003space ogham\u1680space ideographic\u3000space",
    "a▁man ▁ ▁▁",
    "<extra_id_0> man",
    "man<extra_id_0>man <extra_id_99>",
    "<extra_id_100> <extra_id_>",
    "a man</s> talking",
    "a man </s>",
    "<pad> man<pad>",
    "man <unk> man<unk>",
    "<PAD> </S> < pad >",
    "…...!?!?,,;;::'\"`´’“”«»()[]{}<>@#$%^&*_+=|\\/~",
    "1234567890 3.14 1,000,000 -5 10%",
    "https://example.org/a_b?c=d&e=f#g",
    "qzx xqz zzzz QQQQ ΩΩ",
    "word" * 60,
    "x" * 300,
    " ".join(["a man walking in the park at sunset, talking;"] * 40),
    " ".join(["man"] * 225),
    " ".join(["man"] * 226),
    "  leading and trailing \u3000",
]


def cases(tokenizer):
    padded = {"padding": "max_length", "max_length": 226, "truncation": True, "add_special_tokens": True}
    rows = []
    for text in TEXTS:
        ids = tokenizer(text).input_ids
        row = {"text": text, "ids": ids}
        if len(ids) >= 225:
            row["padded"] = tokenizer(text, **padded).input_ids
        rows.append(row)
    return rows


@torch.no_grad()
def encoder(folder, generator):
    config = T5Config(
        vocab_size=90, d_model=16, d_kv=6, d_ff=20, num_layers=2, num_heads=3, relative_attention_num_buckets=32,
        relative_attention_max_distance=128, feed_forward_proj="gated-gelu", layer_norm_epsilon=1e-6,
        is_encoder_decoder=False, use_cache=False, dropout_rate=0.0)
    model = T5EncoderModel(config).eval()
    randomise(model, generator, 1.25)
    # a strong bias, so that a wrong bucket far away shows
    bias = model.encoder.block[0].layer[0].SelfAttention.relative_attention_bias.weight
    bias.copy_(2 * torch.randn(bias.shape, generator=generator))
    model.save_pretrained(os.path.join(folder, "text_encoder"))
    ids = torch.randint(3, config.vocab_size, (2, 200), generator=generator)
    ids[1, 150] = 1
    ids[1, 151:] = 0
    positions = torch.arange(-300, 301)
    buckets = T5Attention._relative_position_bucket(positions, bidirectional=True, num_buckets=32, max_distance=128)
    write_tensors(os.path.join(folder, "encoder.safetensors"),
                  {"input_ids": ids, "hidden": model(ids)[0], "positions": positions, "buckets": buckets})


def main(folder, t5_json):
    shutil.rmtree(folder, ignore_errors=True)
    encoder_generator = torch.Generator().manual_seed(7200)
    encoder(folder, encoder_generator)
    tokenizer_dir = os.path.join(folder, "tokenizer")
    pieces = train_spiece(tokenizer_dir, "spiece t5", full_charsmap=True)
    write_tokenizer_config(tokenizer_dir, pieces, 226)
    tables = {"spiece": cases(T5Tokenizer.from_pretrained(tokenizer_dir))}

    whole = os.path.join(folder, "t5_vocabulary")
    os.makedirs(whole)
    shutil.copy(t5_json, os.path.join(whole, "tokenizer.json"))
    write_tokenizer_config(whole, 32000, 226)
    tables["t5_vocabulary"] = cases(T5Tokenizer.from_pretrained(whole))
    shutil.rmtree(whole)
    # a case a line
    lists = [f'"{name}": [\n' + ",\n".join(map(json.dumps, rows)) + "\n]" for name, rows in tables.items()]
    with open(os.path.join(folder, "tokenizer_cases.json"), "w") as file:
        file.write("{\n" + ",\n".join(lists) + "\n}\n")


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
