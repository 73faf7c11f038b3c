"""Lightning's parser, with errors that fit on a line and name what was probably meant."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn

import yaml
from jsonargparse import set_loader
from lightning import Callback
from lightning.pytorch.cli import LightningArgumentParser

from rpo_lightning import console, discovery
from rpo_lightning.discovery import nearest

__all__ = ["FriendlyParser", "load_yaml", "options_of"]

SAID_OTHERWISE = {"resume": "ckpt_path last", "continue": "ckpt_path last", "steps": "model.init_args.total_env_steps"}
"""What one looks for -> the option that does it, where no word is shared."""

EXAMPLES = {
    "play": "ant",
    "record": "ant",
    "describe": "anymal",
    "new-task": "my_robot --robot my_robot.xml",
    "check-env": "ant",
    "export": "--ckpt_path ant",
}
"""Commands that need no configuration -> the least that they can be told."""


class _YamlLoader(yaml.SafeLoader):
    """YAML in which 1e-3 is a number, 2e6 a whole one, and a date is text."""

    yaml_implicit_resolvers = {  # noqa: RUF012 - PyYAML's own way, a copy of the parent's
        first: [(tag, pattern) for tag, pattern in resolvers if not tag.endswith(":timestamp")]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }

    def construct_exponent(self, node: Any) -> float:
        """Return a number such as 5e-4 or 2e6."""
        number = float(node.value.replace("_", ""))
        return int(number) if number.is_integer() and abs(number) < 2**63 else number


_YamlLoader.add_implicit_resolver("!exponent", re.compile(r"[-+]?\d[\d_]*(\.\d*)?[eE][-+]?\d+$"), list("-+0123456789"))
_YamlLoader.add_constructor("!exponent", _YamlLoader.construct_exponent)


def load_yaml(text: str) -> Any:
    """Return the value that a text is, read as configuration files are."""
    return yaml.load(text, Loader=_YamlLoader)


def _subclasses(base: type) -> Iterator[type]:
    direct: list[type] = base.__subclasses__()
    for child in direct:
        yield child
        yield from _subclasses(child)


def options_of(base: type) -> dict[str, set[str]]:
    """Return the arguments that our subclasses of `base`, and the user's, take, with the names of those that take them."""
    named = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    found: dict[str, set[str]] = {}
    for sub in (cls for cls in _subclasses(base) if not cls.__module__.startswith("lightning.")):
        for constructor in (vars(cls)["__init__"] for cls in sub.__mro__[:-1] if "__init__" in vars(cls)):
            parameters = inspect.signature(constructor).parameters.values()
            for name in (each.name for each in parameters if each.kind in named and each.name != "self"):
                found.setdefault(name, set()).add(sub.__name__)
            if not any(each.kind is inspect.Parameter.VAR_KEYWORD for each in parameters):
                break  # what is above is not handed on
    return found


def _networks() -> list[str]:
    """Return the names of our networks."""
    from rpo_lightning import nn

    return [name for name in nn.__all__ if hasattr(getattr(nn, name), "forward")]


class _Mistake(SystemExit):
    """What is wrong with options or files, not told yet."""

    def __init__(self, said: str) -> None:
        super().__init__(2)
        self.said = said


