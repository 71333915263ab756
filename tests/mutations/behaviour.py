"""Planted faults of the tuners, of AutoLR, of resumed runs and of the parts of the data.

Numbers as 3.3.8 are those of AdaTune's own faults in data/reference/FACTS.md.
"""

from __future__ import annotations

from mutations.fault import Fault, tests

_MARTHE = "tuners/hypergradient.py"
_SUM = "marthe_equals_the_discounted_double_sum"

TUNERS = [
    Fault(
        "wrong sign of the rate's step",
        "tuners/tuned.py",
        "self.value - self.hyper_lr * delta",
        "self.value + self.hyper_lr * delta",
        tests("tuners", f"{_SUM}[sgd-moving-0.5]"),
    ),
    Fault(
        "a loaded state is trusted",
        "tuners/base.py",
        "self._take_state(state)\n        self._trusted = self._outer_trusted = False",
        "self._take_state(state)\n        self._trusted = self._outer_trusted = True",
        tests("first_checks", "the_first_step_after_a_state_was_loaded_checks_again[marthe-data]"),
    ),
    Fault(
        "an outer loss that is not due goes unchecked",
        _MARTHE,
        "if self._steps == 1 and not self._outer_trusted:",
        "if False:",
        tests("first_checks", "an_outer_loss_that_is_not_due_is_refused_at_the_first_step[vector]"),
    ),
    Fault(
        "rate frozen in the Jacobian (3.3.1)",
        _MARTHE,
        'float(group["lr"])) for rule',
        'float(group.setdefault("initial_lr", group["lr"]))) for rule',
        tests("tuners", f"{_SUM}[sgd-moving-0.5]"),
    ),
    Fault(
        "no projection of the rate (3.3.8)",
        "tuners/tuned.py",
        "min(self.high, max(self.low, self.value - self.hyper_lr * delta))",
        "self.value - self.hyper_lr * delta",
        tests("tuners", "rate_is_bounded_and_clipped"),
    ),
    Fault(
        "first step skipped, B_0 lost (3.3.9)",
        _MARTHE,
        "slope = self._carry(weights, grads, products)",
        "slope = self._carry(weights, grads, products) if self._steps else []",
        tests("tuners", f"{_SUM}[sgd-fixed-0.5]"),
    ),
    Fault(
        "training loss in place of the outer loss (3.3.20)",
        _MARTHE,
        "self._outer_step(outer_loss, weights, slope)",
        "self._outer_step(train_loss, weights, slope)",
        tests("tuners", f"{_SUM}[sgd-fixed-0.5]"),
    ),
    Fault(
        "rate of single precision (3.3.15)",
        "tuners/tuned.py",
        "return min(self.high, max(self.low, self.value - self.hyper_lr * delta))",
        "return float(torch.tensor(self.value - self.hyper_lr * delta, dtype=torch.float32))",
        tests("tuners", "rate_is_a_double_for_float32_weights"),
    ),
    Fault(
        "a list of closures is summed, not averaged",
        "tuners/gathered.py",
        "_divided(total.grads, len(closures))",
        "total.grads",
        tests("tuners_values", "a_list_of_closures_is_their_mean"),
    ),
    Fault(
        "HD: direction of the present step, not of the previous one",
        "tuners/hd.py",
        "[-inner_product(outer, self._kept)]",
        "[-inner_product(outer, outer)]",
        tests("tuners", "hd_equals_the_published_recursion[sgd-False]"),
    ),
    Fault(
        "HD: weight decay forgotten in the gradient",
        "tuners/hd.py",
        "slope[:] = self._regularised(weights, grads)",
        "slope[:] = grads",
        tests("tuners", "hd_equals_the_published_recursion[sgd_decay-False]"),
    ),
    Fault(
        "adaptive mu: a rate divided by a slope (3.3.5)",
        "tuners/adaptive.py",
        "numerator = self.delta if",
        "numerator = lr if",
        tests("tuners_stages", "adaptive_mu_and_hyper_lr_equal_their_twin[sgd_decay-marthe_tf-None]"),
    ),
    Fault(
        "adaptive mu: length of memory without the past's 1 (3.3.6)",
        "tuners/adaptive.py",
        "(self.c + 1) * mu if",
        "self.c * mu if",
        tests("tuners_stages", "adaptive_mu_and_hyper_lr_equal_their_twin[sgd_decay-marthe_tf-None]"),
    ),
    Fault(
        "adaptive hyper_lr: one hypergradient in place of the product of two (3.3.7)",
        "tuners/adaptive.py",
        "self.alpha * self.delta * self.before",
        "self.alpha * self.delta",
        tests("tuners_stages", "adaptive_mu_and_hyper_lr_equal_their_twin[sgd_decay-marthe_tf-0.01]"),
    ),
    Fault(
        "clipping by value without its derivative (3.3.13)",
        "tuners/clipping.py",
        "x.masked_fill(g.abs() > bound, 0.0)",
        "x",
        tests("tuners_stages", "clipping_is_torch_and_its_tangent_the_difference_quotient[value-0.5]"),
    ),
    Fault(
        "clipping by norm with the scale held fixed",
        "tuners/clipping.py",
        "scale * x + fall * g",
        "scale * x",
        tests("tuners_stages", "clipping_is_torch_and_its_tangent_the_difference_quotient[norm-0.5]"),
    ),
    Fault(
        "BatchNorm takes up the statistics of the outer batch (3.3.11)",
        _MARTHE,
        "guard.restore()\n        if self._scaling",
        "if self._scaling",
        tests("tuner_contract", "outer_loss_leaves_batchnorm_alone[marthe-momentum]"),
    ),
    Fault(
        "the outer gradient stays scaled",
        _MARTHE,
        "self._move(self._scaling.unscaled(grads),",
        "self._move(grads,",
        tests("scaling", "a_power_of_two_changes_no_digit[hd_outer-momentum-65536.0]"),
    ),
    Fault(
        "casts that autocast keeps serve at the next weights",
        "engine/closures.py",
        "torch.clear_autocast_cache()",
        "pass",
        tests("tuner_features", "a_step_inside_one_autocast_block_uses_the_weights_as_they_are[hd]"),
    ),
    Fault(
        "BatchNorm: running statistics in the outer gradient",
        "engine/closures.py",
        'module.training = self._batchnorm == "batch"',
        "module.training = False",
        tests("tuner_contract", "batchnorm_hypergradient_is_exact[momentum]"),
    ),
]

