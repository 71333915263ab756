"""Planted faults that begin where small runs end: the canary, which vouches for records, must notice them."""

from __future__ import annotations

from mutations.fault import Fault, tests

_NOTICED = tests("canary", "the_present_code_gives_the_kept_numbers")

LATE = [
    Fault(
        "epochs from the third on repeat the first one's batches",
        "tasks/data.py",
        "epoch, position = divmod(step, self.steps_per_epoch)",
        "epoch, position = divmod(step, self.steps_per_epoch)\n        epoch = epoch if epoch < 2 else 0",
        _NOTICED,
    ),
    Fault(
        "evaluation reads the first 1,000 test images",
        "training/functions.py",
        "evaluate(net, task.test())",
        "evaluate(net, (task.test()[0][:1000], task.test()[1][:1000]))",
        _NOTICED,
    ),
    Fault(
        "every rate halved from step 64 on",
        "tuners/base.py",
        "        self._used_lr = self._lr\n        self._take_step(weights)\n",
        "        self._used_lr = self._lr\n        for group in self.optimizer.param_groups:\n"
        "            group['lr'] /= 1 + (self._steps >= 64)\n        self._take_step(weights)\n",
        _NOTICED,
    ),
    Fault(
        "float32 weights rounded to half precision",
        "training/loop.py",
        "        trace.lr.append(tuner.used_lr)\n",
        "        trace.lr.append(tuner.used_lr)\n        if next(net.parameters()).dtype == torch.float32:\n"
        "            net.half().float()\n",
        _NOTICED,
    ),
]
