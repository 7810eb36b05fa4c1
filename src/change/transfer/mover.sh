# One side of a move of mail: answers verbs from stdin until it ends, then gives its locks back.
# Lists end with a line `.`; every answer ends with a line that starts with the record separator.
umask 077
LC_ALL=C
export LC_ALL
cd / || exit 1
rs=$(printf '\036')
t=$(printf '\t')
nl='
'
held=
# Seconds spent on waiting for locks, all of them together.
waited=0

if stat -c %s / >/dev/null 2>&1; then
    stat=-c file='f %s %Y %U %G %a %n' directory='%d %U %G %A %n'
elif stat -f %z / >/dev/null 2>&1; then
    stat=-f file='f %z %m %Su %Sg %Lp %N' directory='%d %Su %Sg %Sp %N'
else
    printf '%sfail this host has no stat command\n' "$rs"
    exit 1
fi
digest=
for tool in 'sha256sum' 'shasum -a 256' 'openssl dgst -sha256 -r'; do
    if $tool /dev/null >/dev/null 2>&1; then
        digest=$tool
        break
    fi
done

durable() {
    sync "$@" >/dev/null 2>&1 || sync
}

item() {
    IFS= read -r line && [ "$line" != . ]
}

# The order new, cur, x-out is the order in which a message wanders: none is missed between two listings.
scan() (
    printf 'm %s\n' "$1"
    cd -- "$1" 2>/dev/null || {
        [ -e "$1" ] && printf 'denied\n'
        stat -L "$stat" "a $directory" "${1%/*}" 2>/dev/null
        exit 0
    }
    printf 'p %s\n' "$(pwd -P)"
    set -- . new cur tmp x x-out
    for f in .[!.]* ..?*; do
        if [ -d "$f/new" ] || [ -d "$f/cur" ]; then
            set -- "$@" "$f" "$f/new" "$f/cur" "$f/tmp" "$f/maildirfolder"
        fi
    done
    stat "$stat" "d $directory" "$@" 2>/dev/null
    # Folders that no Maildir++ has: nobody would look into them.
    for f in [!.]*/ .[!.]*/[!.]*/ .[!.]*/.[!.]*/; do
        case $f in x/ | x-out/ | new/ | cur/ | tmp/) continue ;; esac
        if [ -d "$f/new" ] || [ -d "$f/cur" ]; then
            printf 'n '
            printf %s "${f%/}" | tr '\n' '?'
            echo
        fi
    done
    set --
    for base in '' x/; do
        for part in new cur; do
            for f in "$base" "$base".[!.]*/ "$base"..?*/; do
                [ ! -d "$f$part" ] || set -- "$@" "$f$part/."
            done
        done
    done
    if [ $# -gt 0 ]; then
        find "$@" ! -name . -prune ! -name '.*' ! -name "*$nl*" -type f -exec stat "$stat" "$file" {} + 2>/dev/null
        find "$@" ! -name . -prune ! -name '.*' \( ! -type f -o -name "*$nl*" \) -exec sh -c '
            for path; do printf "o "; printf %s "$path" | tr "\n" "?"; echo; done' sh {} + 2>/dev/null
    fi
    set --
    for part in new cur; do
        for f in x-out/ x-out/.[!.]*/ x-out/..?*/; do
            [ ! -d "$f$part" ] || set -- "$@" "$f$part/."
        done
    done
    [ $# -eq 0 ] || find "$@" ! -name . -prune -type f -print 2>/dev/null | sed 's/^/c /'
    for f in x/part-* x/new x/cur x/.[!.]* x/..?* x/lock x-out/lock; do
        [ ! -e "$f" ] || printf 'left %s\n' "$f"
    done
    [ ! -f x/ledger ] || { echo ledger; sed -n "s/^published$t/l /p" x/ledger; }
    [ ! -f maildirsize ] || sed 's/^/q /' maildirsize
)

# Prints the paths that exist, then a line for each with the free KiB of its file system, then one with the free inodes.
space() {
    set --
    while item; do
        while [ -n "$line" ] && [ ! -d "$line" ]; do line=${line%/*}; done
        set -- "$@" "${line:-/}"
    done
    [ $# -gt 0 ] || return 0
    df -Pk "$@" 2>/dev/null | sed -n 's/^\(.*[^ ]\)  *[0-9][0-9]*  *[0-9][0-9]*  *\([0-9][0-9]*\)  *[0-9]*% .*/k \2 \1/p'
    df -Pi "$@" 2>/dev/null | sed -n 's/^\(.*[^ ]\)  *[0-9][0-9]*  *[0-9][0-9]*  *\([0-9][0-9]*\)  *[0-9]*% .*/i \2 \1/p'
}

# own USER:GROUP PATH [-prune]: PATH, and without -prune all below it; only what is not theirs yet.
own() {
    find "$2" $3 \( ! -user "${1%%:*}" -o ! -group "${1#*:}" \) -exec chown -h "$1" {} + 2>&1
}

make() {
    while IFS=$t read -r kind who path && [ "$kind" != . ]; do
        case $kind in
            d) [ -d "$path" ] || mkdir -p -- "$path" 2>&1 ;;
            # Not `:`, a special built-in, whose failed redirection would end the shell.
            f) [ -f "$path" ] || { true >>"$path"; } 2>&1 ;;
        esac
        [ "$who" = - ] || own "$who" "$path" -prune
    done
}

# Makes what was received durable and theirs, and prints its digests.
seal() {
    while IFS=$t read -r who path && [ "$who" != . ]; do
        printf 'm %s\n' "$path"
        [ -d "$path" ] || continue
        own "$who" "$path" </dev/null | sed 's/^/! /'
        (
            cd -- "$path" || exit
            find . -type f -exec sh -c 'sync "$@" >/dev/null 2>&1 || sync' sh {} +
            find . -type f -exec $digest {} +
        ) </dev/null
    done
}

