"""All classes of the procedural corpus; the position in this tuple is the label."""

from crosspoint.data.shapes.builder import ShapeClass
from crosspoint.data.shapes.furniture import BOOKSHELF, CABINET, DESK, STAIRS, TABLE
from crosspoint.data.shapes.handhelds import GUITAR, KNIFE, LAPTOP, MONITOR
from crosspoint.data.shapes.seating import BED, BENCH, CHAIR, SOFA, STOOL
from crosspoint.data.shapes.uprights import LAMP, PLANT, TREE, UMBRELLA
from crosspoint.data.shapes.vehicles import AIRPLANE, CAR, ROCKET
from crosspoint.data.shapes.vessels import BOTTLE, MUG, VASE

CLASSES: tuple[ShapeClass, ...] = (
    AIRPLANE,
    BED,
    BENCH,
    BOOKSHELF,
    BOTTLE,
    CABINET,
    CAR,
    CHAIR,
    DESK,
    GUITAR,
    KNIFE,
    LAMP,
    LAPTOP,
    MONITOR,
    MUG,
    PLANT,
    ROCKET,
    SOFA,
    STAIRS,
    STOOL,
    TABLE,
    TREE,
    UMBRELLA,
    VASE,
)
