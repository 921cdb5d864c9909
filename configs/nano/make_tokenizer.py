#!/usr/bin/env python3
"""Makes tokenizer/ of the small model from the captions of data sets: a SentencePiece unigram model in T5's layout.

    pip install sentencepiece==0.2.1 protobuf
    python configs/nano/make_tokenizer.py data/people [data/more ...]

Every word of the captions is one piece, all else is spelt; letters are folded to lower case. The number of pieces also
goes to text_encoder/config.json.
"""

import collections
import io
import json
import math
import pathlib
import re
import sys
import tarfile

import sentencepiece
from sentencepiece import sentencepiece_model_pb2

HERE = pathlib.Path(__file__).parent
CHARACTERS = "abcdefghijklmnopqrstuvwxyz0123456789.,;:'\"!?()-"
# Of prompts; the captions may lack some.
CLASS_WORDS = "man men woman women boy girl baby child kid person lady gentleman people".split()


def captions(folder):
    for shard in sorted(pathlib.Path(folder).glob("train-*.tar")):
        with tarfile.open(shard) as archive:
            for member in archive:
                if member.name.endswith(".txt"):
                    # The trigger word never reaches the text encoder.
                    yield archive.extractfile(member).read().decode().strip().replace(" img", "")


def pieces_of(words):
    """A model of whole words and single characters, with the normalisation of a trained one."""
    trained = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter([" ".join(words), CHARACTERS]), model_writer=trained, model_type="char", vocab_size=256,
        hard_vocab_limit=False, pad_id=0, eos_id=1, unk_id=2, bos_id=-1, normalization_rule_name="nmt_nfkc_cf",
        minloglevel=1,
    )
    model = sentencepiece_model_pb2.ModelProto.FromString(trained.getvalue())
    specials = list(model.pieces[:3])
    del model.pieces[:]
    model.pieces.extend(specials)
    model.trainer_spec.model_type = sentencepiece_model_pb2.TrainerSpec.UNIGRAM
    total = sum(words.values())
    scores = {f"\u2581{word}": math.log(count / total) for word, count in words.most_common()}
    # Any spelling costs more than any word.
    rarest = min(scores.values())
    scores |= {character: rarest - 4 for character in ["\u2581", *CHARACTERS]}
    for piece, score in scores.items():
        model.pieces.add(piece=piece, score=score)
    model.trainer_spec.vocab_size = len(model.pieces)
    return model


def main():
    sentences = [caption for folder in sys.argv[1:] for caption in captions(folder)]
    words = collections.Counter(CLASS_WORDS)
    words.update(word for sentence in sentences for word in re.findall("[a-z0-9]+", sentence.lower()))
    model = pieces_of(words).SerializeToString()
    (HERE / "tokenizer/spiece.model").write_bytes(model)
    processor = sentencepiece.SentencePieceProcessor(model_proto=model)
    config = {
        "tokenizer_class": "T5Tokenizer", "pad_token": "<pad>", "eos_token": "</s>", "unk_token": "<unk>",
        "extra_ids": 0, "additional_special_tokens": [], "legacy": True, "model_max_length": 48,
    }
    (HERE / "tokenizer/tokenizer_config.json").write_text(json.dumps(config, indent=2) + "\n")
    path = HERE / "text_encoder/config.json"
    config = json.loads(path.read_text())
    config["vocab_size"] = processor.get_piece_size()
    path.write_text(json.dumps(config, indent=2) + "\n")
    lengths = sorted(len(processor.encode(sentence)) + 1 for sentence in sentences)
    print(f"{processor.get_piece_size()} pieces; tokens of a caption: median {lengths[len(lengths) // 2]}, most {lengths[-1]}")


main()
