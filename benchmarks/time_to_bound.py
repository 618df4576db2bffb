"""How long until a test loss is reached, from the start of the process: vaelib against PyTorch's own VAE example.

Each contender is a process of its own, and the clock runs outside of it: starting Python, importing torch and loading
MNIST count. The example runs its ten epochs, as it is, from the path that `--peer` gives; without one, the plain loop
beside this file stands in for it. vaelib trains for as few epochs as bring its loss below the example's last one, with
the same architecture, loss and test images, in float32 and with products in bfloat16. They take turns, each turn with a
seed of its own.
"""

from __future__ import annotations

import re
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
from timing import keep, parser, ratios, show

from vaelib.experiments.records import start

HERE = Path(__file__).parent


def run(command: list[str], folder: Path) -> tuple[float, float]:
    """Run a contender; its seconds, and the last test loss that it prints."""
    begin = time.perf_counter()
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    seconds = time.perf_counter() - begin
    losses = re.findall(r"test (?:set )?loss:? ([0-9.]+)", done.stdout, re.IGNORECASE)
    if done.returncode or not losses:
        sys.exit(f"{' '.join(command)} failed:\n{done.stdout[-500:]}\n{done.stderr[-2000:]}")
    return seconds, float(losses[-1])


def main() -> None:
    made = parser(__doc__, rounds=3)
    made.add_argument("--peer", type=Path, help="path of the example's vae/main.py; its data lies in ../data")
    made.add_argument("--epochs", type=int, default=2, help="vaelib's epochs (default 2)")
    options = made.parse_args()
    started = start()
    peer = options.peer.resolve() if options.peer else HERE / "plain_loop.py"
    (peer.parent / "results").mkdir(exist_ok=True) if options.peer else None
    rows = []
    for number in range(options.rounds):
        seed = ["--seed", str(number + 1)]
        ours = [sys.executable, str(HERE / "train.py"), "--epochs", str(options.epochs), *seed]
        contenders = {
            "vaelib": (ours, HERE),
            "vaelib, bfloat16": ([*ours, "--bfloat16"], HERE),
            "example": ([sys.executable, str(peer), *seed], peer.parent),
        }
        for name, (command, folder) in contenders.items():
            seconds, loss = run(command, folder)
            print(f"round {number}, {name}: {seconds:.1f} s, test loss {loss:.2f}", flush=True)
            rows.append({"contender": name, "round": number, "seconds": seconds, "test_loss": loss})
    times = pd.DataFrame(rows)
    show(times, ["contender"])
    losses = times.groupby("contender").test_loss.mean()
    for name in ("vaelib", "vaelib, bfloat16"):
        sooner = "{median:.1f} times sooner ({least:.1f} to {greatest:.1f})".format(**ratios(times, "example", name))
        print(f"{name}: {sooner}, mean test loss {losses[name]:.2f}; the example's {losses['example']:.2f}")
    settings = {"example": "the script itself" if options.peer else "plain_loop.py", "epochs": options.epochs}
    keep(options.out, "time-to-bound-cpu", settings, times, started)


if __name__ == "__main__":
    main()
