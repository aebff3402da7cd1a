"""Searches for the nearest point where a landscape is below zero."""

from thalweg.methods.crossing.ball import ShrinkingBall
from thalweg.methods.crossing.descent import BallDescent
from thalweg.methods.crossing.plane import PlaneSteps
from thalweg.methods.crossing.search import AbstractCrossing, Best, Norm, dual_length, length

__all__ = ["AbstractCrossing", "BallDescent", "Best", "Norm", "PlaneSteps", "ShrinkingBall", "dual_length", "length"]