class FriendlyParser(LightningArgumentParser):
    """Parser whose errors fit on a line and name what was probably meant."""

    beside: Path | None = None
    """A configuration file that the user has not named, since it lies with the checkpoint."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        set_loader("yaml", load_yaml, (yaml.YAMLError,))
        super().__init__(*args, **kwargs)

    def parse_args(self, *args: Any, **kwargs: Any) -> Any:
        """Parse, or tell a mistake in one line and exit with 2; jsonargparse's own text runs to a page.

        Raises:
            SystemExit: 2 after a mistake.
        """
        try:
            return super().parse_args(*args, **kwargs)
        except _Mistake as mistake:
            console.fail(self._fault_beside() or mistake.said, code=2)

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """Give up parsing; that of a class's options has a parser of its own, inside the one that was asked."""
        raise _Mistake(self._plain(message))

    def _fault_beside(self) -> str | None:
        """Return what is wrong with the file `beside` alone, if anything is, and what to do."""
        if self.beside is None:
            return None
        try:
            super().parse_args([f"--config={self.beside}"])
        except _Mistake as mistake:
            return (
                f"{self.beside}, which lies with the checkpoint, cannot be read by this version of rpo-lightning: "
                f"{mistake.said.rstrip('.')}. The checkpoint says by itself how it was made: copy it to a folder without "
                "that file, or name a configuration with --config."
            )
        return None

    def instantiate_classes(self, *args: Any, **kwargs: Any) -> Any:
        """Build the classes of a configuration.

        Raises:
            ValueError: what a constructor refuses, in a line too.
        """
        try:
            return super().instantiate_classes(*args, **kwargs)
        except ValueError as error:
            raise ValueError(self._plain(str(error))) from error

    def _plain(self, message: str) -> str:
        options = [o.lstrip("-") for action in self._actions for o in action.option_strings if o.startswith("--")]
        name = match[1] if (match := re.match(r'Parser key "(.+)"', message)) else ""
        name = f"model.init_args.{name}" if name in self._model_options() else name
        key = f"{name}: " if name else ""
        if match := re.match(r"the following arguments are required: (.+)", message):
            return self._of_a_callback(match[1]) or f"{match[1]} must be given{self._how(match[1])}"
        if match := re.match(r"unrecognized arguments: ([^-]\S*)", message):
            if (command := self.prog.rpartition(" ")[2]) in ("play", "record"):
                return f"'{match[1]}' belongs to no option. A task comes first, as in rpo-lightning {command} ant."
            file = match[1] if "." in match[1] else f"{match[1]}.yaml"
            return f"'{match[1]}' belongs to no option. Did you mean '--config {file}'?"
        if match := re.match(r"unrecognized arguments: (\S+)", message):
            option = match[1].split("=")[0].lstrip("-").removesuffix("+")
            return f"there is no option --{option}.{self._meant(option, options)}"
        if match := re.match(r"Group '(.+)' does not accept option '(.+)'", message):
            inside = [option.removeprefix(f"{match[1]}.") for option in options if option.startswith(f"{match[1]}.")]
            return f"{match[1]} has no option '{match[2]}'.{nearest(match[2], inside)}"
        if match := re.match(r"Option '(.+)' is not accepted", message):
            return f"there is no option '{match[1]}'{self._elsewhere(match[1], options)}"
        if match := re.search(r"Unable to load config '(.+?)'", message):
            return (
                f"{key}there is no file {match[1]} (seen from the file that names it). To change a preset, copy it whole: "
                f"rpo-lightning fit --config PRESET --print_config > mine.yaml."
            )
        if match := re.search(r"Expected a dot import path string: (\S+)", message):
            known = [*discovery.algorithms(), *discovery.callbacks(), *_networks()]
            return f"{key}there is no class '{match[1]}'.{nearest(match[1], known)}"
        if match := re.search(r"a callable class: (No module .+|module .+ attribute '(\w+)')", message):
            hint = nearest(match[2] or "", _networks(), prefix="rpo_lightning.nn.")
            example = "CriticEnsemble" if name.endswith("critic") else "Actor"
            return f"{key}{match[1]}.{hint} A network is given by its class path, such as rpo_lightning.nn.{example}."
        if match := re.search(r"Problem with given class_path '(.+)':\s*(.+)", message):
            return f"{key}{match[1]} cannot be used: {match[2].rstrip('.')}."
        if match := re.search(r"typing\.Literal\[(.+)\]\. Got value: (.+)", message):
            choices = re.findall(r"'([^']*)'", match[1])
            return f"{name} cannot be '{match[2]}', only {', '.join(choices)}.{nearest(match[2], choices)}"
        if match := re.search(r"Expected a <class '(int|float|bool|str|list)'>\. Got value: (.*)", message):
            kind = {
                "int": "a whole number",
                "float": "a number",
                "bool": "true or false",
                "str": "text",
                "list": "a list, such as [1,2]",
            }[match[1]]
            return f"{name} must be {kind}, not {'null' if match[2] == 'None' else match[2]}."
        if match := re.search(r"Errors:\s+- (.+)", message):  # of several readings, the first is the one that was meant
            return f"{key}{match[1]}"
        return message

    def _of_a_callback(self, missing: str) -> str:
        """Return what is said of arguments that a callback of ours cannot do without; nothing of others."""
        names, of_callbacks = missing.split(", "), options_of(Callback)
        needing = set.intersection(*(of_callbacks.get(name, set()) for name in names)) & {*discovery.callbacks()}
        if " " in self.prog or len(needing) != 1:  # the command's own parser, which misses a task or a model
            return ""
        flags = " ".join(f"--trainer.callbacks.{name} VALUE" for name in names)
        return f"{needing.pop()} needs {' and '.join(names)}: init_args of it in a file, or after it {flags}."

    def _how(self, missing: str) -> str:
        command = self.prog.rpartition(" ")[2]
        if example := EXAMPLES.get(command):
            return f", as in rpo-lightning {command} {example}; rpo-lightning list shows what there is."
        return (
            f" in a file, as in {self.prog} --config ant.yaml, or as options, --data.env TASK and --model ALGORITHM; "
            "rpo-lightning list shows what there is."
        )

    def _elsewhere(self, name: str, options: list[str]) -> str:
        """Return who has an option that the chosen class has not, or what was probably meant."""
        of_models, of_callbacks = self._model_options(), options_of(Callback)
        having = of_models.get(name, set()) | of_callbacks.get(name, set())
        if named := sorted(having & {*discovery.algorithms(), *discovery.callbacks()}):
            return f" there; {', '.join(named)} {'has' if len(named) == 1 else 'have'} it."
        return f".{nearest(name, [*of_models, *of_callbacks, *options])}"

    def _model_options(self) -> dict[str, set[str]]:
        # check-env has a parser too, and no model
        from rpo_lightning.algorithms import RLModule

        return options_of(RLModule)

    def _meant(self, option: str, options: list[str]) -> str:
        """Return a hint: options with the same last part, with the same words in it, or of similar spelling."""
        known = list(dict.fromkeys([*options, *(f"model.init_args.{name}" for name in self._model_options())]))
        last = option.rpartition(".")[2]
        ends = {each: each.rpartition(".")[2] for each in known}
        found = [each for each, end in ends.items() if end == last]
        found = found or ([SAID_OTHERWISE[last]] if last in SAID_OTHERWISE else [])
        if not found and "." not in option:
            sharing = [each for each, end in ends.items() if f"_{last}_" in f"_{end}_"]
            found = sorted(sharing, key=lambda each: (not each.endswith(last), "actor" not in each))[:3]
        if found:
            quoted = " or ".join(f"'--{each}'" for each in found)
            return f" Did you mean {quoted}?"
        return nearest(option, known, prefix="--") or nearest(last, ends.values(), prefix="--...")
