"""Which machine instructions the kernels must have and must not have, and why.

A rule is written down when breaking it would go unnoticed by the tests: the result stays right, or stays right on the
machines at hand, but a promise (exact chain of roundings, fixed order of sums) or a design decision is lost.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase

from cuda_gates.disassembly import Listing

Check = Callable[[Listing], "str | None"]


@dataclass(frozen=True)
class Rule:
    """A check of some kernels.

    Attributes:
        kernels: patterns of their names, as the shell has them.
        check: says in words how a listing breaks the rule, "must ..., found ...", or None.
        reason: what is lost when it is broken.
        except_for: patterns of kernels that are exempt.
        since: the first target that it holds for.
    """

    kernels: tuple[str, ...]
    check: Check
    reason: str
    except_for: tuple[str, ...] = ()
    since: int = 0

    def applies(self, kernel: str, target: int) -> bool:
        """Whether a kernel must keep the rule on a target."""

        def among(patterns: Iterable[str]) -> bool:
            return any(fnmatchcase(kernel, pattern) for pattern in patterns)

        return target >= self.since and among(self.kernels) and not among(self.except_for)


def at_most(most: int, operations: str) -> Check:
    """No more than so many of some operations (a regular expression)."""

    def check(listing: Listing) -> str | None:
        found = listing.count(operations)
        return None if found <= most else f"must have at most {most} {operations}, found {found}"

    return check


def none_of(operations: str) -> Check:
    """None of some operations."""
    return at_most(0, operations)


def at_least(least: int, operations: str) -> Check:
    """No fewer than so many of some operations."""

    def check(listing: Listing) -> str | None:
        found = listing.count(operations)
        return None if found >= least else f"must have at least {least} {operations}, found {found}"

    return check


def pairs_of(first: str, second: str) -> Check:
    """At least one of each, and as many of the one as of the other."""

    def check(listing: Listing) -> str | None:
        counts = listing.count(first), listing.count(second)
        if counts[0] == counts[1] > 0:
            return None
        return f"must have as many {first} as {second}, found {counts[0]} and {counts[1]}"

    return check


def hottest_loop(operations: str, *checks: Check) -> Check:
    """Checks of the innermost loop with the most of some operations."""

    def check(listing: Listing) -> str | None:
        loop = max(listing.innermost_loops(), key=lambda loop: loop.count(operations), default=Listing(()))
        if loop.count(operations) == 0:
            return f"must have {operations} in an innermost loop, found none"
        faults = [fault for fault in (check(loop) for check in checks) if fault is not None]
        return None if not faults else f"in its innermost loop of {operations} " + "; ".join(faults)

    return check


def slots_per(most: float, operations: str) -> Check:
    """At most so many instructions for each of some operations: what a loop costs beyond its work."""

    def check(listing: Listing) -> str | None:
        found = len(listing.operations) / listing.count(operations)
        return None if found <= most else f"must have at most {most:g} instructions per {operations}, found {found:.2f}"

    return check


# Arithmetic in double precision and conversions from and to it.
DOUBLE = r"DADD|DMUL|DFMA|DSETP|DMNMX|F2F\.\w*F64|F2F\.F64\w*|I2F\.F64|F2I\.F64\w*|MUFU\.RCP64H|MUFU\.RSQ64H"
# Sums over all edges need more than float32 has: per row, not per edge.
IN_DOUBLE_BY_DESIGN = ("*<double*", "gather_edges_kernel*", "combine_*_kernel*", "sum_gradients_kernel*")

RULES = (
    Rule(("*",), none_of("LDL|STL"), "an array left the registers for local memory, which lies off the chip"),
    Rule(
        ("*",),
        none_of("ATOM|ATOMG|RED|REDG"),
        "results must not depend on the order in which threads reach memory; every sum is in a fixed order",
    ),
    Rule(
        ("*",),
        none_of("ATOMS"),
        "as for global memory; only counting integers commutes",
        except_for=("count_digits_kernel",),
    ),
    Rule(
        ("*",),
        none_of(r"ATOMS\.CAST?"),
        "an atomic that is a loop of attempts (64 bits, or compare and swap) lets one thread through a round",
    ),
    Rule(
        # All are built with the same flags; in others, roots are made of such instructions.
        ("knn_kernel*", "farthest_point_sampling_kernel*", "ball_query_kernel*", "*product_kernel*"),
        none_of(r"(?!F2I)\w+(?:\.\w+)*\.FTZ"),  # integers are divided by way of float32, by F2I.FTZ
        "fast mathematics rounds denormal numbers to 0, so that distances rank otherwise than on a CPU",
    ),
    Rule(
        ("*",),
        none_of(DOUBLE),
        "float32 work slipped into double precision, 1/2 to 1/64 as fast",
        except_for=IN_DOUBLE_BY_DESIGN,
    ),
    Rule(
        ("gather_edges_kernel<float,*",),
        hottest_loop("FADD", none_of(DOUBLE)),
        "double precision is for rows, once each; their edges are summed in float32",
    ),
    Rule(
        ("farthest_point_sampling_kernel<float, 3>",),
        hottest_loop("LDG", at_most(16, "LDG")),
        "of four points that are not in registers, three coordinates and a rank each; the sample's are loaded once",
    ),
    Rule(
        ("product_kernel<float,*", "transposed_product_kernel<float>"),
        hottest_loop("FFMA", slots_per(1.45, "FFMA"), at_least(2, r"LDS\.(?:\w+\.)*128")),
        "products are what the loop is for: sixteen for two 16-byte loads",
    ),
    # The canonical distance: a difference and a fused multiply-add for every coordinate, nothing split or contracted
    # otherwise.
    Rule(("knn_kernel<float,*", "farthest_point_sampling_kernel<float,*"), pairs_of("FADD", "FFMA"), "canonical chain"),
    Rule(("knn_kernel<float,*", "farthest_point_sampling_kernel<float,*"), none_of("FMUL"), "canonical chain"),
    Rule(
        ("knn_kernel<double,*", "farthest_point_sampling_kernel<double,*"), pairs_of("DADD", "DFMA"), "canonical chain"
    ),
    Rule(("knn_kernel<double,*", "farthest_point_sampling_kernel<double,*"), none_of("DMUL"), "canonical chain"),
    Rule(
        ("knn_kernel<float,*",),
        hottest_loop("FFMA", slots_per(2.75, "FFMA"), at_least(1, r"LDS\.(?:\w+\.)*128"), none_of("LDG|BAR")),
        "the distance loop is what kNN spends its time in: two instructions a pair are its work; the coordinates of a "
        "warp's four queries come in one 16-byte load",
    ),
    Rule(
        ("knn_kernel*",),
        at_most(2, "BAR"),
        "a chunk of coordinates costs two barriers: one to fill it, one to leave it",
    ),
    Rule(
        ("farthest_point_sampling_kernel*",),
        at_most(2, "BAR"),
        "one barrier before the samples and one for each; a second one would double the time of small clouds",
    ),
    Rule(
        ("farthest_point_sampling_kernel*",),
        at_least(4, "C?REDUX"),
        "from sm_80 on the maximum over a warp is one instruction",
        since=80,
    ),
    Rule(
        ("farthest_point_sampling_kernel*",),
        none_of("SHFL"),
        "from sm_80 on the maximum over a warp is one instruction",
        since=80,
    ),
    Rule(
        ("scatter_edges_kernel",), at_least(4, "MATCH"), "equal digits of a warp are found in one instruction an item"
    ),
    Rule(
        ("scatter_edges_kernel",),
        at_most(4, "BAR"),
        "a tile of edges costs four barriers; unrolling must not multiply them",
    ),
    Rule(("scan_kernel", "count_digits_kernel"), at_most(2, "BAR"), "one barrier before and one behind the sums"),
    Rule(
        ("gather_edges_kernel*", "combine_*_kernel*", "sum_gradients_kernel*", "node_gradients_kernel*"),
        at_most(2, "BAR"),
        "lanes are combined by one loop with two barriers",
    ),
)


def broken(kernel: str, target: int, listing: Listing, rules: Iterable[Rule] = RULES) -> list[str]:
    """What is wrong with a kernel, each with the reason of the rule."""
    faults = ((rule, rule.check(listing)) for rule in rules if rule.applies(kernel, target))
    return [f"{kernel} for sm_{target} {fault} ({rule.reason})" for rule, fault in faults if fault is not None]
