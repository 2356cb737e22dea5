"""Small image sets in the layouts of other people, made by their own libraries where there is one."""

import gzip
import io
import json
import struct
import tarfile
from pathlib import Path

import numpy as np
from PIL import Image


def pixels(seed: int, side: int = 32) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (side, side, 3)).astype(np.uint8)


def encoded(seed: int, side: int = 32, format: str = "PNG") -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels(seed, side)).save(buffer, format)
    return buffer.getvalue()


def parquet(path: Path, cells: list, labels: list | None = None, names: list[str] | None = None, column: str = "image") -> Path:
    """As `datasets` writes it: ``cells`` are {"bytes", "path"}; ``names`` make a ClassLabel of ``labels``. Three rows a group."""
    import pyarrow
    import pyarrow.parquet

    kind = pyarrow.struct([("bytes", pyarrow.binary()), ("path", pyarrow.string())])
    columns = {column: pyarrow.array(cells, kind)}
    if labels is not None:
        columns["label"] = pyarrow.array(labels)
    table = pyarrow.table(columns)
    if names is not None:
        features = {"label": {"names": names, "_type": "ClassLabel"}}
        table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    path.parent.mkdir(parents=True, exist_ok=True)
    pyarrow.parquet.write_table(table, path, row_group_size=3)
    return path


def cells(count: int, start: int = 0) -> list[dict]:
    return [{"bytes": encoded(start + row), "path": None} for row in range(count)]


def tar(path: Path, contents: dict[str, bytes]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as file:
        for name, content in contents.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            file.addfile(member, io.BytesIO(content))
    return path


def idx(path: Path, images: np.ndarray, magic: int = 0x803, claimed: int | None = None) -> Path:
    """MNIST's images, uint8 (n, H, W); ``claimed``: how many the header says there are."""
    count = len(images) if claimed is None else claimed
    content = struct.pack(">4I", magic, count, *images.shape[1:]) + images.tobytes()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
    return path


def cifar(path: Path, labels: list[int], images: np.ndarray, coarse: int | None = None) -> Path:
    """CIFAR's binary version, uint8 (n, 32, 32, 3); ``coarse`` makes rows of CIFAR-100."""
    before = b"" if coarse is None else bytes([coarse])
    rows = [before + bytes([label]) + image.transpose(2, 0, 1).tobytes() for label, image in zip(labels, images)]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"".join(rows))
    return path


def svhn(path: Path, images: np.ndarray, **others) -> Path:
    from scipy.io import savemat

    path.parent.mkdir(parents=True, exist_ok=True)
    savemat(path, {"X": images.transpose(1, 2, 3, 0), "y": np.ones((len(images), 1), np.uint8), **others}, do_compression=True)
    return path
