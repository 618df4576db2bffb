"""What chapters say of long runs, against the records of these runs."""

from __future__ import annotations

from pathlib import Path

from vaelib.experiments.records import read_record

ROOT = Path(__file__).parents[1]


def test_the_amortised_chapter_on_pytorchs_example_and_on_seeds():
    text = " ".join((ROOT / "book/part-5/amortised-vae.md").read_text("utf8").split())
    assert "for ten epochs at a constant rate, and reaches a test loss between 105.55 and 105.82 (three seeds" in text
    race = read_record(ROOT / "benchmarks/records/time-to-bound-cpu.json")
    assert race.settings["example"] == "the script itself"
    losses = race.table[race.table.contender == "example"].test_loss
    assert len(losses) == 3
    assert [round(loss, 2) for loss in (losses.min(), losses.max())] == [105.55, 105.82]

    assert "3 nats wide on either side of what we saw, more than ten times the range of five seeds" in text
    assert "assert abs(final.test_elbo + 104.7) < 3" in text
    seeds = read_record(ROOT / "book/records/seeds-mnist.json")
    last = seeds.table[(seeds.table.latent_dim == 20) & (seeds.table.epoch == seeds.settings["epochs"])].test_elbo
    assert len(last) == 5
    assert last.between(-107.7, -101.7).all()
    assert last.max() - last.min() < 3 / 10


def test_the_proximity_chapter_on_mnist():
    text = " ".join((ROOT / "book/part-1/proximity.md").read_text("utf8").split())
    record = read_record(ROOT / "book/records/proximity-mnist.json")
    assert (record.settings["dataset"], record.settings["hidden"], record.seeds) == ("mnist", [400], [0, 1, 2, 3, 4])
    table = record.table
    assert "1 and 5 epochs, five seeds each; the two halves with $K = 2$ and 5 epochs only" in text
    both = {(name, k, epochs) for name in ("autoencoder", "vae") for k in (2, 10) for epochs in (1, 5)}
    runs = table.groupby(["model", "latent_dim", "epochs"])
    assert set(runs.groups) == both | {("noise", 2, 5), ("pull", 2, 5)}
    assert (runs.seed.nunique() == 5).all()
    assert (runs.size() == 5).all()

    assert "more than 0.9 for 81 % of the test images, and for 19 % of the cross-fades" in text
    assert round(100 * table.image_confident.mean()) == 81
    assert round(100 * table.midimage_confident.mean()) == 19

    last = table[table.epochs == 5].groupby(["latent_dim", "model"]).mean(numeric_only=True)
    ratio = last.xs("vae", level="model") / last.xs("autoencoder", level="model")
    assert "With $K = 10$ its stretch at the codes is lower by 23 %, with $K = 2$ by 64 %" in text
    assert ratio.decoder_jacobian.round(2).to_dict() == {2: 1 - 0.64, 10: 1 - 0.23}
    assert "With $K = 10$ the squared error is 9 % higher" in text
    assert round(100 * ratio.squared_error[10]) == 109
    assert "the 0.95 quantile is lower by 24 % and by 11 %" in text
    assert ratio.encoder_jacobian_95.round(2).to_dict() == {2: 0.76, 10: 0.89}
    assert "2.9 times as large in the autoencoder as in the VAE" in text
    assert round(1 / (ratio.encoder_jacobian * ratio.code_spread)[2], 1) == 2.9


def test_the_chapter_on_mean_field_on_the_runs_behind_it():
    text = " ".join((ROOT / "book/part-4/q3-3-mean-field.md").read_text("utf8").split())
    record = read_record(ROOT / "book/records/amortization-mnist.json")
    assert "three seeds, a 784-400-20 model trained for five epochs, 100 test and 100 training images" in text
    settings = record.settings
    assert (settings["hidden"], settings["latent_dim"], settings["epochs"]) == ([400], 20, 5)
    assert (record.table.groupby(["seed", "split"]).size() == 100).all()
    assert len(record.seeds) == 3
    assert "5000 importance samples for each" in text
    assert settings["weights"] == 5000
    assert "each with 25, 100, 400 and 1600 hidden units" in text
    assert settings["widths"] == [25, 100, 400, 1600]
    joint = read_record(ROOT / "book/records/without-encoder-mnist.json").table
    assert "on 10,000 and on 1000 binary images (40 and 200 epochs)" in text
    longest = joint[joint.latent_dim == 10].groupby("images").epochs.max()
    assert longest.to_dict() == {1000: 200, 10_000: 40}
