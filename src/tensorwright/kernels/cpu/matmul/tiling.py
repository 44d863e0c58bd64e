"""How rows and columns of a product are split into tiles, panels and tasks."""

from __future__ import annotations

from dataclasses import dataclass

from tensorwright.tensor.dim import Dim, bounds, ceil_divide, maximum, minimum, tuning_value


@dataclass(frozen=True)
class EvenSplit:
    """`count` consecutive pieces of `extent` things; their sizes differ by at most one, larger pieces come first."""

    extent: Dim
    count: Dim

    @property
    def least(self) -> Dim:
        """Size of the smaller pieces."""
        return self.extent // self.count

    @property
    def longer(self) -> Dim:
        """How many pieces are larger by one."""
        return self.extent - self.least * self.count

    def start(self, piece: Dim) -> Dim:
        """How many things come before a piece."""
        return piece * self.least + minimum(piece, self.longer)

    def size(self, piece: Dim) -> Dim:
        return self.least + minimum(maximum(self.longer - piece, 0), 1)

    @property
    def sizes(self) -> tuple[int, ...]:
        """All sizes that may occur, the larger ones first, if they are known; see `row_heights` for others."""
        assert isinstance(self.extent, int)
        assert isinstance(self.count, int)
        least, longer = divmod(self.extent, self.count)
        return ((least + 1,) if longer else ()) + ((least,) if longer < self.count else ())


@dataclass(frozen=True)
class RowTiles:
    """The rows of all batches, split into tiles of at most `most` rows that do not cross from batch to batch."""

    batches: Dim
    rows: Dim
    most: int

    @property
    def split(self) -> EvenSplit:
        return EvenSplit(self.rows, ceil_divide(self.rows, self.most))

    @property
    def count(self) -> Dim:
        return self.batches * self.split.count

    @property
    def heights(self) -> tuple[int, ...]:
        """All heights that tiles may have, the most frequent first."""
        if isinstance(self.rows, int):
            return self.split.sizes
        low, high = bounds(self.rows)
        low = max(low, 1)
        samples = range(low, min(high, max(low, self.most**2) + self.most) + 1)  # From `most`² on only two sizes occur.
        seen = {height for rows in samples for height in EvenSplit(rows, -(-rows // self.most)).sizes}
        return tuple(sorted(seen, reverse=True))

    def is_alone(self, height: int) -> bool:
        """Whether a tile of this height occurs only as the single tile of few rows."""
        return height < (self.most + 1) // 2

    def first_row(self, tile: Dim) -> Dim:
        """The first row of a tile, counted through all batches."""
        per_batch = self.split.count
        return tile // per_batch * self.rows + self.split.start(tile % per_batch)

    def height(self, tile: Dim) -> Dim:
        return self.split.size(tile % self.split.count)


@dataclass(frozen=True)
class Panel:
    """A kind of panel: so many vectors wide; `masked` lanes of its last vector are columns (0: all of them).

    is_open: the columns end somewhere in it; where, is known at run time only.
    """

    vectors: int
    masked: int = 0
    is_open: bool = False


@dataclass(frozen=True)
class Panels:
    """The columns, split into panels of at most `most` vectors of `lanes` columns, the last vector possibly partial.

    Of an unknown number of columns all panels but the last one have `most` vectors.
    """

    columns: Dim
    lanes: int
    most: int

    @property
    def vectors(self) -> Dim:
        return ceil_divide(self.columns, self.lanes)

    @property
    def count(self) -> Dim:
        return ceil_divide(self.vectors, self.most)

    @property
    def widest(self) -> int:
        """Vectors in the largest panel."""
        if isinstance(self.vectors, int) and isinstance(self.count, int):
            return -(-self.vectors // self.count)
        return self.most

    def first_vector(self, panel: Dim) -> Dim:
        """How many vectors come before a panel."""
        if isinstance(self.columns, int):
            return EvenSplit(self.vectors, self.count).start(panel)
        return panel * self.most

    @property
    def kinds(self) -> tuple[tuple[Panel, Dim, Dim], ...]:
        """The kinds of panels, and from and up to which number panels are of each kind."""
        if not isinstance(self.vectors, int) or not isinstance(self.count, int) or not isinstance(self.columns, int):
            whole = self.columns // (self.most * self.lanes)
            return (Panel(self.most), 0, whole), (Panel(self.most, is_open=True), whole, self.count)
        least, longer = divmod(self.vectors, self.count)
        partial = self.columns % self.lanes
        end = self.count - 1 if partial else self.count
        kinds = [(Panel(least + 1), 0, min(longer, end)), (Panel(least), longer, end)]
        if partial:
            last = least + 1 if longer == self.count else least
            kinds.append((Panel(last, partial), end, self.count))
        return tuple((kind, start, stop) for kind, start, stop in kinds if start < stop)

    @property
    def usual(self) -> Panel:
        """The most frequent kind."""
        return max(self.kinds, key=lambda kind: tuning_value(kind[2] - kind[1]))[0]


def part_of(total: Dim, parts: Dim, part: Dim) -> Dim:
    """Where a part starts when `total` things are dealt out evenly to `parts` parts."""
    return part * total // parts
