"""The page of styles, gates and questions of captions, from the tables in the code."""

from reference_pages.markdown import code, table


def captions() -> str:
    """Write the page."""
    from filters.captions.gates import REASONS
    from filters.captions.instruction_gates import REASONS as OF_INSTRUCTIONS
    from filters.captions.instructions import INSTRUCTION, LEAD_IN, LEAD_IN_PROMPT, PROMPTS
    from filters.captions.questions import DEFAULT_QUESTIONS
    from filters.captions.styles import BUNDLED

    styles = [
        [
            code(each.name),
            code(each.prompt_id),
            f"{each.min_tokens} to {each.max_tokens}",
            str(each.max_new_tokens),
            each.form,
            each.prompt,
        ]
        for each in BUNDLED.values()
    ]
    reasons = [[code(reason), meaning] for reason, meaning in REASONS.items()]
    prompts = [
        *([code(INSTRUCTION), code(subset), prompt] for subset, prompt in PROMPTS.items()),
        [code(LEAD_IN), "with an image", LEAD_IN_PROMPT],
    ]
    of_instructions = [[code(reason), meaning] for reason, meaning in OF_INSTRUCTIONS.items()]
    questions = [[code(each.name), each.question] for each in DEFAULT_QUESTIONS]
    return (
        "# Captions: styles, gates, questions\n\n"
        "[Captions](../concepts/captions.md) explains these. This page is written from "
        "`filters/captions/`.\n\n"
        "## Styles\n\nThe id is a hash of the prompt. Tokens are those of a caption; a model may "
        "write `max_new_tokens`.\n\n"
        + table(["style", "prompt id", "tokens", "new tokens", "form", "prompt"], styles)
        + "\n## Gates\n\nIn order. The first reason counts.\n\n"
        + table(["reason", "meaning"], reasons)
        + "\n## Questions\n\nAsked if the recipe has none of its own.\n\n"
        + table(["flag", "question"], questions)
        + "\n## Instructions\n\n"
        + table(["style", "subset", "prompt"], prompts)
        + "\nGates of instructions, after those of captions:\n\n"
        + table(["reason", "meaning"], of_instructions)
    )
