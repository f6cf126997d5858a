"""ShapeNet-55 with renders, in the layout of ULIP's pre-training data.

root/train.txt, test.txt                                      one <synset>-<id>.npy a line
root/taxonomy.json                                            [{"synsetId": "02691156", "name": "airplane,plane"}, ...]
root/shapenet_pc/<synset>-<id>.npy                            cloud (N, 3)
root/rendered_images/<synset>-<id>/<synset>-<id>_r_000.png    views from around; ..._r_000_depth0001.png beside them
"""

from __future__ import annotations

import json
from pathlib import Path

from crosspoint.data.datasets.listed_clouds import Listed, ListedClouds
from crosspoint.data.files.listings import read_split
from crosspoint.data.files.pictures import pictures_in

LAYOUT = (
    "a ShapeNet-55 folder must hold shapenet_pc/<synset>-<id>.npy, rendered_images/<synset>-<id>/*.png, taxonomy.json, "
    "train.txt and test.txt"
)
_CLOUDS, _RENDERED = "shapenet_pc", "rendered_images"
_COMMON_NAMES = {"display": "monitor", "vessel": "ship", "ashcan": "trashcan"}  # as the official code renames them


class ShapeNet55(ListedClouds):
    """Objects of one split; the classes are the first names of the synsets that the two splits hold, sorted."""

    def listed(self) -> Listed:
        """The objects of the split."""
        listed = {part: read_split(self.root / f"{part}.txt", LAYOUT) for part in ("train", "test")}
        name_of = _names(self.root / "taxonomy.json")
        for part, lines in listed.items():
            for line in lines:
                if line.split("-")[0] not in name_of:
                    raise ValueError(
                        f"every line of a ShapeNet-55 split must begin with a synset of taxonomy.json, "
                        f"got {line!r} in {self.root / part}.txt"
                    )
        class_names = sorted({name_of[line.split("-")[0]] for lines in listed.values() for line in lines})
        lines = listed[self.split]
        return Listed(
            [self.root / _CLOUDS / f"{Path(line).stem}.npy" for line in lines],
            [class_names.index(name_of[line.split("-")[0]]) for line in lines],
            class_names,
        )

    def pictures(self, index: int) -> list[Path]:
        """The renders of an object, colours and depths, by name."""
        return pictures_in(self.root / _RENDERED / self.files[index].stem)


def _names(file: Path) -> dict[str, str]:
    """Name of each synset."""
    if not file.is_file():
        raise FileNotFoundError(f"{LAYOUT}, got no file {file}")
    try:
        entries = json.loads(file.read_text())
        names = {str(entry["synsetId"]): str(entry["name"]).split(",")[0].strip() for entry in entries}
    except (ValueError, TypeError, KeyError) as error:
        raise ValueError(f"taxonomy.json must be a list of synsetId and name, got {file} ({error})") from error
    return {synset: _COMMON_NAMES.get(name, name) for synset, name in names.items()}