AUTOLR = [
    Fault(
        "AutoLR: wrong sign of the parabola's minimum",
        "tuners/autolr/fit.py",
        "minimum = -k1 / (2 * k2)",
        "minimum = k1 / (2 * k2)",
        tests("autolr_fit", "choice"),
    ),
    Fault(
        "AutoLR: the half that the scan lost",
        "tuners/autolr/fit.py",
        "minimum = -k1 / (2 * k2)",
        "minimum = -k1 / k2",
        tests("autolr_fit", "choice"),
    ),
    Fault(
        "AutoLR: a concave fit goes to its maximum",
        "tuners/autolr/fit.py",
        "if k2 > 0:",
        "if k2:",
        tests("autolr_fit", "choice"),
    ),
    Fault(
        "AutoLR: square root in the trust bound",
        "tuners/autolr/fit.py",
        "math.cbrt(",
        "math.sqrt(",
        tests("autolr_fit", "trust_bound_is_strict_and_never_reaches_the_rate"),
    ),
    Fault(
        "AutoLR: rollback forgets the random state",
        "tuners/snapshot.py",
        "torch.set_rng_state(self.random[0].cpu())",
        "pass",
        tests("autolr_state", "rollback_is_bit_for_bit[momentum]"),
    ),
    Fault(
        "AutoLR: rollback forgets the running statistics",
        "tuners/snapshot.py",
        "now.copy_(value)",
        "pass",
        tests("autolr_state", "rollback_is_bit_for_bit[momentum]"),
    ),
    Fault(
        "AutoLR: a rising window fixes the threshold of saturation",
        "tuners/autolr/tuner.py",
        "and 0 < drop_rate < threshold",
        "and drop_rate < threshold",
        tests("autolr", "a_rising_loss_is_saturated_and_fixes_no_threshold"),
    ),
    Fault(
        "AutoLR: a look in evaluation mode stays there",
        "tuners/autolr/checks.py",
        "module.training = training",
        "pass",
        tests("autolr_state", "an_outer_loss_in_evaluation_mode_leaves_training_in_its_own"),
    ),
]

