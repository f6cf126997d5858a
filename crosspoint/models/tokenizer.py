"""From text to the numbers that CLIP's text tower reads."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, processors
from torch import Tensor

_START, _END = "<|startoftext|>", "<|endoftext|>"
_WORD_END = "</w>"
# CLIP's words: letters, single digits, or anything else that is not a space; English contractions are cut off.
_WORDS = r"'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"


class TextTokenizer:
    """Byte-pair encoding as CLIP's, between a start and an end token.

    Args:
        tokenizer: A tokenizer of the library tokenizers that adds start and end itself.

    Attributes:
        vocabulary: Number of tokens.
        end: Number of the end token, which pads shorter texts too.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        end = tokenizer.token_to_id(_END)
        if end is None:
            raise ValueError(f"a tokenizer must know {_END} as CLIP's does, got one without it")
        self._tokenizer = tokenizer
        self.vocabulary: int = tokenizer.get_vocab_size()
        self.end: int = end

    @classmethod
    def of_bytes(cls) -> TextTokenizer:
        """CLIP's tokenizer without merges: a token for each byte, another for each byte at the end of a word.

        It needs no file, and a model that is trained from scratch needs no other. Its bytes have CLIP's numbers.
        """
        letters = _letters_of_bytes()
        words = [*letters, *(letter + _WORD_END for letter in letters), _START, _END]
        tokenizer = Tokenizer(
            models.BPE({word: number for number, word in enumerate(words)}, [], end_of_word_suffix=_WORD_END)
        )
        tokenizer.normalizer = normalizers.Sequence(
            [normalizers.NFC(), normalizers.Replace(Regex(r"\s+"), " "), normalizers.Lowercase()]
        )
        tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
            [
                pre_tokenizers.Split(Regex(_WORDS), behavior="removed", invert=True),
                pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
            ]
        )
        tokenizer.post_processor = processors.TemplateProcessing(
            single=f"{_START} $A {_END}", special_tokens=[(_START, len(words) - 2), (_END, len(words) - 1)]
        )
        return cls(tokenizer)

    @classmethod
    def from_pretrained(cls, source: str) -> TextTokenizer:
        """CLIP's tokenizer from a folder or from the model hub.

        Raises:
            OSError: If it cannot be read.
        """
        from transformers import AutoTokenizer

        try:
            tokenizer = AutoTokenizer.from_pretrained(source)
        except (OSError, ValueError) as error:
            reason = str(error).splitlines()[0]
            raise OSError(f"{source} must hold CLIP's tokenizer, got none that can be read ({reason})") from error
        return cls(Tokenizer.from_str(tokenizer.backend_tokenizer.to_str()))

    @classmethod
    def from_json(cls, text: str) -> TextTokenizer:
        """The inverse of `to_json`."""
        return cls(Tokenizer.from_str(text))

    def to_json(self) -> str:
        """Everything about this tokenizer as one text."""
        text: str = self._tokenizer.to_str()
        return text

    def __call__(self, texts: Sequence[str], context: int) -> Tensor:
        """Encodes texts.

        Args:
            texts: B texts.
            context: Tokens of a text at most; a longer one is cut, and still ends with the end token.

        Returns:
            (B, T) int64, T the length of the longest text; the rest of the others is filled with the end token.

        Raises:
            ValueError: If there is no text.
        """
        if not texts:
            raise ValueError("there must be at least 1 text to encode, got 0")
        encoded = [encoding.ids for encoding in self._tokenizer.encode_batch(list(texts))]
        cut = [ids if len(ids) <= context else [*ids[: context - 1], self.end] for ids in encoded]
        tokens = torch.full((len(cut), max(map(len, cut))), self.end, dtype=torch.int64)
        for row, ids in enumerate(cut):
            tokens[row, : len(ids)] = torch.tensor(ids)
        return tokens


def _letters_of_bytes() -> list[str]:
    """The characters that byte-level tokenizers write bytes as, in the order of their numbers.

    Bytes that print stand for themselves and come first; the others follow, as characters from 256 on.
    """
    printing = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    return [chr(byte) for byte in printing] + [chr(256 + number) for number in range(256 - len(printing))]
