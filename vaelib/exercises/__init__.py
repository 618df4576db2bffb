"""The book's exercises: `check("kl-full", my_function)` says whether an answer is right, and if not, what is wrong."""

from vaelib.exercises.catalogue import EXERCISES
from vaelib.exercises.checking import check
from vaelib.exercises.report import Report

__all__ = ["EXERCISES", "Report", "check"]
