"""Answers that readers may give: for each exercise a module with the right ones, and the wrong ones by their mistakes.

None of them was written with the checker in sight. Where a mistake is None, the checker refuses the answer and does
not know why.
"""
