"""The control API: FastAPI over the control plane's services, pydantic only here at the edge.

`/healthz`, `/readyz` and predictions are open; everything else asks for the administrator key.
"""

from .app import create_app
from .problems import MEDIA_TYPE, STATUSES, Problem, problem_of, status_of

__all__ = ["MEDIA_TYPE", "STATUSES", "Problem", "create_app", "problem_of", "status_of"]
