import json
from pathlib import Path

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from model.training.journal import BOARD, Journal, read_steps


def test_what_is_past_the_checkpoint_is_forgotten_and_so_is_a_cut_line(tmp_path: Path) -> None:
    lines = [json.dumps({"step": step, "loss": 1.0}) + "\n" for step in (1, 2, 3)]
    (tmp_path / "steps.jsonl").write_text("".join(lines) + '{"step": 4, "lo')
    Journal(tmp_path, 2).close()
    assert [line["step"] for line in read_steps(tmp_path)] == [1, 2]


def test_the_board_has_losses_by_scale_and_bit_speed_and_pictures(make, tmp_path: Path) -> None:
    make(tmp_path, "steps=2", "sample_every=2", "prompts=[a cat]", "peak_tflops=1").run()
    board = EventAccumulator(str(tmp_path / BOARD))
    board.Reload()
    scalars = set(board.Tags()["scalars"])
    scales = {f"{of}/scale {number:02}" for of in ("loss", "foretold") for number in (1, 2, 3)}
    bits = {f"{of} by bit/{number:02}" for of in ("loss", "foretold") for number in range(32)}
    speed = {"speed/tokens a second", "speed/TFLOP/s a device", "speed/MFU"}
    others = {"loss", "loss/text", "loss/image", "lr", "gradient norm"}
    assert scalars == scales | bits | speed | others
    assert board.Tags()["images"] == ["samples"]
    (last,) = [line for line in read_steps(tmp_path) if line["step"] == 2]
    assert [each.step for each in board.Scalars("loss")] == [1, 2]
    image = sum(side * last[f"loss/scale {number:02}"] for number, side in enumerate((1, 2, 4), 1))
    assert abs(image / 7 - last["loss/image"]) < 1e-5
    assert abs(last["loss/text"] + 3 * last["loss/image"] - last["loss"]) < 1e-4
