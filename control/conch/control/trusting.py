"""Who may have code run: whether the operator trusts a registered version. Pure.

A pickled model, or one of Python code, is a program: loading it does whatever it says. The policy
names whose, by the registered name and by who registered it; nobody's, unless it says so.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase


@dataclass(frozen=True, slots=True, kw_only=True)
class TrustRule:
    """One line of the policy; both parts have to match.

    Attributes:
        models: Globs of registered names, such as `fraud-*`.
        users: Globs of the registry's users; empty: whoever registered it.
    """

    models: tuple[str, ...]
    users: tuple[str, ...] = ()

    def covers(self, model: str, user: str) -> bool:
        """Tell whether a version of a model, registered by a user, is trusted by this line.

        >>> TrustRule(models=("fraud-*",), users=("ada",)).covers("fraud-eu", "ada")
        True
        >>> TrustRule(models=("fraud-*",), users=("*",)).covers("fraud-eu", "")
        False
        """
        named = any(fnmatchcase(model, glob) for glob in self.models)
        known = not self.users or (
            bool(user) and any(fnmatchcase(user, glob) for glob in self.users)
        )
        return named and known


def trusted_by(rules: Sequence[TrustRule], *, model: str, user: str) -> TrustRule | None:
    """Return the first line that trusts a version; None where none does."""
    return next((rule for rule in rules if rule.covers(model, user)), None)


def said(rule: TrustRule, *, user: str) -> str:
    """Say why code may run, for the report of a build."""
    by = f", registered by {user!r}" if rule.users else ""
    return f"the policy trusts the models {', '.join(rule.models)}{by}"


def advice(*, model: str, user: str) -> str:
    """Say what an operator would have to write to trust a version."""
    users = f'\nusers = ["{user}"]' if user else ""
    return (
        f"To trust it, the operator writes in conch.toml, and restarts conch:\n"
        f'[[build.trust]]\nmodels = ["{model}"]{users}\n'
        "Its code then runs as the builder."
    )
