"""Chapter 8: a network that is fed its own forecasts, and what its gradients tell about a portfolio."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from thalweg.report.blocks import Block, Claim, Prose, Table
from thalweg.report.chapter import Chapter, Stopwatch, Telling

if TYPE_CHECKING:
    from thalweg.portfolio.model.footprint import Footprint
    from thalweg.portfolio.model.law import Law
    from thalweg.portfolio.tasks.stress import Stress
    from thalweg.report import Slider

_COMMAND = "thalweg portfolio forecast --holdings holdings.csv --emissions emissions.csv --horizon 5"
_STRESS = (
    "thalweg portfolio stress --holdings your_holdings.csv --emissions your_emissions.csv --drivers your_drivers.csv"
)
_KNOWN = "40 made-up companies over 200 years that answer two drivers by a known, bent law"
_REAL = "What companies of the ITR sample reported, scope 1, from 2015 on; forecasts of 2019 and 2020"
_STEPS = {"quick": 400, "default": 3000, "full": 6000}
_NEAR = {"quick": 0.2, "default": 0.1, "full": 0.1}  # of the Jacobian, which few steps learn roughly
_HORIZON = 5
_RISE = 1.15  # of the footprint in the last year, which the search is to reach
_STORY = (
    "Each company's emissions are forecast from its own past and from the economy; the forecast of one year is the "
    "input of the next. What a portfolio finances is their weighted sum, and back-propagation through all the years "
    "says how a footprint answers every driver in every year, and which path of the economy would break a limit."
)
_NEARLY_RANDOM = (
    "Yearly emissions of companies are close to a random walk: on real panels no model is far ahead of the naive one, "
    "and drivers did not make forecasts more accurate. What the network gives are slopes and scenarios, and intervals "
    "that hold what they say."
)


def _forecasting(telling: Telling) -> Iterator[Block]:
    import jax.numpy as jnp

    from thalweg.portfolio.tasks.recovery import law_recipe

    watch, recipe = Stopwatch(), law_recipe(4, _STEPS[telling.effort])
    yield Prose(_STORY)
    telling.note("fitting the network to companies whose law is known")
    portfolio, law, found = _known(recipe)
    yield from _recovery_claims(found, _NEAR[telling.effort], watch)
    path = np.asarray(law.path(jnp.zeros((_HORIZON, law.mean.size))))
    yield _slope_claim(portfolio, path, watch)
    telling.note("searching the economy that breaks a limit")
    stress = _stressed(portfolio, law, path)
    yield _stress_slider(portfolio, law, stress)
    yield _stress_claim(portfolio, law, stress, watch)
    yield _work_claim(portfolio, path, stress.path, watch)
    telling.note("forecasting real companies from years that are over")
    yield Prose(_NEARLY_RANDOM)
    yield from _real(telling, watch)


def _known(recipe: Any) -> tuple[Footprint, Law, Any]:
    from thalweg.portfolio.data.synthetic import synthetic
    from thalweg.portfolio.model.footprint import footprint
    from thalweg.portfolio.model.law import law
    from thalweg.portfolio.tasks.fit import fitted
    from thalweg.portfolio.tasks.recovery import recovery
    from thalweg.portfolio.tasks.trend import trend

    world, made = synthetic(40, 200, noise=0.01), {}

    def fit(panel: Any, drivers: np.ndarray) -> Any:
        made["forecaster"] = fitted(panel, recipe, drivers=drivers).forecaster
        return made["forecaster"]

    found = recovery(world, fit, {"trend": trend}, horizon=_HORIZON)
    factor = np.full(len(world.panel.companies), 1 / len(world.panel.companies))
    portfolio = footprint(made["forecaster"], world.panel, factor, world.drivers)
    return portfolio, law(world.drivers), found


def _recovery_claims(found: Any, near: float, watch: Stopwatch) -> Iterator[Claim]:
    yield Claim(
        id="forecasting-jacobian",
        system=_KNOWN,
        statement="The slopes of the forecast by the drivers, over all years, are near those of the law behind them.",
        measured=found.jacobian_error,
        expected=0.0,
        tolerance=near,
        holds=found.jacobian_error <= near,
        seconds=watch.lap(),
        source="The law is known in closed form; difference of the Jacobians, over the norm of the true one",
        command=_STRESS,
        unit="of the Jacobian",
    )
    ours, theirs, best = (found.wape[name] for name in ("network", "trend", "truth"))
    yield Claim(
        id="forecasting-driven",
        system=_KNOWN,
        statement="Where drivers matter, the network that reads them is nearer than a damped trend.",
        measured=f"off by {ours:.1f} % against {theirs:.1f} % of all emissions",
        expected=f"less; the law itself is off by {best:.1f} %",
        tolerance="at most 0.8 of the damped trend's",
        holds=ours <= 0.8 * theirs,
        seconds=watch.lap(),
        source="WAPE over 5 years from 3 origins; damped trend: Gardner & McKenzie, Manag. Sci. 31, 1237 (1985)",
        command=_COMMAND,
    )


def _slope_claim(portfolio: Footprint, path: np.ndarray, watch: Stopwatch) -> Claim:
    import jax.numpy as jnp

    from thalweg.portfolio.tasks.sensitivity import disagreement, driver_differences, driver_jacobian

    gap = disagreement(
        np.asarray(driver_jacobian(portfolio, jnp.asarray(path))[1]), driver_differences(portfolio, path)
    )
    return Claim(
        id="forecasting-slopes",
        system="The footprint of all of them, in float64",
        statement="The slopes propagated back through the recursion are those of the forecast, for all pairs of years.",
        measured=gap,
        expected=0.0,
        tolerance=1e-6,
        holds=gap <= 1e-6,
        seconds=watch.lap(),
        source="Central differences of fourth order",
        command=_STRESS,
        unit="of the largest slope of a year",
    )


def _stressed(portfolio: Footprint, law: Law, path: np.ndarray) -> Stress:
    import equinox as eqx
    import jax.numpy as jnp

    from thalweg.portfolio.tasks.stress import reverse_stress

    limit = _RISE * float(eqx.filter_jit(portfolio)(jnp.asarray(path))[-1])
    return reverse_stress(portfolio, law, _HORIZON, limit, starts=2)


def _weight(portfolio: Footprint, law: Law, stress: Stress) -> tuple[np.ndarray, float]:
    """The slope of the log footprint at the path that was found, and what it weighs against implausibility there."""
    import equinox as eqx
    import jax

    slope = np.asarray(eqx.filter_jit(jax.grad(lambda x: portfolio.logarithm(law.path(x))))(stress.shocks))
    return slope, stress.distance / float(np.linalg.norm(slope))


def _stress_claim(portfolio: Footprint, law: Law, stress: Stress, watch: Stopwatch) -> Claim:
    slope, _ = _weight(portfolio, law, stress)
    along = float(np.vdot(slope, stress.shocks) / (np.linalg.norm(slope) * max(stress.distance, 1e-300)))
    rise = float(stress.footprint[-1] / stress.expected[-1])
    return Claim(
        id="forecasting-stress",
        system=f"The least unlikely economy with {_RISE:g} times the expected footprint in the last year",
        statement="The verb relax finds a path that reaches the limit and rests there: no shock raises the footprint "
        "at less cost in plausibility than another.",
        measured=f"{rise:.6f} times, at {stress.distance:.2f} standard deviations; cosine 1 - {abs(1 - along):.1e}",
        expected=f"{_RISE:g} times, cosine 1",
        tolerance="1e-5 of both",
        holds=stress.reached and abs(rise - _RISE) <= 1e-5 * _RISE and abs(1 - along) <= 1e-5,
        seconds=watch.lap(),
        source="The same verb that pushes a digit over its ridge; nearest point of failure: Hasofer & Lind (1974)",
        command=_STRESS,
    )


def _stress_slider(portfolio: Footprint, law: Law, stress: Stress) -> Slider:
    import equinox as eqx
    import jax
    import jax.numpy as jnp

    from thalweg.portfolio.energy import StressEnergy
    from thalweg.report import Marker, Slider

    places = np.linspace(0, 1.5, 31)
    energy = StressEnergy(portfolio, law, jnp.asarray(_weight(portfolio, law, stress)[1]))

    @eqx.filter_jit
    def along(one: Any, ways: Any) -> tuple[Any, Any]:
        return jax.lax.map(lambda x: (one(x), one.footprint(one.law.path(x))), ways)

    heights, curves = along(energy, jnp.asarray(places[:, None, None] * stress.shocks))
    here = float(np.asarray(portfolio.factor) @ np.exp(np.asarray(portfolio.history)[:, -1]))
    shown = np.concatenate([np.ones((len(places), 1)), np.asarray(curves) / here], axis=1)
    return Slider(
        "From the expected economy to the one that breaks the limit",
        places,
        np.asarray(heights) - float(heights[0]),
        "curves",
        shown[:, None, :],
        "The ball rests where a little more footprint is no longer worth its implausibility: at the least unlikely "
        "path that breaks the limit.",
        t_label="way from the expected path (0) to the breaking one (1)",
        energy_label="Implausibility less gain in footprint (nat)",
        markers=(Marker("breaks the limit", 1.0),),
        start=0,
        x=np.arange(_HORIZON + 1),
        x_label="years ahead",
        y_label="footprint, last known year = 1",
        labels=("on this path",),
        reference=shown[0],
        reference_label="expected",
    )


def _work_claim(portfolio: Footprint, start: np.ndarray, end: np.ndarray, watch: Stopwatch) -> Claim:
    from thalweg.portfolio.tasks.explain import explain

    told = explain(portfolio, start, end, tol=1e-5)
    return Claim(
        id="forecasting-work",
        system="The expected and the breaking economy",
        statement="What each driver contributes in each year adds up to the difference of both footprints: the work of "
        "the slopes along the way.",
        measured=told.incompleteness,
        expected=0.0,
        tolerance=1e-3,
        holds=told.incompleteness <= 1e-3,
        seconds=watch.lap(),
        source="Integrated gradients: Sundararajan, Taly & Yan, ICML (2017), as the line integral of the verb work",
        command=_STRESS,
        unit="of the difference",
    )


def _real(telling: Telling, watch: Stopwatch) -> Iterator[Block]:
    from thalweg.portfolio.data.emissions import read_emissions
    from thalweg.portfolio.tasks.backtest import backtest

    panel = read_emissions("itr", scope="s1").panel
    models = ("naive", "drift", "damped_drift", "itr", "trend", "network")
    found = backtest(panel, origins=(2018, 2019), horizon=1, models=models, portfolios=100)
    yield _table(found.result)
    yield _noise_claim(found.result, watch)


def _table(result: dict[str, Any]) -> Table:
    names = {"itr": "ITR's rule", "trend": "damped trend", "network": "recursive network"}
    portfolio = {row["name"]: row for row in result["portfolio"]}
    rows = [
        [
            names.get(row["name"], row["name"].replace("_", " ")),
            row["mase"],
            row["wape"],
            portfolio[row["name"]].get("mape"),
        ]
        for row in result["models"]
    ]
    caption = (
        f"{result['cases']} forecasts of {result['companies']} companies with short histories. MASE, in mean yearly "
        "changes; WAPE and the mean error of random portfolios in per cent. Lower is better."
    )
    return Table(("model", "MASE", "WAPE (%)", "portfolios (%)"), rows, caption)


def _noise_claim(result: dict[str, Any], watch: Stopwatch) -> Claim:
    row = next(row for row in result["differences_to_naive"] if row["name"] == "network")
    low, high = row["interval"]
    return Claim(
        id="forecasting-real",
        system=_REAL,
        statement="On short real histories the network cannot be told from the naive forecast.",
        measured=f"MASE {row['mean']:+.3f} ({low:+.3f} to {high:+.3f})",
        expected="0, within chance",
        tolerance="the 95 % interval over companies holds 0",
        holds=low <= 0 <= high,
        seconds=watch.lap(),
        source="Paired bootstrap over companies; MASE: Hyndman & Koehler, Int. J. Forecast. 22, 679 (2006)",
        command="thalweg portfolio backtest --emissions emissions.csv --horizon 5 --origins 2010..2015",
    )


def chapters() -> tuple[Chapter, ...]:
    """The chapter of the network that forecasts."""
    title = "A network fed with its own forecasts, and the economy that breaks a limit"
    return (Chapter("forecasting", 8, title, _COMMAND, 40.0, _forecasting),)
