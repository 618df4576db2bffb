"""The appendix on notation is a contract: what it says of `vaelib` and of the chapters is so.

The page is read as it stands. Its names must be in the library, its shapes must be those that the library returns, its
symbols must occur in chapters, and what it retires must not. Beyond the page, the names that the field uses for
several things at once are forbidden, and nothing that its name calls a log-variance, a standard deviation, a variance,
a matrix S or a covariance may be given to a name that says another of these.
"""
