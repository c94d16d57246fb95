"""`gate completion`: what makes a shell complete `gate` commands. Asked for by name only: a variable that made any
command print completions, and end with 0, would make a step pass that decided nothing."""

import click
from click.shell_completion import BashComplete, FishComplete, ZshComplete

_CLASSES = {"bash": BashComplete, "zsh": ZshComplete, "fish": FishComplete}
_SCRIPTS = {
    "bash": """\
_gate() {
  local kind value
  COMPREPLY=()
  while IFS=, read -r kind value; do
    case $kind in
      plain) COMPREPLY+=("$value") ;;
      dir) compopt -o dirnames ;;
      file) compopt -o default ;;
    esac
  done < <(COMP_WORDS="${COMP_WORDS[*]}" COMP_CWORD=$COMP_CWORD "$1" completion bash --answer)
}
complete -o nosort -F _gate gate
""",
    "zsh": """\
#compdef gate
_gate() {
  local kind value help
  local -a plain described
  COMP_WORDS="${words[*]}" COMP_CWORD=$((CURRENT - 1)) gate completion zsh --answer |
  while IFS= read -r kind && IFS= read -r value && IFS= read -r help; do
    case $kind in
      plain) [[ $help == _ ]] && plain+=("$value") || described+=("$value:$help") ;;
      dir) _path_files -/ ;;
      file) _path_files -f ;;
    esac
  done
  (( $#described )) && _describe -V gate described
  (( $#plain )) && compadd -V gate -a plain
}
compdef _gate gate
""",
    "fish": """\
function _gate
  for line in (COMP_WORDS=(commandline -cp) COMP_CWORD=(commandline -t) gate completion fish --answer)
    set -l parts (string split -m 1 , $line)
    switch $parts[1]
      case plain
        echo $parts[2]
      case dir
        __fish_complete_directories $parts[2]
      case file
        __fish_complete_path $parts[2]
    end
  end
end
complete --no-files --command gate --arguments '(_gate)'
""",
}


@click.command()
@click.argument("shell", type=click.Choice([*_SCRIPTS]))
@click.option("--answer", is_flag=True, hidden=True, help="Complete what COMP_WORDS and COMP_CWORD say.")
@click.pass_context
def completion(ctx: click.Context, shell: str, *, answer: bool) -> None:
    """Print a script that makes a shell complete commands and options of gate.

    \b
    Example:
      source <(gate completion bash)
      gate completion zsh >"${fpath[1]}/_gate"
      gate completion fish >~/.config/fish/completions/gate.fish
    """
    if not answer:
        click.echo(_SCRIPTS[shell], nl=False)
        return
    click.echo(_CLASSES[shell](ctx.find_root().command, {}, "gate", "").complete())
