"""From an image's sums to its explanation: means over references in one level or two, their error, and the gap.

In two levels, n references are followed with one segment, and m of them with K as well: for each reference j

    a_j: values with one segment        d_j: values with K segments - a_j, for the first m
    values = mean over n of a_j + mean over m of d_j

Every a_j sums to f(x) - f(x'_j) and every d_j to 0, so the sum is f(x) - the mean of all n f(x'_j) exactly. One segment
costs a tenth of what several cost in each layer's own space, and what a map is unsure of is mostly its references. (The
idea is that of multilevel Monte Carlo, Giles 2008.)
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from layershap.explain.checks import check_gap
from layershap.explain.outputs import Output, output_values
from layershap.explain.result import LayerExplanation
from layershap.explain.sums import ImageSums, Sums


@dataclass(frozen=True)
class Levels:
    """An image's sums: `few`, of references with K segments; or, of two levels, also these and `more` with one."""

    few: ImageSums
    few_with_one: ImageSums | None = None
    more: ImageSums | None = None

    @property
    def reference_logits(self) -> Tensor:
        """Logits [n, classes] of all references."""
        parts = [self.few.reference_logits] + ([] if self.more is None else [self.more.reference_logits])
        return torch.cat(parts)

    def explanation(
        self, index: int, name: str, output: Output, segments: int, change: float | None, keep_references: bool
    ) -> LayerExplanation:
        """Turn a layer's sums into means, errors and gap; refuse a sum that does not agree."""
        fine = self.few.sums[index]
        f_image = output_values(self.few.logits[0], self.few.target, output)
        f_references = output_values(self.reference_logits, self.few.target, output)
        values, error = self._by_reference(index)
        single, prefix = fine.layout.on_grid(values), fine.layout.of_prefix(values)
        heatmap = single.mean(0)
        total = heatmap.sum() if prefix is None else heatmap.sum() + prefix.mean()
        expected = f_references.mean()
        gap = total - (f_image - expected)
        check_gap(name, gap, f_image, f_references)
        own, reference, features = (self._mean(index, part) for part in ("own", "reference", "features"))
        return LayerExplanation(
            heatmap=heatmap[None],
            standard_error=fine.layout.on_grid(error)[None],
            own=None if own is None else fine.layout.on_grid(own)[None],
            reference=None if reference is None else fine.layout.on_grid(reference)[None],
            total=total[None],
            gap=gap[None],
            expected=expected[None],
            features=None if features is None else fine.layout.own(features[None]),
            segments=segments,
            change=change,
            by_reference=single[None] if keep_references else None,
            prefix=None if prefix is None else prefix.mean()[None],
        )

    def _by_reference(self, index: int) -> tuple[Tensor, Tensor]:
        """Return values [n, ...] whose mean is the map, and the standard error [...] of that mean."""
        fine, one = torch.stack(self.few.sums[index].heatmaps), None
        if self.few_with_one is not None and self.more is not None:
            one = torch.stack(self.few_with_one.sums[index].heatmaps + self.more.sums[index].heatmaps)
        return values_by_reference(fine, one), standard_error(fine, one)

    def _mean(self, index: int, part: str) -> Tensor | None:
        """Return own, reference or features as a mean over references, or None where there is none."""

        def total(sums: Sums) -> Tensor | None:
            return getattr(sums, part)

        fine, few = total(self.few.sums[index]), len(self.few.reference_logits)
        if fine is None or self.few_with_one is None or self.more is None:
            return None if fine is None else fine / few
        one, more = total(self.few_with_one.sums[index]), total(self.more.sums[index])
        if one is None or more is None:
            return None
        return (one + more) / len(self.reference_logits) + (fine - one) / few


def values_by_reference(fine: Tensor, one: Tensor | None) -> Tensor:
    """Return values [n, ...] whose mean is the map: a_j + (n / m) d_j of the first m references, a_j of the others.

    fine [m, ...]: with all segments; one [n, ...]: with one segment, of these and of further ones (None: `fine` alone).
    """
    if one is None:
        return fine
    corrected = one[: len(fine)] + (fine - one[: len(fine)]) * (len(one) / len(fine))
    return torch.cat([corrected, one[len(fine) :]])


def standard_error(fine: Tensor, one: Tensor | None) -> Tensor:
    """Return the standard error [...] of the mean of values_by_reference.

    With the variances s_m^2 of its first m values and s_n^2 of all a_j: sqrt(m s_m^2 + (n - m) s_n^2) / n.
    """
    values, few = values_by_reference(fine, one), len(fine)
    variance = few * _variance(values[:few])
    if one is not None:
        variance = variance + (len(one) - few) * _variance(one)
    return variance.sqrt() / len(values)


def _variance(values: Tensor) -> Tensor:
    """Return the variance over the first axis; NaN of one value."""
    return values.var(0) if len(values) > 1 else torch.full_like(values[0], torch.nan)
