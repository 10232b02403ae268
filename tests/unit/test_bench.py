"""The bench's own arithmetic and page; how fast it is, is measured elsewhere."""

from __future__ import annotations

from itertools import islice

from benchmarks.speed import naive
from benchmarks.speed.__main__ import RESIDENTS, _page, by_sample
from simulator.standard import standard_blocks


def test_the_page_draws_every_row() -> None:
    flat = {f"standard.{r}.us_per_resident_second": 5.0 for r in RESIDENTS} | {f"standard.{RESIDENTS[1]}.us_copy": 0.5}
    flat |= {f"{name}.us_per_resident_second": 2_000.0 for name in ("naive", "interpreted", "interpreted_by_sample")}
    page = _page(flat)
    assert "<svg" in page
    assert page.count("residents") >= len(RESIDENTS)


def test_by_sample_is_the_same_data_in_time_order() -> None:
    (blocks,) = islice(standard_blocks(2, 1), 1)
    pieces = by_sample(blocks)
    assert sum(piece.samples.size for piece in pieces) == sum(block.samples.size for block in blocks)
    starts = [int(piece.t0_ns[0]) for piece in pieces]
    assert starts == sorted(starts)


def test_the_naive_program_does_its_job() -> None:
    seconds = list(islice(standard_blocks(2, 2), 2))
    assert {"accel", "ecg", "pressure_map", "room_air", "vitals"} <= {block.kind for blocks in seconds for block in blocks}
    calm = naive.run(seconds)
    for blocks in seconds:
        for i, block in enumerate(blocks):
            if block.kind == "room_air":
                hot = block.samples.copy()
                hot[:, :, 2] = 2 * naive.HEAT_C
                blocks[i] = block._replace(samples=hot)
    assert naive.run(seconds) > calm
