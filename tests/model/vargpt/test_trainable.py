import pytest

from model.vargpt.trainable import STAGES, set_trainable


def trained(model, stage: str) -> set[str]:
    set_trainable(model, stage)
    return {name for name, weight in model.named_parameters() if weight.requires_grad}


def names(model, *parts: str) -> set[str]:
    return {name for name, _ in model.named_parameters() if any(part in name for part in parts)}


@pytest.mark.parametrize(
    ("stage", "parts"),
    [
        ("pretrain", ["projector_in.", "projector_out.", "conditioning.start"]),
        ("understand", ["language_model.", "lm_head.", "visual.merger."]),
        *(
            (f"{kind}{size}", ["projector_", "decoder."])
            for kind in ("sft", "dpo")
            for size in (256, 512)
        ),
        ("edit", [""]),
    ],
)
def test_a_stage_trains_its_parts_and_nothing_else(bsq, make_model, stage, parts) -> None:
    model = make_model(bsq)
    assert trained(model, stage) == names(model, *parts)


def test_a_later_stage_unfreezes_what_an_earlier_one_froze(bsq, make_model) -> None:
    model = make_model(bsq)
    set_trainable(model, "pretrain")
    everything = set_trainable(model, "edit")
    assert len(everything) == len(list(model.parameters()))


def test_every_prefix_of_a_stage_names_something(bsq, make_model) -> None:
    all_names = [name for name, _ in make_model(bsq).named_parameters()]
    for stage, prefixes in STAGES.items():
        for prefix in prefixes:
            assert any(name.startswith(prefix) for name in all_names), (stage, prefix)


def test_an_unknown_stage_is_refused(bsq, make_model) -> None:
    with pytest.raises(ValueError, match=r"unknown stage 'sft'.*pretrain"):
        set_trainable(make_model(bsq), "sft")
