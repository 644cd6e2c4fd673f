# stemforge.bash - completion for bash. Commands and flags are asked of the program itself, so they are
# always those of the version that is installed.
_stemforge() {
    local word=${COMP_WORDS[COMP_CWORD]} words
    if [ "$COMP_CWORD" = 1 ]; then
        words=$(stemforge --help 2>/dev/null | sed -n 's/^  \([a-z]*\)  *[a-zA-Z].*/\1/p')
    elif [[ $word == -* ]]; then
        words=$(stemforge "${COMP_WORDS[1]}" --help 2>/dev/null | sed -n 's/^ *\(--[a-z-]*\).*/\1/p')
    else
        case ${COMP_WORDS[COMP_CWORD - 1]} in
        --stem) words="drums bass guitar vocals piano synth other" ;;
        --weights) words="stored f32 bf16 q8 q4" ;;
        --format) words="wav wav24 wavf32 flac flac24 ogg" ;;
        esac
    fi
    mapfile -t COMPREPLY < <(compgen -W "$words" -- "$word")
    [ ${#COMPREPLY[@]} -gt 0 ] || compopt -o default
}
complete -F _stemforge stemforge
