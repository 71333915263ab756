"""The tables and sentences of experiment 01, in Markdown, every number from records."""

from __future__ import annotations

from adatune_lite.experiments.lrs_opt_vs_marthe import CLASSICAL, ONLINE
from adatune_lite.experiments.lrs_opt_vs_marthe.reading import LABELS, Results
from adatune_lite.report.statistics import mean_interval, paired_less


def setting(results: Results) -> str:
    """What this page shows, and where it is smaller than the paper's setting."""
    scale, task = results.scale, results.scale.task
    data = {"mnist": "MNIST", "mnist5k": "the 5,000 embedded MNIST digits"}[task.dataset]
    text = (
        f"**This page** ({results.profile}): {task.train:,} training, {task.validation:,} validation and "
        f"{task.test:,} test images of {data}, hidden layers of {' and '.join(map(str, task.hidden))} units, "
        f"T = {scale.steps} steps ({scale.steps * task.batch / task.train:.1f} epochs); {scale.draws} random "
        f"draws for every method on {len(scale.tuning_seeds)} tuning seeds, {len(scale.report_seeds)} other "
        f"seeds reported; {scale.mu_draws} draws at each fixed mu; {scale.outer_steps:,} outer steps."
    )
    if scale.variant_outer_steps < scale.outer_steps:
        text += f" In (g) LRS-OPT has {scale.variant_outer_steps} outer steps, to keep to the budget of time."
    if results.profile in ("smoke", "quick"):
        text += " This is a reduced scale: it shows that the code runs, not what the paper's setting gives."
    absent = results.missing_roles()
    if absent:
        listed = ", ".join(f"{role} ({count})" for role, count in absent.items())
        text += f" **Not all runs are made yet**; missing: {listed}."
    return text


def comparison(results: Results) -> str:
    """(b) What all methods are worth on the reporting seeds.

    A method with diverged runs has no interval, as in the figure.
    """
    lines = [
        "| method | test loss | test accuracy (%) | E (validation) | test loss minus E | runs (diverged) |",
        "|---|---|---|---|---|---|",
    ]
    for row in results.table():
        bare = row.diverged > 0
        figures = (
            row.test_loss.text(bare=bare),
            row.test_accuracy.text(2, bare=bare),
            row.validation_loss.text(bare=bare),
            row.gap.text(bare=bare),
        )
        lines.append(f"| {LABELS[row.method]} | {' | '.join(figures)} | {row.runs} ({row.diverged}) |")
    return "\n".join(lines) if len(lines) > 2 else "*No records yet.*"


def costs(results: Results) -> str:
    """(b) What they cost, in plain training steps as they really were and in seconds of one thread."""
    lines = [
        "| method | a run (plain steps) | its fastest run (seconds) | its search (plain steps) |",
        "|---|---|---|---|",
    ]
    for row in sorted(results.table(), key=lambda row: row.plain_steps):
        search = f"{row.search_steps:,.0f}" if row.search_steps else "none"
        lines.append(f"| {LABELS[row.method]} | {row.plain_steps:,.0f} | {row.seconds:.1f} | {search} |")
    return "\n".join(lines) if len(lines) > 2 else "*No records yet.*"


def settings(results: Results) -> str:
    """The frozen settings and how they were found."""
    if not results.choices:
        return "*No records yet.*"
    lines = [
        "| method | frozen settings | mean E on tuning seeds | draws (diverged) | at an edge of its range |",
        "|---|---|---|---|---|",
    ]
    for method, choice in results.choices.items():
        values = ", ".join(f"{name} = {value:.4g}" for name, value in choice.settings)
        counts = f"{choice.trials} ({choice.diverged})"
        edge = ", ".join(choice.on_edge) or "no"
        lines.append(f"| {LABELS[method]} | {values} | {choice.mean_loss:.4f} | {counts} | {edge} |")
    return "\n".join(lines)