if mv -n /nonexistent/a /nonexistent/b 2>&1 | grep -q -e 'invalid option' -e 'unrecognized option' -e 'illegal option'; then
    keep() {
        for name; do
            [ -e "$to/$name" ] || [ -h "$to/$name" ] || mv -- "$name" "$to/$name"
        done
    }
else
    keep() { mv -n -- "$@" "$to/"; }
fi

flush() {
    [ $# -gt 0 ] || return 0
    (cd -- "$from" && keep "$@") </dev/null 2>&1
    durable "$to" "$from"
}

# Renames without overwriting; what cannot be moved stays where it is and is found there by the next scan.
move() {
    set --
    while item; do
        rest=${line#*"$t"}
        case $line in
            d*) flush "$@"; set --; from=${rest%%"$t"*} to=${rest#*"$t"} ;;
            f*) set -- "$@" "$rest" ;;
            r*)
                one=${rest%%"$t"*} two=${rest#*"$t"}
                if [ ! -e "$two" ] && [ ! -h "$two" ]; then mv -- "$one" "$two" </dev/null 2>&1; fi
                durable "${two%/*}" "${one%/*}"
                ;;
        esac
        [ $# -lt 100 ] || { flush "$@"; set --; }
    done
    flush "$@"
}

# A file that cannot be read to its end leaves its frame broken: nothing may follow.
send() {
    while item; do
        { echo ok; cat || exit 5; echo; } 2>/dev/null <"$line" || { [ -e "$line" ] && echo denied || echo gone; }
    done
}

# A process is itself as long as its start time is the same and the machine has not been started anew.
started() {
    if [ -d /proc/self ]; then
        [ -r "/proc/$1/stat" ] || return 1
        started=$(cat "/proc/$1/stat") || return 1
        # Quoted for ksh93, which takes the parenthesis for its own.
        set -- ${started##*') '}
        started="${20}.$(cat /proc/sys/kernel/random/boot_id 2>/dev/null)"
    else
        ps -p "$1" >/dev/null 2>&1 || return 1
        started=unknown
    fi
}

# Each mover puts a file of its own name into the lock first and then looks for others: of two, one at least sees the
# other. What a dead process left can be removed at any time, because no other process ever has its name.
lock() {
    started $$
    me=$$.$started
    held="$held$1$nl"
    while :; do
        mark "$1" || { printf 'cannot write in %s/lock\n' "$1"; return; }
        holder=
        for other in "$1"/lock/*; do
            other=${other##*/}
            [ "$other" != "$me" ] || continue
            if started "${other%%.*}" && [ "$other" = "${other%%.*}.$started" ]; then
                holder=${other%%.*}
            else
                rm -rf -- "$1/lock/$other"
            fi
        done
        [ -n "$holder" ] || return
        # A mover whose connection broke notices soon and ends; one that works goes on for longer.
        rm -f -- "$1/lock/$me"
        if [ $waited -ge 10 ]; then
            printf 'busy %s %s\n' "$holder" "$1"
            return
        fi
        waited=$((waited + 1))
        sleep 1
    done
}

# Puts the own name into the lock of a directory. One that gives its lock back may take the directory away in between.
mark() {
    for _ in 1 2 3; do
        [ -d "$1/lock" ] || mkdir -p -- "$1/lock"
        ! { true >"$1/lock/$me"; } || return 0
    done 2>/dev/null
    return 1
}

release() {
    printf %s "$held" | while IFS= read -r directory; do
        rm -f -- "$directory/lock/$me"
        rmdir -- "$directory/lock" "$directory" 2>/dev/null
    done
}
trap release EXIT
trap 'exit 1' HUP INT PIPE TERM

open_files() {
    [ -d /proc/self/fd ] || { echo unknown; return; }
    find /proc/[0-9]*/cwd /proc/[0-9]*/fd/. -type l -exec ls -ld {} + 2>/dev/null |
        sed -n 's|.* /proc/\([0-9]*\)/[^ ]* -> \(/.*\)|\1 \2|p' | grep -v -e '^[0-9]* /dev/' -e ' /$' | sort -u
}

while IFS= read -r verb; do
    case $verb in
        clock) date +%s ;;
        scan) while item; do scan "$line" </dev/null; done ;;
        space) space ;;
        stat) while item; do stat "$stat" "$file" "$line" 2>/dev/null; done ;;
        lock) while item; do lock "$line" </dev/null; done ;;
        make) make ;;
        send) send ;;
        seal) if [ -n "$digest" ]; then seal; else echo 'no sha256sum, shasum or openssl'; fi ;;
        move) move ;;
        remove) while item; do rm -rf -- "$line" 2>&1; done ;;
        prune) while item; do rm -rf -- "$line"/part-*; done ;;
        tidy) while item; do
            find "$line" -depth -type d ! -path "$line" ! -path "$line/lock" -exec rmdir {} + 2>/dev/null
        done ;;
        append)
            IFS= read -r path || exit 1
            { echo; while item; do printf '%s\n' "$line"; done; } >>"$path"
            durable "$path"
            ;;
        quota)
            IFS=$t read -r who path total || exit 1
            {
                sed 1q "$path"
                printf '%s\n' "$total"
            } >"$path.move" && own "$who" "$path.move" && mv -- "$path.move" "$path" 2>&1
            ;;
        digest) while item; do $digest "$line" 2>/dev/null </dev/null; done ;;
        processes) item; open_files ;;
        *) printf 'unknown verb\n' ;;
    esac
    printf '%sdone\n' "$rs"
done
