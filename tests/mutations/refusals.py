"""Planted faults of what is refused, and of the check that holds a hypergradient to differences."""

from __future__ import annotations

from mutations.fault import Fault, tests

_GRAPH, _STEP, _CHECK = "engine/graph.py", "tuners/stepping.py", "tuning/hypergradcheck.py"
_CHANGED = "what_changes_a_gradient_is_refused_by_name_or_right"
_LATER = "what_enters_at_a_later_step_is_refused_and_leaves_everything"

REFUSALS = [
    Fault(
        "hooks on weights run in the outer gradient",
        _GRAPH,
        "                each[key] = _passed_over\n",
        "                pass\n",
        tests("right_or_refused", f"{_CHANGED}[a layer's gradient scaled-hd with outer loss]"),
    ),
    Fault(
        "hooks that change a gradient pass",
        _GRAPH,
        "if not all(map(_same, after, before)):",
        "if False:",
        tests("right_or_refused", f"{_CHANGED}[clipping by hook-rtho]"),
    ),
    Fault(
        "a hook that returns an equal gradient is refused",
        _GRAPH,
        "return a.layout is not torch.strided or same_values(a.detach(), b)",
        "return a is b",
        tests("right_or_refused", "no_false_alarm[hooks that return an equal gradient-rtho]"),
    ),
    Fault(
        "weights lose their hooks",
        _GRAPH,
        "            each.update({key: hook for key, hook in before.items() if key in each})",
        "            each.clear()",
        tests("right_or_refused", "a_logger_sees_the_training_gradient_once_a_step[rtho]"),
    ),
    Fault(
        "hooks on modules are not seen to",
        _GRAPH,
        "if met or kind == MODULE_HOOK:",
        "if False:",
        tests("right_or_refused", f"{_CHANGED}[module, full-rtho]"),
    ),
    Fault(
        "a hidden backward pass on one of two ways passes",
        _GRAPH,
        '        if hooks == "look" and isinstance(node, BackwardCFunction) and kind != MODULE_HOOK:',
        "        if False:",
        tests("right_or_refused", f"{_LATER}[hidden on one of two ways-rtho]"),
    ),
    Fault(
        "second derivatives are looked for at the first step alone",
        "tuners/products.py",
        "    check_second_derivative(grads, loss, name)\n",
        "    check_second_derivative(grads, loss, name) if symmetric else None\n",
        tests("right_or_refused", f"{_LATER}[once differentiable-rtho]"),
    ),
    Fault(
        "scaled embeddings pass",
        _GRAPH,
        "if kind in _EMBEDDINGS and node._saved_scale_grad_by_freq:",
        "if False:",
        tests(
            "right_or_refused",
            "an_embedding_scaled_by_frequency_is_refused_where_its_gradient_is_needed[rtho]",
        ),
    ),
    Fault(
        "symmetry is never tested",
        "tuners/hypergradient.py",
        "self._symmetry_due = check_symmetry",
        "self._symmetry_due = False",
        tests(
            "right_or_refused", "a_wrong_second_derivative_is_refused_at_the_second_step[weight_norm-rtho]"
        ),
    ),
    Fault(
        "symmetry draws from torch's generator",
        "engine/curvature.py",
        "generator=drawing, dtype=w.dtype",
        "dtype=w.dtype",
        tests("right_or_refused", "the_test_is_not_counted_and_draws_no_random_number[rtho]"),
    ),
    Fault(
        "symmetry asks for digits that rounding has taken",
        "engine/curvature.py",
        "    if mean > max(ASYMMETRIC[w.dtype] for w in weights):",
        "    if mean > bound / 10:",
        tests("experiments_07_08", "rounding_that_batchnorm_enlarges_is_not_taken_for_a_wrong_derivative"),
    ),
    Fault(
        "what a post-hook of the step changes passes",
        _STEP,
        '        raise _moved("after")',
        "        return",
        tests("right_or_refused", f"{_CHANGED}[buffers reset after it-rtho]"),
    ),
    Fault(
        "what a pre-hook of the step changes passes",
        _STEP,
        '            raise _moved("before")',
        "            return",
        tests("right_or_refused", "a_hook_on_the_step_that_comes_later_is_refused"),
    ),
    Fault(
        "a wrapped step passes",
        _STEP,
        "if float(torch.linalg.vector_norm(w.detach() - after)) > slack:",
        "if False:",
        tests("right_or_refused", f"{_CHANGED}[wrapped step-rtho]"),
    ),
    Fault(
        "hooks on accumulated gradients are never called",
        _STEP,
        "        if not hooks or w.grad is None:",
        "        if True:",
        tests("right_or_refused", "a_logger_sees_the_training_gradient_once_a_step[rtho]"),
    ),
    Fault(
        "hypergradcheck: a discount of another step",
        _CHECK,
        "shape = [decay ** (steps - 1 - t) for t in range(steps)]",
        "shape = [decay ** (steps - t) for t in range(steps)]",
        tests("hypergradcheck", "what_is_exact_passes[sgd]"),
    ),
    Fault(
        "hypergradcheck: one-sided differences",
        _CHECK,
        "return (above - below) / (2 * h * unit)",
        "return (above - below) / (h * unit)",
        tests("hypergradcheck", "what_is_exact_passes[sgd]"),
    ),
    Fault(
        "hypergradcheck: nothing is wrong",
        _CHECK,
        "return not self.fault and all(x.error <= self.rtol for x in self.numbers)",
        "return True",
        tests("hypergradcheck", "what_no_step_can_see_fails_and_the_part_is_named[target behind detach]"),
    ),
    Fault(
        "hypergradcheck: dropout of another step",
        "tuning/parts.py",
        "torch.manual_seed(seed)",
        "torch.manual_seed(torch.seed() % 1000)",
        tests("hypergradcheck", "what_is_exact_passes[dropout]"),
    ),
]
