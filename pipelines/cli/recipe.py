"""The command `recipe`: check a recipe as `build` does, and print it with all defaults."""

import argparse

from pipelines.cli.build import add_overrides, read_recipe
from pipelines.cli.option_types import place


def add_recipe(parser: argparse.ArgumentParser) -> None:
    """Add the options of `recipe`."""
    parser.add_argument("recipe", type=place, metavar="RECIPE", help="YAML file, any fsspec URL")
    add_overrides(parser)


def run(options: argparse.Namespace) -> int:
    """Check a recipe, and print it if it is valid.

    Raises:
        RecipeError: the recipe has errors; one line per error.
    """
    from pipelines.check_recipe import recipe_faults, warnings
    from pipelines.runtime.console import CONSOLE
    from schemas.recipe_file import RecipeError, dump_recipe

    recipe = read_recipe(options)
    if faults := recipe_faults(recipe):
        raise RecipeError("\n".join(f"{options.recipe}: {fault}" for fault in faults))
    for line in warnings(recipe):
        CONSOLE.warning("%s: %s", options.recipe, line)
    print(dump_recipe(recipe), end="")
    return 0
