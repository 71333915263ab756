"""Planted faults of the update rules, their derivatives and the sweeps.

Numbers as 3.3.2 are those of AdaTune's own faults in data/reference/FACTS.md.
"""

from __future__ import annotations

from mutations.fault import Fault, tests

_SWEEP = "engine/hypergradient.py"
_SUM = "marthe_equals_the_discounted_double_sum"
_SWEEPS = "reverse_forward_autograd_and_differences_agree"

RULES = [
    Fault(
        "SGD: dampening in the first step",
        "rules/sgd.py",
        "u = g if t == 1 else momentum * buffers[0] + gain * g",
        "u = momentum * buffers[0] + gain * g",
        tests("rules", "update_equals_torch[dampening-f64]"),
    ),
    Fault(
        "SGD: dropped momentum term in the tangent",
        "rules/sgd.py",
        "torch._foreach_mul_(z[1], mu * self.momentum)",
        "torch._foreach_zero_(z[1])",
        tests("rules", "fused_tangent_equals_jvp[momentum-lr-torch.float64-7-0.5]"),
    ),
    Fault(
        "SGD: missing factor of mu on the weights' tangent",
        "rules/sgd.py",
        "torch._foreach_mul_(z[0], mu)\n        if not self.momentum:",
        "if not self.momentum:",
        tests("tuners", f"{_SUM}[sgd-fixed-0.5]"),
    ),
    Fault(
        "SGD: missing factor of mu on the buffer's tangent",
        "rules/sgd.py",
        "torch._foreach_mul_(z[1], mu * self.momentum)",
        "torch._foreach_mul_(z[1], self.momentum)",
        tests("tuners", f"{_SUM}[momentum-fixed-0.5]"),
    ),
    Fault(
        "SGD: wrong sign of B",
        "rules/sgd.py",
        'if name == "lr":\n            torch._foreach_sub_(z[0], direction)',
        'if name == "lr":\n            torch._foreach_add_(z[0], direction)',
        tests("tuners", f"{_SUM}[sgd-fixed-0.5]"),
    ),
    Fault(
        "SGD: momentum forgotten in the adjoint",
        "rules/sgd.py",
        "buffers = [list(torch._foreach_mul(a_g, carry))]",
        "buffers = [list(torch._foreach_mul(a_g, 0.0))]",
        tests("hypergradient", f"{_SWEEPS}[momentum-fixed]"),
    ),
    Fault(
        "SGD: weight decay forgotten in the adjoint",
        "rules/sgd.py",
        "return [decayed(a[0], a_g, self.weight_decay), *buffers], self._signed(a_g), -along",
        "return [[x.clone() for x in a[0]], *buffers], self._signed(a_g), -along",
        tests("hypergradient", f"{_SWEEPS}[sgd_decay-fixed]"),
    ),
    Fault(
        "SGD: the sign of maximize forgotten in the product",
        "rules/sgd.py",
        "hz = None if hz is None else self._signed(hz)",
        "hz = None if hz is None else list(hz)",
        tests("tuners", "marthe_equals_the_discounted_double_sum[maximize_all-fixed-1.0]"),
    ),
    Fault(
        "weight decay forgotten in the tangent (3.3.12)",
        "rules/base.py",
        "hz = decayed(hz, z[0], weight_decay)",
        "hz = list(hz)",
        tests("tuners", f"{_SUM}[momentum_decay-fixed-0.5]"),
    ),
    Fault(
        "Adam: eps inside the root (3.3.4)",
        "rules/adam.py",
        "moving = m / (torch.where(alive, v, torch.ones_like(v)).sqrt() / bc2 + eps) / bc1",
        "moving = m / ((torch.where(alive, v, torch.ones_like(v)) + eps).sqrt() / bc2) / bc1",
        tests("rules", "update_equals_torch[adam-f64]"),
    ),
    Fault(
        "Adam: eps inside the root in the tangent (3.3.4)",
        "rules/adam.py",
        "denom = list(torch._foreach_div(sqrt, bc2))\n        torch._foreach_add_(denom, self.eps)",
        "denom = [(x + self.eps).sqrt() / bc2 for x in v]",
        tests("tuners", f"{_SUM}[adamw-fixed-0.5]"),
    ),
    Fault(
        "Adam: no bias correction of the second moment",
        "rules/adam.py",
        "bc1, bc2 = 1 - beta1**t, root(1 - beta2**t)",
        "bc1, bc2 = 1 - beta1**t, 1.0",
        tests("rules", "update_equals_torch[adam-f64]"),
    ),
    Fault(
        "Adam: mis-bracketed Jacobian, (1 - lr) D in place of Z - lr D (3.3.2)",
        "rules/adam.py",
        "torch._foreach_sub_(z[0], change, alpha=lr)",
        "torch._foreach_copy_(z[0], torch._foreach_mul(change, 1 - lr))",
        tests("tuners", f"{_SUM}[adam-fixed-0.5]"),
    ),
    Fault(
        "Adam: stale first moment in the tangent (3.3.3)",
        "rules/adam.py",
        "m = list(torch._foreach_mul(b[0], self.beta1))\n"
        "        torch._foreach_add_(m, g, alpha=1 - self.beta1)",
        "m = [x.clone() for x in b[0]]",
        tests("tuners", f"{_SUM}[adam-fixed-0.5]"),
    ),
    Fault(
        "Adam: factor 2 missing in the tangent of the second moment",
        "rules/adam.py",
        "value=2 * by * (1 - self.beta2)",
        "value=by * (1 - self.beta2)",
        tests("tuners", f"{_SUM}[adam-fixed-0.5]"),
    ),
    Fault(
        "Adam: no guard where the second moment is 0",
        "rules/adam.py",
        "fill_where_zero_(change, v)\n",
        "\n",
        tests("tuners", "zero_and_denormal_gradients[adam-0.5]"),
    ),
    Fault(
        "RMSprop: eps inside the root (3.3.4)",
        "rules/rmsprop.py",
        "moving = g / (torch.where(alive, v, torch.ones_like(v)).sqrt() + eps)",
        "moving = g / (torch.where(alive, v, torch.ones_like(v)) + eps).sqrt()",
        tests("rules", "update_equals_torch[rmsprop-f64]"),
    ),
    Fault(
        "RMSprop: missing factor of mu on the second moment's tangent",
        "rules/rmsprop.py",
        "torch._foreach_mul_(z[1], mu * self.alpha)",
        "torch._foreach_mul_(z[1], self.alpha)",
        tests("tuners", f"{_SUM}[rmsprop-fixed-0.5]"),
    ),
]

