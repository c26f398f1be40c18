"""The closed-form distribution functions, against tabled values."""

from __future__ import annotations

import numpy as np
import pytest

from loadproof_report.comparison.statistics import (
    autocorrelation_time,
    chi_square_quantile,
    holm,
    normal_quantile,
    t_p_value,
    t_quantile,
)


@pytest.mark.parametrize(
    ("p", "freedom", "tabled"), [(0.975, 19, 2.093), (0.975, 10, 2.228), (0.995, 30, 2.750), (0.9995, 19, 3.883)]
)
def test_students_t_is_that_of_the_tables(p: float, freedom: float, tabled: float) -> None:
    """Within half a percent from 10 degrees of freedom on, and the p-value is its inverse."""
    assert t_quantile(p, freedom) == pytest.approx(tabled, rel=0.005)
    assert t_p_value(t_quantile(p, freedom), freedom) == pytest.approx(2 * (1 - p), rel=1e-6)


def test_t_becomes_normal() -> None:
    """With the variance known, t is the normal distribution."""
    assert t_quantile(0.975, 1e6) == pytest.approx(normal_quantile(0.975), rel=1e-4)


@pytest.mark.parametrize(("p", "freedom", "tabled"), [(0.2, 2, 0.446), (0.2, 4, 1.649), (0.2, 9, 5.380)])
def test_chi_square_is_that_of_the_tables(p: float, freedom: float, tabled: float) -> None:
    """Within two percent where it is used."""
    assert chi_square_quantile(p, freedom) == pytest.approx(tabled, rel=0.02)


def test_holm_adjusts_in_order_and_never_above_one() -> None:
    """The smallest is multiplied by all, the next by one less, and the order is kept."""
    assert holm([0.01, 0.04, 0.03, 0.9]) == pytest.approx([0.04, 0.09, 0.09, 0.9])
    assert holm([0.6, 0.7]) == [1.0, 1.0]
    assert holm([]) == []


def test_autocorrelation_time_of_noise_is_one_and_of_a_slow_wave_long() -> None:
    """An AR(1) process of 0.8 has (1 + 0.8) / (1 - 0.8) = 9."""
    rng = np.random.default_rng(1)
    assert autocorrelation_time(rng.normal(size=2_000).tolist()) == pytest.approx(1, abs=0.3)
    wave = [0.0]
    for shock in rng.normal(size=4_000):
        wave.append(0.8 * wave[-1] + shock)
    assert autocorrelation_time(wave) == pytest.approx(9, rel=0.3)
    assert autocorrelation_time([1.0] * 50) == 1.0
    assert autocorrelation_time([1.0, 2.0]) == 1.0
