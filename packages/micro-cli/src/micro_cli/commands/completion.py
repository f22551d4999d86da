"""`micro completion`: the script for a shell."""

from __future__ import annotations

import os
from pathlib import Path

import click

SHELLS = ("bash", "zsh", "fish")

BASH = """\
_micro_completion() {
    local IFS=$'\\n'
    COMPREPLY=($(COMP_WORDS="${COMP_WORDS[*]}" COMP_CWORD=$COMP_CWORD _MICRO_COMPLETE=bash micro 2>/dev/null)) \
|| compopt -o default
    case "${COMPREPLY[0]}" in *=) compopt -o nospace ;; esac
}
complete -F _micro_completion micro
"""

ZSH = """\
#compdef micro
_micro_completion() {
    local -a found
    local files=0 none=1
    found=("${(@f)$(COMP_WORDS="${(pj:\\n:)words}" COMP_CWORD=$((CURRENT - 1)) \
_MICRO_COMPLETE=zsh micro 2>/dev/null)}") || files=1
    compadd -S '' -- ${(M)found:#*=} && none=0
    compadd -- ${${found:#}:#*=} && none=0
    (( files )) && _files && none=0
    return none
}
compdef _micro_completion micro
"""

FISH = """\
function _micro_completion
    set -l words (commandline -opc) (commandline -ct)
    COMP_WORDS=(string join \\n -- $words | string collect) COMP_CWORD=(math (count $words) - 1) \
_MICRO_COMPLETE=fish micro 2>/dev/null
    or __fish_complete_path (commandline -ct)
end
complete --no-files --command micro --arguments "(_micro_completion)"
"""

SCRIPTS = {"bash": BASH, "zsh": ZSH, "fish": FISH}

HOW = {
    "bash": 'eval "$(micro completion bash)"   # in ~/.bashrc',
    "zsh": 'eval "$(micro completion zsh)"   # in ~/.zshrc, after compinit',
    "fish": "micro completion fish > ~/.config/fish/completions/micro.fish",
}


HELP = """\
Print the script that completes commands, options, services, endpoints and their arguments.

\b
eval "$(micro completion bash)"   # in ~/.bashrc
"""


@click.command("completion", help=HELP)
@click.argument("shell", type=click.Choice(SHELLS), required=False)
def command(shell: str | None) -> None:
    """Print the script that completes commands, options, services, endpoints and their arguments."""
    name = shell or Path(os.environ.get("SHELL", "")).name
    if name not in SCRIPTS:
        raise click.UsageError(f"say which shell: {', '.join(SHELLS)}", click.get_current_context())
    if shell is None:
        click.echo(f"# {HOW[name]}")
    click.echo(SCRIPTS[name], nl=False)
