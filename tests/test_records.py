"""What chapters say of long runs, against the records of these runs."""

from __future__ import annotations

from pathlib import Path

from vaelib.experiments.records import read_record

ROOT = Path(__file__).parents[1]


def test_the_amortised_chapter_on_pytorchs_example_and_on_seeds():
    text = " ".join((ROOT / "book/part-5/amortised-vae.md").read_text("utf8").split())
    assert "reaches a test loss between 105.5 and 105.9 (three seeds" in text
    race = read_record(ROOT / "benchmarks/records/time-to-bound-cpu.json")
    assert race.settings["example"] == "the script itself"
    losses = race.table[race.table.contender == "example"].test_loss
    assert len(losses) == 3
    assert losses.between(105.5, 105.9).all()

    assert "3 nats wide on either side of what we saw, several times what a change of seed does" in text
    assert "assert -108 < final.test_elbo < -102" in text
    seeds = read_record(ROOT / "book/records/seeds-mnist.json")
    last = seeds.table[(seeds.table.latent_dim == 20) & (seeds.table.epoch == seeds.settings["epochs"])].test_elbo
    assert len(last) >= 5
    assert last.between(-108, -102).all()
    assert last.max() - last.min() < 3 / 2