def at_fixed_mu(results: Results) -> str:
    """MARTHE at each fixed mu with its own frozen hyper_lr."""
    if not results.mu_choices:
        return "*No records yet.*"
    lines = [
        "| μ | hyper-learning rate | E | test loss | test accuracy (%) | runs |",
        "|---|---|---|---|---|---|",
    ]
    for mu, choice in results.mu_choices.items():
        records = results.at_mu(mu)
        if records:
            parts = [
                mean_interval(list(results.by_seed(records, m).values())).text(digits)
                for m, digits in (("validation_loss", 3), ("test_loss", 3), ("test_accuracy", 2))
            ]
            rate = dict(choice.settings)["hyper_lr"]
            lines.append(f"| {mu:g} | {rate:.3g} | {' | '.join(parts)} | {len(records)} |")
    return "\n".join(lines) if len(lines) > 2 else "*No records yet.*"


def nearness(results: Results) -> str:
    """(e) Gap in E and correlation with LRS-OPT's schedule."""
    lines = [
        "| method | E minus LRS-OPT's E | correlation of smoothed log schedules | seeds |",
        "|---|---|---|---|",
    ]
    for method in (*CLASSICAL, *ONLINE):
        near = results.nearness(method)
        if near:
            gaps, correlations = [gap for _, _, gap in near], [c for _, c, _ in near if c == c]
            shape = mean_interval(correlations).text() if correlations else "undefined (constant)"
            lines.append(f"| {LABELS[method]} | {mean_interval(gaps).text()} | {shape} | {len(near)} |")
    return "\n".join(lines) if len(lines) > 2 else "*No records yet.*"


def transfer(results: Results) -> str:
    """(f) Learned schedules on their own and on other seeds."""
    lines = ["| schedule of | E on its own seed | E on other seeds | replays |", "|---|---|---|---|"]
    for method, (own, other) in results.transfer().items():
        figures = f"{mean_interval(own).text()} | {mean_interval(other).text()}"
        lines.append(f"| {LABELS[method]} | {figures} | {len(other)} |")
    return "\n".join(lines) if len(lines) > 2 else "*No records yet.*"


def finding(results: Results) -> str:
    """The main finding, in a paragraph; says so when a tuned fixed schedule beats the online methods."""
    rows = {row.method: row for row in results.table()}
    wanted = len(results.scale.report_seeds)
    absent = [LABELS[m] for m in ("constant", *ONLINE) if m not in rows or rows[m].runs < wanted]
    if absent:
        return (
            "The runs of this experiment are not complete enough for a finding: those of "
            f"{', '.join(absent)} on the reporting seeds are missing."
        )
    online, constant = [rows[m] for m in ONLINE], rows["constant"]
    best = min(online, key=lambda row: row.test_loss.mean)
    constant_losses = results.by_seed(results.reported("constant"), "test_loss")
    online_losses = results.by_seed(results.reported(best.method), "test_loss")
    seeds = sorted(set(constant_losses) & set(online_losses))
    pair = [constant_losses[s] for s in seeds], [online_losses[s] for s in seeds]
    name = LABELS[best.method]
    if paired_less(*pair) < 0.05:
        verdict = (
            f"**A tuned constant learning rate beats every online method**: the best of them, {name}, has"
        )
    elif paired_less(*pair[::-1]) < 0.05:
        verdict = f"The best online method, {name}, beats a tuned constant learning rate: it has"
    else:
        verdict = f"The best online method, {name}, and a tuned constant rate cannot be told apart: it has"
    factor = best.plain_steps / constant.plain_steps
    text = (
        f"{verdict} a test loss of {best.test_loss.text()} and {best.test_accuracy.text(2)} % accuracy, "
        f"the constant {constant.test_loss.text()} and {constant.test_accuracy.text(2)} % (mean ± half of "
        f"the 95 % interval, {len(seeds)} seeds, equal tuning), at {factor:.0f} times the cost of a run."
    )
    offline = rows.get("lrs_opt")
    if offline is not None:
        text += (
            f" LRS-OPT, which fits all {results.scale.steps} rates offline to one batch order and is a "
            f"reference and not a competitor, reaches E = {offline.validation_loss.text()} and "
            f"a test loss of {offline.test_loss.text()}."
        )
    return text