SWEEPS = [
    Fault(
        "product with ones in place of the direction",
        "engine/curvature.py",
        "grad_outputs=[v for _, v in pairs]",
        "grad_outputs=[torch.ones_like(v) for _, v in pairs]",
        tests("curvature", "product_equals_the_full_hessian"),
    ),
    Fault(
        "reverse sweep: no curvature",
        _SWEEP,
        "torch._foreach_add_(a[0], found)",
        "pass",
        tests("hypergradient", f"{_SWEEPS}[sgd-fixed]"),
    ),
    Fault(
        "reverse sweep: rate frozen at its first value (3.3.1)",
        _SWEEP,
        "_adjoint(rule, a, weights, buffers, plain, rates[t], t + 1)",
        "_adjoint(rule, a, weights, buffers, plain, rates[0], t + 1)",
        tests("hypergradient", f"{_SWEEPS}[sgd-moving]"),
    ),
    Fault(
        "reverse sweep: step counted one too far",
        _SWEEP,
        "_adjoint(rule, a, weights, buffers, plain, rates[t], t + 1)",
        "_adjoint(rule, a, weights, buffers, plain, rates[t], t + 2)",
        tests("hypergradient", f"{_SWEEPS}[adam-fixed]"),
    ),
    Fault(
        "reverse sweep: batch of the first step throughout",
        _SWEEP,
        "_gradient(problem, weights, t, create_graph=True)",
        "_gradient(problem, weights, 0, create_graph=True)",
        tests("hypergradient", f"{_SWEEPS}[sgd-fixed]"),
    ),
    Fault(
        "forward sweep: earlier rates feel the present B",
        _SWEEP,
        "torch._foreach_sub_(z[0], still[0])  # earlier entries do not feel B_t",
        "del still",
        tests("hypergradient", f"{_SWEEPS}[sgd-fixed]"),
    ),
    Fault(
        "LRS-OPT: uphill",
        "engine/lrs_opt.py",
        "(state.schedule - rate * direction)",
        "(state.schedule + rate * direction)",
        tests("lrs_opt", "first_adam_step_moves_each_rate_by_the_outer_rate"),
    ),
    Fault(
        "LRS-OPT: hands back the last schedule",
        "engine/lrs_opt.py",
        "return [LRSOptResult(x.best_schedule,",
        "return [LRSOptResult(x.schedule,",
        tests("lrs_opt", "hands_back_the_best_schedule_and_not_the_last"),
    ),
]
