"""mu and hyper_lr that adapt, by the rules of the two implementations of MARTHE (arXiv 1910.08525).

Both let mu follow q, the share of the past in what is known of the slope now, clipped to z in [0, 1]:

    mu_{t+1} = z_t^(1 / (c_{t+1} + 1)),    mu_0 = c_0 = 0,

with c an effective length of memory; q <= 0 forgets the past. They differ in q, c and hyper_lr (beta).

Marthe-TF:  q_t = Delta_t / (grad E(w_{t+1}) . B_t),   c_{t+1} = (c_t + 1) mu_t,
            beta_t = max(0, beta_{t-1} + alpha Delta_{t-1} Delta_{t-2}), then the step of the rate.
AdaTune:    q_t = lr_{t+1} / (grad E(w_{t+1}) . g_t),  c_{t+1} = c_t sign(mu_t) + mu_t,
            beta_{t+1} = max(0, beta_t + alpha Delta_{t+1} lr_{t+1}), after the step of the rate.

Delta_t is the hypergradient at w_t, B_t the derivative of step t by its rate and g_t its training gradient.
Delta_t at the start and before is 0. AdaTune's q has no consistent unit; where it divides by 0, q is 0 here.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from adatune_lite.checks import is_number, plain, shown

RULES = ("marthe_tf", "adatune")
START = 1e-8
"""The first hyper_lr."""


@dataclass
class Adaptive:
    """The state of the rules for one rate; `mu` and `beta` are adapted where these are set."""

    mu_rule: str
    """Whose q: "marthe_tf" or "adatune"."""
    memory_rule: str
    """Whose c."""
    hyper_lr_rule: str
    """Whose beta."""
    alpha: float | None
    """Step of hyper_lr; None leaves it as it is."""
    adapts_mu: bool
    c: float = 0.0
    delta: float = 0.0
    before: float = 0.0
    """The last two hypergradients."""

    def hyper_lr_before(self, beta: float) -> float:
        """hyper_lr for the step of the rate that a new hypergradient is about to make."""
        if self.alpha is None or self.hyper_lr_rule != "marthe_tf":
            return beta
        return max(0.0, beta + self.alpha * self.delta * self.before)

    def hyper_lr_after(self, beta: float, delta: float, lr: float) -> float:
        """hyper_lr after that step to the rate `lr`."""
        if self.alpha is None or self.hyper_lr_rule != "adatune":
            return beta
        return max(0.0, beta + self.alpha * delta * lr)

    def next_mu(self, mu: float, slope: float, lr: float) -> float:
        """mu of the next step; slope is grad E(w_{t+1}) . B_t, or . g_t for AdaTune's rule."""
        if not self.adapts_mu:
            return mu
        numerator = self.delta if self.mu_rule == "marthe_tf" else lr
        q = numerator / slope if slope else 0.0
        z = min(1.0, max(0.0, q)) if math.isfinite(q) else 0.0
        self.c = (self.c + 1) * mu if self.memory_rule == "marthe_tf" else self.c * (mu > 0) + mu
        return z ** (1 / (self.c + 1))

    def note(self, delta: float) -> None:
        """Take up the hypergradient of this step, once mu and hyper_lr have moved."""
        self.delta, self.before = delta, self.delta

    def forget(self) -> None:
        """Start again, as after a hypergradient that is not finite."""
        self.c = self.delta = self.before = 0.0

    def state_dict(self, mu: float, beta: float) -> dict[str, float]:
        """The numbers that change."""
        return {"mu": mu, "beta": beta, "c": self.c, "delta": self.delta, "before": self.before}

    def check_state(self, state: dict[str, float]) -> None:
        """Raises ValueError for numbers that `state_dict` cannot have given."""
        own = self.state_dict(0.0, 0.0)
        finite = all(is_number(x) and math.isfinite(x) for x in state.values())
        if (
            state.keys() != own.keys()
            or not finite
            or not 0 <= state["mu"] <= 1
            or min(state["beta"], state["c"]) < 0
        ):
            raise ValueError(
                f"the adaptive part of this state must hold finite {', '.join(own)} with mu in [0, 1], "
                f"and beta and c at least 0, not {state}"
            )

    def load_state_dict(self, state: dict[str, float]) -> tuple[float, float]:
        """Take up a state; returns its mu and beta."""
        self.c, self.delta, self.before = state["c"], state["delta"], state["before"]
        return state["mu"], state["beta"]


def adaptive(mu: object, hyper_lr: object, rule: str, alpha: float | None) -> Adaptive | None:
    """The rules that `mu` and `hyper_lr` ask for, None where both are fixed; raises ValueError by name."""
    if not isinstance(rule, str) or rule not in RULES:
        raise ValueError(f'adapt_rule must be "marthe_tf" or "adatune", not {shown(rule)}')
    adapts = isinstance(hyper_lr, str) and hyper_lr == "adaptive"
    if adapts and not (is_number(alpha) and 0 <= alpha < math.inf):
        raise ValueError(
            f'hyper_lr="adaptive" needs alpha, a finite number and not negative, not {shown(alpha)}; '
            "the authors took 1e-15 to 1e-6"
        )
    if alpha is not None and not adapts:
        raise ValueError('alpha is the step of hyper_lr="adaptive" and has no use without it')
    if mu != "adaptive" and not adapts:
        return None
    return Adaptive(rule, rule, rule, plain(alpha), mu == "adaptive")
