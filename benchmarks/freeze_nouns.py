"""Make the package's noun table from NLTK's WordNet: `python benchmarks/freeze_nouns.py`.

NLTK must find the corpus `wordnet` 3.0 (`python -m nltk.downloader wordnet`, or $NLTK_DATA). Writes
dogfast/assets/nouns/wordnet-3.0.tsv.xz, the same bytes from the same corpus.
"""

import lzma

from nltk.corpus.reader.wordnet import WordNetCorpusReader
from nltk.data import find

from dogfast.data.nouns import FROZEN, format_table, read_corpus
from dogfast.run import publish

VERSION = "3.0"


def main() -> None:
    reader = WordNetCorpusReader(find("corpora/wordnet"), None)
    if reader.get_version() != VERSION:
        raise SystemExit(f"this is WordNet {reader.get_version()}; the frozen table is of {VERSION}")
    nouns = read_corpus(reader)
    publish(FROZEN, lzma.compress(format_table(nouns).encode(), preset=9 | lzma.PRESET_EXTREME))
    print(f"{len(nouns.synsets)} synsets, {len(nouns.senses)} spellings, {FROZEN.stat().st_size / 1e6:.2f} MB")


if __name__ == "__main__":
    main()
