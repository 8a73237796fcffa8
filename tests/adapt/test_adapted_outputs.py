"""What is written beside GGUFs, what conversations become, and what the estimates promise."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest
from helpers.chat_templates import TEMPLATE, with_template
from helpers.checkpoint_families import make_checkpoint
from helpers.lessons import DOCUMENTS, recorded

torch = pytest.importorskip("torch")
torch.set_num_threads(1)

from gemma_mtp.adapt.batches import Feed  # noqa: E402
from gemma_mtp.adapt.costs import token_bytes  # noqa: E402
from gemma_mtp.adapt.estimate import estimate  # noqa: E402
from gemma_mtp.adapt.lesson import Lesson, donors  # noqa: E402
from gemma_mtp.adapt.network import SETS, build  # noqa: E402
from gemma_mtp.adapt.signals import TEXT, Signals  # noqa: E402
from gemma_mtp.adapt.texts import Document, hold_out  # noqa: E402
from gemma_mtp.adapt.train import Recipe, Trainer  # noqa: E402
from gemma_mtp.adapt.weights import open_weights  # noqa: E402
from gemma_mtp.adapt.writing import write_checkpoint, write_gguf  # noqa: E402
from gemma_mtp.convert import Output, convert_checkpoint  # noqa: E402
from gemma_mtp.demo.pair import PAIR  # noqa: E402
from gemma_mtp.errors import UsageError  # noqa: E402
from gemma_mtp.files.gguf_reader import GGUFFile  # noqa: E402
from gemma_mtp.model.part import Part  # noqa: E402


@pytest.mark.parametrize("family", ["demo", "centroid-assistant"])
def test_a_checkpoint_in_googles_layout_is_the_same_model(family: str, tmp_path: Path):
    """Adapted weights as safetensors, converted, are the GGUF that was written; transformers finds every weight."""
    from transformers import AutoModelForCausalLM

    source = PAIR / "assistant" if family == "demo" else make_checkpoint(family, tmp_path / "source", torch.bfloat16)
    stock, adapted, folder = tmp_path / "stock.gguf", tmp_path / "adapted.gguf", tmp_path / "adapted"
    convert_checkpoint(source, [Output(stock, "BF16")])
    with open_weights(stock, Part.ASSISTANT) as weights:
        network = build(weights)
        torch.manual_seed(4)
        with torch.no_grad():
            for weight in network.train(SETS["body"]).values():
                weight.copy_((weight + 0.1 * torch.randn_like(weight)).bfloat16())
        write_gguf(weights, network, adapted, {})
    write_checkpoint(source, network, folder)
    convert_checkpoint(folder, [Output(tmp_path / "again.gguf", "BF16")])
    with GGUFFile(adapted) as one, GGUFFile(tmp_path / "again.gguf") as other:
        assert one.tensors.keys() == other.tensors.keys()
        for name, tensor in one.tensors.items():
            assert one.data(tensor).tobytes() == other.data(other.tensors[name]).tobytes(), name
    _, found = AutoModelForCausalLM.from_pretrained(folder, output_loading_info=True)
    assert not any(found[name] for name in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    assert sorted(path.name for path in folder.iterdir()) == sorted(path.name for path in source.iterdir())
    with pytest.raises(UsageError, match="exists already"):
        write_checkpoint(source, network, folder)


def test_conversations_are_learnt_in_the_targets_chat_format(target_gguf, tmp_path: Path):
    """The tokens that are recorded are those of transformers' chat template, the answer's end included."""
    from transformers import AutoTokenizer

    talks = [
        (("system", "Be short."), ("user", f"Why is {thing} round?"), ("assistant", "It turns."), ("user", "And?"))
        for thing in ("a wheel", "the moon", "a coin", "an orange")
    ]
    told = [(*talk, ("assistant", f"{number}.")) for number, talk in enumerate(talks)]
    documents = tuple(hold_out([Document("t", messages=talk) for talk in told], 0.25, 1))
    target = with_template(target_gguf("Q8_0"), tmp_path / "chat.gguf")
    signals = recorded(target, tmp_path / "s", documents, openings=1, continuation=8)
    tokenizer = AutoTokenizer.from_pretrained(PAIR / "target")
    for place in signals.some(kinds=(TEXT,)):
        messages = [{"role": role, "content": content} for role, content in documents[place.document].messages]
        text = tokenizer.apply_chat_template(messages, chat_template=TEMPLATE, tokenize=False)
        found = signals.load(place)["tokens"].tolist()
        assert found == tokenizer(text, add_special_tokens=False).input_ids
    assert {place.held for place in signals.some(kinds=(TEXT,))} == {True, False}


def test_the_estimate_of_the_disk_is_what_a_recording_takes(target_gguf, assistant_gguf, tmp_path: Path):
    """Within a quarter, from 2,048 tokens."""
    target, assistant = target_gguf("Q8_0"), assistant_gguf("BF16")
    signals = recorded(target, tmp_path / "s", DOCUMENTS, tokens=2048, openings=1)
    tokens = sum(place.length for place in signals.places)
    taken = sum(path.stat().st_size for path in (tmp_path / "s").glob("shard-*"))
    promised, _ = estimate(target, assistant, tokens, 1.0, 200, "cpu", None)
    assert promised.disk == pytest.approx(taken, rel=0.25)
    with open_weights(target, Part.TARGET) as weights:
        each = token_bytes(weights.model.hidden, donors(weights.model), Lesson.top)
    assert promised.disk == tokens * each


def test_the_estimate_of_the_work_is_what_pytorch_counts(signals: Signals, target_gguf, assistant_gguf):
    """A step's multiplications and additions, within a quarter; counted by PyTorch."""
    from torch.utils.flop_counter import FlopCounterMode

    with ExitStack() as stack:
        target = stack.enter_context(open_weights(target_gguf("F32"), Part.TARGET))
        assistant = stack.enter_context(open_weights(assistant_gguf("F32"), Part.ASSISTANT))
        network, feed = build(assistant), Feed(signals, target)
        trainer = Trainer(network, feed, Recipe(batch=400), signals.some(held=False))
        batch = next(trainer.batches())
        with FlopCounterMode(display=False) as counter:
            trainer.step(batch)
    assert np.isfinite(trainer.flops)
    assert trainer.flops == pytest.approx(counter.get_total_flops(), rel=0.25)
