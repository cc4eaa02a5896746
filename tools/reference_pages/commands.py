"""The page of the command line, from its parser."""

import argparse
from collections.abc import Iterator

from reference_pages.markdown import code, table


def commands() -> str:
    """Write the page."""
    from pipelines.cli.arguments import commands_of
    from pipelines.cli.main import _parser

    parser = _parser()
    abouts = {
        choice.dest: choice.help or ""
        for action in parser._actions
        if isinstance(action, argparse._SubParsersAction)
        for choice in action._choices_actions
    }
    parts = [
        "# Commands\n\nThis page is written from the parser of the command line.\n\n"
        "Exit codes: 0 done, 1 an error that you can fix, 2 usage, 130 stopped by Ctrl-C. For the "
        f"codes of `verify` see there.\n\n## vargpt-corpus\n\n{_table(parser)}"
    ]
    for name, command in commands_of(parser).items():
        about = abouts[name][:1].upper() + abouts[name][1:]
        usage = command.format_usage().removeprefix("usage: ")
        after = f"\n{_sentence(command.epilog)}\n" if command.epilog else ""
        parts.append(f"\n## {name}\n\n{about}.\n\n```text\n{usage}```\n\n{_table(command)}{after}")
    return "".join(parts)


def _table(parser: argparse.ArgumentParser) -> str:
    rows = [[_names(action), *_about(action)] for action in _options(parser)]
    return (
        table(["option", "required", "meaning"], rows, "options")
        if rows
        else "It has no options.\n"
    )


def _options(parser: argparse.ArgumentParser) -> Iterator[argparse.Action]:
    left_out = argparse._HelpAction | argparse._SubParsersAction
    return (action for action in parser._actions if not isinstance(action, left_out))


def _names(action: argparse.Action) -> str:
    if not action.option_strings:
        return code(action.metavar or action.dest.upper())
    value = action.metavar or (action.dest.upper() if action.choices is None else "VALUE")
    word = "" if action.nargs == 0 else f" {value}"
    return ", ".join(code(f"{name}{word}") for name in action.option_strings)


def _about(action: argparse.Action) -> tuple[str, str]:
    choices = "" if action.metavar else ", ".join(map(code, action.choices or ()))
    about = action.help or ""
    meaning = f"{about}; one of {choices}" if about and choices else about or choices
    return ("yes" if action.required else "", meaning)


def _sentence(text: str) -> str:
    text = " ".join(text.split()).rstrip(".")
    return f"{text[:1].upper()}{text[1:]}."
