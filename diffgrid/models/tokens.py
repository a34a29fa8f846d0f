"""What a model's own tokenizers make of a prompt, told without loading the model.

They are read from its folder as transformers does: from `tokenizer.json`, or CLIP's from
`vocab.json` and `merges.txt`. Where there is neither, or none that can be read, nothing is told.
"""

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from tokenizers import Encoding, Regex, Tokenizer, normalizers, pre_tokenizers
from tokenizers.models import BPE

from diffgrid.errors import BadInput
from diffgrid.models.json_file import read_file, read_json
from diffgrid.models.weights import file_identity

_FILES = ("tokenizer_config.json", "tokenizer.json", "vocab.json", "merges.txt")
_CLIP_WORDS = r"'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"  # arXiv 2103.00020
_NO_LIMIT = 10**6  # tokens; transformers writes 10^30 where it knows none
_CLIP_ENDS = 2  # tokens: its begin and its end


@dataclass(frozen=True)
class Reader:
    """One tokenizer, and how many tokens of a prompt its encoder is given."""

    tokenizer: Tokenizer
    room: int

    def reads(self, prompt: str) -> int:
        """How many characters of a prompt it has room for."""
        offsets = [offset for offset, _ in self._encoded(prompt).offsets]
        return offsets[self.room] if len(offsets) > self.room else len(prompt)

    def knows(self, word: str) -> bool:
        """Whether it has a token for a word or for its parts: not one that stands for any, nor
        bytes, of which letters of scripts that it does not know take several each."""
        ids = self._encoded(word).ids
        return self.tokenizer.token_to_id("<unk>") not in ids and 0 < len(ids) <= len(word)

    def _encoded(self, text: str) -> Encoding:
        try:
            return self.tokenizer.encode(text, add_special_tokens=False)
        except Exception:  # the package raises no other, where it has no token and none for that
            return Encoding()


def read(folder: Path, longest: int | None = None) -> Reader | None:
    """The tokenizer in a part of a model; `longest` is the most tokens that its pipeline takes,
    where that is not for the tokenizer to say."""
    files = (folder / name for name in _FILES)
    return _read(folder, longest, tuple(file_identity(file) for file in files if file.is_file()))


@lru_cache(maxsize=16)  # CLIP's takes a tenth of a second, and each drawing of the form asks
def _read(folder: Path, longest: int | None, identity: tuple[object, ...]) -> Reader | None:
    try:
        told = read_json(folder / "tokenizer_config.json", model_max_length=float)
        own = told.get("model_max_length", _NO_LIMIT)
        most = longest or int(min(max(own, 0), _NO_LIMIT))
        if (folder / "tokenizer.json").is_file():
            tokenizer = _from_file(folder / "tokenizer.json")
            return Reader(tokenizer, max(0, most - tokenizer.num_special_tokens_to_add(False)))
        return Reader(_clip(folder), max(0, most - _CLIP_ENDS))
    except (BadInput, OSError, TypeError, ValueError):
        return None


def _from_file(file: Path) -> Tokenizer:
    text = read_file(file)
    try:
        tokenizer = Tokenizer.from_str(text.decode("utf-8"))
    except Exception as error:  # the package raises no other
        raise BadInput(f"model file {file} cannot be read: {error}.") from error
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


def _clip(folder: Path) -> Tokenizer:
    """CLIP's, as its files are: byte-level byte pairs of lower-case words."""
    vocabulary = read_json(folder / "vocab.json")
    lines = read_file(folder / "merges.txt").decode("utf-8").splitlines()
    merges = [(left, right) for left, right in (line.split() for line in lines[1:] if line)]
    try:
        tokenizer = Tokenizer(BPE(vocabulary, merges, end_of_word_suffix="</w>"))
    except Exception as error:
        raise BadInput(f"the tokenizer in {folder} cannot be read: {error}.") from error
    plain = [normalizers.NFC(), normalizers.Replace(Regex(r"\s+"), " "), normalizers.Lowercase()]
    tokenizer.normalizer = normalizers.Sequence(plain)
    words = pre_tokenizers.Split(Regex(_CLIP_WORDS), behavior="removed", invert=True)
    as_bytes = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([words, as_bytes])
    return tokenizer