RUNS = [
    Fault(
        "resume forgets the random state",
        "training/loop.py",
        'torch.set_rng_state(state["random"])',
        "pass",
        tests("resume", "a_network_with_dropout_resumes_bit_for_bit"),
    ),
    Fault(
        "resume forgets Z",
        "tuners/state.py",
        "part.copy_(kept.detach())",
        "pass",
        tests("tuners", "saved_state_continues_bit_for_bit[marthe-momentum-f64]"),
    ),
    Fault(
        "resume forgets LRS-OPT's moments",
        "engine/lrs_opt.py",
        '_State(**{**plain, "history"',
        '_State(**{**plain, "m": 0 * plain["m"], "history"',
        tests("lrs_opt", "resumes_bit_for_bit[3-adam]"),
    ),
    Fault(
        "validation images are the test images (3.3.10)",
        "tasks/data.py",
        'return self._all("validation")',
        'return self._all("test")',
        tests("data", "parts_are_disjoint_and_follow_the_seed"),
    ),
    Fault(
        "outer loss of the online methods on the test images (3.3.10)",
        "training/functions.py",
        "else (lambda t: task.validation())",
        "else (lambda t: task.test())",
        tests("functions", "only_the_headline_sees_the_test_images"),
    ),
    Fault(
        "final loss of LRS-OPT on the test images (3.3.10)",
        "training/lrs_opt.py",
        "x, y = task.validation()\n\n    def train_loss(weights: dict[str, Tensor], t: int) -> Tensor:",
        "x, y = task.test()\n\n    def train_loss(weights: dict[str, Tensor], t: int) -> Tensor:",
        tests("functions", "only_the_headline_sees_the_test_images"),
    ),
    Fault(
        "headline on the validation images",
        "training/functions.py",
        "evaluate(net, task.test())",
        "evaluate(net, task.validation())",
        tests("functions", "only_the_headline_sees_the_test_images"),
    ),
    Fault(
        "the same order of images in each epoch",
        "tasks/data.py",
        "self._drawn((purpose, seed, epoch), ",
        "self._drawn((purpose, seed), ",
        tests("data", "batches_are_a_pure_function_of_seed_and_step"),
    ),
    Fault(
        "the same crops in each epoch",
        "tasks/data.py",
        "self._drawn((_CROPS, purpose, seed, epoch), ",
        "self._drawn((_CROPS, purpose, seed), ",
        tests("image_tasks", "every_batch_crops_anew"),
    ),
    Fault(
        "outer batches are augmented",
        "tasks/data.py",
        'if part == "train" and self._crops:',
        "if self._crops:",
        tests("image_tasks", "augmented_batches_are_crops_of_the_same_images"),
    ),
    Fault(
        "a pack of the JPEG copy forgets what it is",
        "tasks/sources/readers.py",
        "for part, found in parts.items() if found.note}",
        "for part, found in parts.items() if False}",
        tests("copies", "a_jpeg_copy_is_named_wherever_it_goes"),
    ),
]

SPECS = [
    Fault(
        "a setting beyond its bounds is taken",
        "training/registry.py",
        "self.least <= value <= self.most",
        "value <= self.most",
        ("tests/test_spec.py::TestEverySetting::test_each_is_refused_where_it_may_not_be[training-marthe]",),
    ),
    Fault(
        "1 and 1.0 are two runs",
        "training/registry.py",
        "else float(value) + 0.0",
        "else value",
        ("tests/test_spec.py::TestIdentity::test_what_is_the_same_has_one",),
    ),
    Fault(
        "the default of a spec is not the tuner's",
        "training/methods.py",
        '"steps between two decisions", 1000',
        '"steps between two decisions", 100',
        ("tests/test_spec.py::TestDefaults::test_of_tuners_made_by_hand",),
    ),
    Fault(
        "test accuracy along a training is of the last images",
        "training/functions.py",
        "part[: spec.test_images]",
        "part[-spec.test_images :]",
        (
            "tests/test_spec.py::TestObservations::test_test_accuracy_is_of_the_first_images_and_of_all_at_the_end",
        ),
    ),
    Fault(
        "a curve that was asked for is thinned",
        "runs/record.py",
        "if exact or name in observed else",
        "if exact else",
        ("tests/test_spec.py::TestObservations::test_a_long_schedule_costs_no_point_of_a_curve",),
    ),
    Fault(
        "a default that changes leaves the code hash",
        "training/registry.py",
        "{s.name}={s.default!r}",
        "{s.name}",
        ("tests/test_spec.py::TestDeciding::test_a_default_is_part_of_what_decides",),
    ),
]
