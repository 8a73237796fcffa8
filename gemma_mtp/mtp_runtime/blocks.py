"""A DFlash drafter: all drafts of a round in one pass, from the outputs of several of the target's layers."""

from __future__ import annotations

from gemma_mtp.mtp_runtime.candidates import confidence
from gemma_mtp.mtp_runtime.drafter import Asked, Drafter
from gemma_mtp.native.blocks import BlockContext, LayerRows, target_layers
from gemma_mtp.native.llama import Context

#: llama.cpp's, where a file does not say (common/speculative.cpp).
USUAL_BLOCK = 16


class BlockDrafter(Drafter):
    """Fills a block of mask tokens in behind the newest token.

    Its cache holds what it makes of the target's rows, at the target's positions. It hears of every batch of the
    target, for the rows are gone with the next one; what the target has forgotten since is forgotten first.
    """

    def __init__(self, context: BlockContext, target: Context):
        model = context.model
        self.context, self.contexts = context, (context,)
        self.block = int(model.text_value("dflash.block_size") or USUAL_BLOCK)
        self._mask = int(model.text_value("tokenizer.ggml.mask_token_id") or -1)
        self._rows, self._held = LayerRows(target, target_layers(model)), 0
        target.listeners.append(self._take)

    def _take(self, position: int, count: int) -> None:
        self._forget(position)
        self.context.put(self._rows.last(count), position)
        self._held = position + count

    def _forget(self, length: int) -> None:
        if length < self._held:
            self.context.cut(length)
            self._held = length

    def draft(self, asked: Asked) -> list[int]:
        """`length` drafts, as far as a block reaches; fewer under `limits.p_min`, none under `limits.shortest`.

        The places of a block see each other, so its size matters: it is that of the longest draft, as in llama.cpp,
        however many of its drafts are wanted now.
        """
        newest, _, cached, length, sampler, index, limits = asked
        place = len(cached)
        self._forget(place)
        size = min(max(length, limits.longest), self.block - 1, self.context.size - place - 1)
        if size < 1:
            return []
        # All rows are wanted, the newest token's too: the graph keeps every row, and fewer would be its first ones.
        self.context.decode([newest, *[self._mask] * size], place, size + 1)
        tokens: list[int] = []
        for logits in self.context.logits()[1 : length + 1]:
            if limits.p_min and confidence(logits) < limits.p_min:
                break
            tokens.append(sampler.propose(logits, index + len(tokens)))
        self.context.cut(place)
        return tokens if len(tokens) >= limits.shortest else []
