"""The peer's half of versus_neuralforecast: global networks, tuned at an origin before the scored ones."""

from __future__ import annotations

import contextlib
import json
import logging
import sys
import time
import warnings

import neuralforecast
import numpy as np
import pandas as pd
import torch
from neuralforecast import NeuralForecast
from neuralforecast.losses.pytorch import MAE
from neuralforecast.models import GRU, LSTM, MLP, NHITS

SEEDS = (1, 2, 3)
GRID = [
    {"input_size": size, "width": width, "max_steps": steps, "learning_rate": rate}
    for size in (5, 10) for width in (16, 64) for steps, rate in ((100, 1e-3), (300, 1e-3))
]  # fmt: skip


def model(name: str, horizon: int, given: dict, seed: int):
    """One of their models, without their files, bars and logs."""
    settings = dict(given)
    width = settings.pop("width")
    shared = {
        "h": horizon, "loss": MAE(), "random_seed": seed, "scaler_type": "identity", "batch_size": 32,
        "start_padding_enabled": True, "logger": False, "enable_checkpointing": False, "enable_progress_bar": False,
        "enable_model_summary": False, "accelerator": "cpu", **settings,
    }  # fmt: skip
    if name == "NHITS":
        return NHITS(
            mlp_units=3 * [[width, width]], n_freq_downsample=[1, 1, 1], n_pool_kernel_size=[1, 1, 1], **shared
        )
    if name == "MLP":
        return MLP(hidden_size=width, num_layers=2, **shared)
    made = {"GRU": GRU, "LSTM": LSTM}[name]
    return made(encoder_hidden_size=width, encoder_n_layers=1, decoder_hidden_size=width, decoder_layers=1, **shared)


def forecast(name: str, given: dict, past: dict[str, list[float]], horizon: int, seeds) -> dict[str, list[float]]:
    """Years after the past of every series, from its yearly growth over the panel's spread."""
    rows = []
    for series, values in past.items():
        growth = np.diff(np.log(values)) if len(values) > 1 else np.zeros(1)
        at = pd.date_range(end="2000-12-31", periods=growth.size, freq="YE")
        rows.append(pd.DataFrame({"unique_id": series, "ds": at, "y": growth}))
    frame = pd.concat(rows)
    spread = frame["y"].abs().median()
    frame["y"] = (frame["y"] / spread).clip(-10, 10)
    found = []
    for seed in seeds:
        forecaster = NeuralForecast(models=[model(name, horizon, given, seed)], freq="YE")
        forecaster.fit(df=frame)
        said = forecaster.predict().reset_index()
        column = next(one for one in said.columns if one.startswith(name))
        found.append({key: part[column].to_numpy() for key, part in said.groupby("unique_id")})
    median = {key: np.median([one[key] for one in found], axis=0) for key in past}
    return {key: (values[-1] * np.exp(np.cumsum(spread * median[key]))).tolist() for key, values in past.items()}


def error(found: dict[str, list[float]], past: dict[str, list[float]], after: dict[str, list[float]]) -> float:
    """The mean MASE."""
    errors = []
    for name, values in past.items():
        if len(values) > 2:
            actual = np.array(after[name][len(after[name]) - len(found[name]) :])
            errors.append(np.abs(found[name] - actual).mean() / np.abs(np.diff(values)).mean())
    return float(np.mean(errors))


def main() -> None:
    """Read the task, tune, forecast, print."""
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    task = json.load(sys.stdin)
    torch.set_num_threads(task["threads"])
    models = {}
    with contextlib.redirect_stdout(sys.stderr):
        for name in ("NHITS", "MLP", "GRU", "LSTM"):
            tried = [
                (error(forecast(name, given, task["valid"], task["horizon"], SEEDS[:1]), task["valid"], task["after"]),
                 place) for place, given in enumerate(GRID)
            ]  # fmt: skip
            valid, place = min(tried)
            began = time.perf_counter()
            forecasts = {
                origin: forecast(name, GRID[place], past, task["horizon"], SEEDS)
                for origin, past in task["origins"].items()
            }
            chosen = {**GRID[place], "valid_mase": valid, "tried": len(tried)}
            models[name] = {"forecasts": forecasts, "seconds": time.perf_counter() - began, "chosen": chosen}
    print(json.dumps({"version": neuralforecast.__version__, "torch": torch.__version__, "models": models}))


if __name__ == "__main__":
    main()
