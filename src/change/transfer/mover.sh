# One side of a move of mail: answers verbs from stdin until it ends, then gives its locks back.
# Verbs come in blocks of a length that stands before each. A record separator begins each verb, which its list follows, the end of
# a block, and the line that ends an answer.
umask 077
LC_ALL=C
export LC_ALL
cd / || exit 1
rs=$(printf '\036')
t=$(printf '\t')
nl='
'
held=
incoming=
locked=
# Seconds spent on waiting for locks, all of them together.
waited=0

# Of files only the numbers of their owners: names would be looked up for each.
if stat -c %s / >/dev/null 2>&1; then
    stat=-c file='f %s %Y %u %g %a %n' owner='%u %g %U %G' directory='%d %U %G %A %n'
elif stat -f %z / >/dev/null 2>&1; then
    stat=-f file='f %z %m %u %g %Lp %N' owner='%u %g %Su %Sg' directory='%d %Su %Sg %Sp %N'
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

# Waits until the disks have what these files, or file systems, have in memory: all of it at once is far less to wait for
# than each file by itself. A sync that knows no files does it for all.
durable() {
    [ $# -gt 0 ] || return 0
    sync -f "$@" >/dev/null 2>&1 || sync
}

# Takes so many bytes from stdin and not one more. A shell's own `read` asks the system for each byte by itself.
if [ "$({ printf abcd | { head -c2 >/dev/null; cat; }; } 2>/dev/null)" = cd ]; then
    take='head -c'
else
    take='dd bs=1 count='
fi

# Says whether there is nothing in these directories that could be a message.
empty() {
    for d; do
        for f in "$d"/*; do
            if [ -e "$f" ] || [ -h "$f" ]; then return 1; fi
        done
    done
}

# settled WHAT: says whether the last move of this Maildir was whole and nothing has happened since, and by which mark.
settled() {
    case $1 in
        source)
            [ -f x-out/settled ] && empty new cur .[!.]*/new .[!.]*/cur ..?*/new ..?*/cur &&
                IFS= read -r mark <x-out/settled
            ;;
        dest)
            [ -f x/settled ] && [ -f x/ledger ] &&
                empty x/new x/cur x/.[!.]*/new x/.[!.]*/cur x/..?*/new x/..?*/cur && IFS= read -r mark <x/settled
            ;;
        *) return ;;
    esac && printf 'settled %s\n' "$mark"
}

# given COMMAND LINES: the command with each line as an argument.
given() {
    IFS=$nl
    set -f
    set -- "$1" $2
    set +f
    IFS=' '$t$nl
    [ $# -eq 1 ] || "$@"
}

# collect COMMAND PATH..., and at the end `finish COMMAND`: a command is given many paths at once, and not more than the
# arguments of a program may be. For commands that only look.
batch=
count=0
collect() {
    command=$1
    shift
    for path; do batch=$batch$path$nl count=$((count + 1)); done
    [ $count -lt 300 ] || finish "$command"
}

finish() {
    given "$1" "$batch"
    batch= count=0
}

# parts COMMAND TREE/: all `new`, and then all `cur`, of a tree that is laid out as a Maildir.
parts() {
    for part in new cur; do
        for f in "$2" "$2".[!.]*/ "$2"..?*/; do
            [ ! -d "$f$part" ] || collect "$1" "$f$part/."
        done
    done
}

# look WHAT MAILDIR...: what each is.
look() {
    what=$1
    shift
    for maildir; do
        printf 'm %s\n' "$maildir"
        if cd -P -- "$maildir" 2>/dev/null; then
            printf 'p '
            pwd -P
            about
            settled "$what"
        else
            [ ! -e "$maildir" ] || echo denied
            stat -L "$stat" "a $directory" "${maildir%/*}" 2>/dev/null
        fi
    done
    cd /
    finish directories
}

# What is in Maildirs. The order new, cur, x-out is the order in which a message wanders: none is missed between two listings.
list() {
    for maildir; do
        parts messages "$maildir/"
        parts messages "$maildir/x/"
    done
    finish messages
    handed_over "$@"
    echo ledgers
    for maildir; do [ ! -f "$maildir/x/ledger" ] || collect ledgers "$maildir/x/ledger"; done
    finish ledgers
}

about() {
    for f in . new cur tmp x x-out; do collect directories "$maildir/$f"; done
    for f in .[!.]* ..?*; do
        if [ -d "$f/new" ] || [ -d "$f/cur" ]; then
            case $f in *"$nl"*) nested "$f" ;; esac
            collect directories "$maildir/$f" "$maildir/$f/new" "$maildir/$f/cur" "$maildir/$f/tmp" "$maildir/$f/maildirfolder"
        fi
    done
    # Folders that no Maildir++ has: nobody would look into them.
    for f in [!.]*/ .[!.]*/[!.]*/ .[!.]*/.[!.]*/; do
        case $f in x/ | x-out/ | new/ | cur/ | tmp/) continue ;; esac
        if [ -d "$f/new" ] || [ -d "$f/cur" ]; then nested "${f%/}"; fi
    done
    for f in x/part-* x/new x/cur x/.[!.]* x/..?* x/lock x-out/lock; do
        [ ! -e "$f" ] || printf 'left %s\n' "$f"
    done
    [ ! -f maildirsize ] || sed 's/^/q /' maildirsize
    [ ! -f courierpop3dsizelist ] || sed -n '1s|^/[23] .*|numbered|p' courierpop3dsizelist
    [ ! -f dovecot-uidlist ] || echo dovecot
    [ ! -f x/ledger ] || echo ledger
}

nested() {
    printf 'n '
    printf %s "$1" | tr '\n' '?'
    echo
}

directories() {
    stat "$stat" "d $directory" "$@" 2>/dev/null
}

odd='for path; do printf "o "; printf %s "$path" | tr "\n" "?"; echo; done'
printed='f %s %T@ %U %G %m %p\n'
case $(find / -prune -printf "$printed" 2>/dev/null) in
    # A find that says all of it looks at each file once.
    'f '[0-9]*' '[0-9]*' 0 0 '[0-9]*' /')
        messages() {
            find "$@" ! -name . -prune ! -name '.*' \( -type f ! -name "*$nl*" -printf "$printed" -o \
                -exec sh -c "$odd" sh {} + \) 2>/dev/null
        }
        ;;
    *)
        messages() {
            find "$@" ! -name . -prune ! -name '.*' \( -type f ! -name "*$nl*" -exec stat "$stat" "$file" {} + -o \
                -exec sh -c "$odd" sh {} + \) 2>/dev/null
        }
        ;;
esac

ledgers() {
    grep "^published$t" "$@" /dev/null
}

# What was handed over of each Maildir, and what POP3's users knew it by.
handed_over() {
    for maildir; do parts handed "$maildir/x-out/"; done
    finish handed
    for maildir; do
        f=$maildir/x-out/courierpop3dsizelist
        if [ -f "$f" ]; then
            printf 'of %s\n' "$maildir"
            sed 's/^/u /' "$f"
        fi
    done
}

handed() {
    find "$@" ! -name . -prune -type f -print 2>/dev/null | sed 's/^/c /'
}

# Prints the paths that exist, then a line for each with the free KiB of its file system, then one with the free inodes.
space() {
    for line; do
        shift
        while [ -n "$line" ] && [ ! -d "$line" ]; do line=${line%/*}; done
        set -- "$@" "${line:-/}"
    done
    [ $# -gt 0 ] || return 0
    df -Pk "$@" 2>/dev/null | sed -n 's/^\(.*[^ ]\)  *[0-9][0-9]*  *[0-9][0-9]*  *\([0-9][0-9]*\)  *[0-9]*% .*/k \2 \1/p'
    df -Pi "$@" 2>/dev/null | sed -n 's/^\(.*[^ ]\)  *[0-9][0-9]*  *[0-9][0-9]*  *\([0-9][0-9]*\)  *[0-9]*% .*/i \2 \1/p'
}

make_directories() {
    mkdir -p -- "$@" 2>&1
}

discard() {
    rm -rf -- "$@" 2>&1
}

# own USER:GROUP ARGUMENTS: what `find` finds and is not theirs yet.
own() {
    who=$1
    shift
    find "$@" \( ! -user "${who%%:*}" -o ! -group "${who#*:}" \) -exec chown -h "$who" {} + 2>&1
}

# Without overwriting: what cannot be moved stays where it is and is found there by the next scan.
if mv -n /nonexistent/a /nonexistent/b 2>&1 | grep -q -e 'invalid option' -e 'unrecognized option' -e 'illegal option'; then
    keep() {
        for name; do
            [ -e "$to/$name" ] || [ -h "$to/$name" ] || mv -- "$name" "$to/$name"
        done
    }
else
    keep() { mv -n -- "$@" "$to/"; }
fi

# Adds lines to the list of POP3's unique ids, whose own lines stay.
join() {
    [ -n "$incoming" ] || return 0
    {
        [ ! -f "$list" ] || cat "$list"
        echo
        echo //
        cat "$incoming"
    } 2>/dev/null | "$joined" >"$incoming.list"
    if [ $? -ne 0 ]; then
        printf 'unique ids of POP3 could not be added to %s\n' "$list"
        incoming=
    elif ! cmp -s "$incoming.list" "$list"; then
        own "$numbered" "$incoming.list" && mv -f -- "$incoming.list" "$list" 2>&1
    fi
    [ -z "$locked" ] || incoming=
}

# A login drops lines of messages that are not shown yet, so this comes before each of the renames that show some, and after
# the last.
joined_courier() {
    awk -v now="$(date +%s)" '
        function base(line) {
            sub(/ [0-9]+ [0-9:]+$/, "", line)
            sub(/:.*/, "", line)
            return line
        }
        $0 == "" { next }
        $0 == "//" && !more {
            more = 1
            if (!lines) print "/2 1 " now
            next
        }
        !lines++ && !more && !/^\/[23] [0-9]/ { exit 3 }
        lines > 1 && !more { seen[base($0)] }
        !more || !(base($0) in seen)
    '
}

# Each line gets the next UID of the list (`3 VVALIDITY NNEXT`, then `UID FIELDS :NAME`).
joined_dovecot() {
    awk -v now="$(date +%s)" '
        function base(line) {
            sub(/^[^:]*:/, "", line)
            sub(/:.*/, "", line)
            return line
        }
        BEGIN { uid = 1 }
        $0 == "" { next }
        $0 == "//" && !more { more = 1; next }
        !more && head == "" {
            if (!/^3 V[0-9]+ N[0-9]+/) { strange = 1; exit }
            head = $0
            uid = substr($3, 2) + 0
            next
        }
        !more {
            if ($1 >= uid) uid = $1 + 1
            seen[base($0)]
        }
        more && base($0) in seen { next }
        more { $0 = sprintf("%.0f ", uid++) $0 }
        { line[++count] = $0 }
        END {
            if (strange) exit 3
            if (head == "") head = "3 V" now " N1"
            sub(/ N[0-9]+/, sprintf(" N%.0f", uid), head)
            print head
            for (i = 1; i <= count; i++) print line[i]
        }
    '
}

# guard FILE: takes dovecot's lock of a list, a file with the holder's process and host.
guard() {
    until ( set -C; printf '%s:%s' $$ "$(uname -n)" >"$1" ) 2>/dev/null; do
        pid= host=
        { IFS=: read -r pid host <"$1"; } 2>/dev/null
        if [ -n "$pid" ] && [ "$host" = "$(uname -n)" ] && ! started "$pid"; then
            rm -f -- "$1"
        elif [ $waited -ge 10 ]; then
            printf 'unique ids of POP3 could not be added: process %s on %s has locked %s\n' "$pid" "$host" "$1"
            return 1
        else
            waited=$((waited + 1))
            sleep 1
        fi
    done
    locked=$1
}

unguard() {
    [ -z "$locked" ] || rm -f -- "$locked"
    locked=
}

# incoming USER:GROUP FILE LIST: what the following renames are to add to LIST is kept in FILE. Without arguments it is over.
# Dovecot numbers what it finds, unless somebody has locked its list: its lines are there before the first rename, and it can look
# for their messages after the last one.
incoming() {
    unguard
    incoming=
    [ $# -gt 0 ] || return 0
    numbered=$1 list=$3 joined=joined_courier
    case $list in
        */dovecot-uidlist)
            joined=joined_dovecot
            guard "$list.lock" || return 0
            ;;
    esac
    incoming=$2
    { true >"$incoming"; } 2>&1
}

# rename FROM TO NAME...
rename() {
    from=$1 to=$2
    shift 2
    join
    { cd -- "$from" && keep "$@"; } 2>&1
    cd /
    join
}

# adopt FROM TO NAME...: directories of messages take the places of empty ones. Where there is something, it stays, and each
# message goes there by itself.
adopt() {
    from=$1 into=$2
    shift 2
    {
        cd -- "$into" && rmdir -- "$@" 2>/dev/null
        cd -- "$from" && to=$into && keep "$@" 2>/dev/null
        for part; do
            if [ -d "$from/$part" ] && cd -- "$from/$part"; then
                to=$into/$part
                for name in *; do [ ! -e "$name" ] || keep "$name"; done
            fi
        done
    } 2>&1
    cd /
}

# place FROM TO...
place() {
    while [ $# -gt 1 ]; do
        join
        if [ ! -e "$2" ] && [ ! -h "$2" ]; then mv -- "$1" "$2" 2>&1; fi
        join
        shift 2
    done
}

# A file that cannot be read to its end leaves its frame broken: nothing may follow.
send() {
    for line; do
        { echo ok; cat || exit 5; echo; } 2>/dev/null <"$line" || { [ -e "$line" ] && echo denied || echo gone; }
    done
}

# pack DIRECTORY NAME...: an archive, followed by the status of its tar: far fewer processes than `send` has. What that cannot
# tell, such as why a file is not in it, is asked by `send`.
pack() {
    from=$1
    shift
    { cd -- "$from" && tar -cf - "$@"; } 2>/dev/null
    printf '\n%s%s\n' "$rs" $?
    cd /
}

boot=
[ ! -r /proc/sys/kernel/random/boot_id ] || IFS= read -r boot </proc/sys/kernel/random/boot_id

# A process is itself as long as its start time is the same and the machine has not been started anew.
started() {
    if [ -d /proc/self ]; then
        [ -r "/proc/$1/stat" ] || return 1
        IFS= read -r started <"/proc/$1/stat" || return 1
        # Quoted for ksh93, which takes the parenthesis for its own.
        set -- ${started##*') '}
        started="${20}.$boot"
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
    unguard
    mine= directories=
    given each_held "$held"
    given discard "$mine"
    given unused "$directories" 2>/dev/null
}

each_held() {
    for path; do mine=$mine$path/lock/$me$nl directories=$directories$path/lock$nl$path$nl; done
}

unused() {
    rmdir -- "$@"
}
trap release EXIT
trap 'exit 1' HUP INT PIPE TERM

# What processes have open or work in, but not gamin's: it watches on while anybody reads, and touches nothing.
open_files() {
    [ -d /proc/self/fd ] || { echo unknown; return; }
    find /proc/[0-9]*/cwd /proc/[0-9]*/fd/. -type l -exec ls -ld {} + 2>/dev/null |
        sed -n 's|.* /proc/\([0-9]*\)/[^ ]* -> \(/.*\)|\1 \2|p' | grep -v -e '^[0-9]* /dev/' -e ' /$' | sort -u |
        while IFS=' ' read -r pid path; do
            IFS= read -r line <"/proc/$pid/stat" || continue
            case $line in "$pid (gam_server) "*) ;; *) printf '%s %s\n' "$pid" "$path" ;; esac
        done 2>/dev/null
}

# answer VERB-AND-LIST, a line for each.
answer() {
    IFS=$nl
    set -f
    set -- $1
    set +f
    IFS=' '$t$nl
    verb=$1
    shift
    {
        case $verb in
            clock) date +%s ;;
            look-source) look source "$@" ;;
            look-dest) look dest "$@" ;;
            scan)
                look all "$@"
                list "$@"
                ;;
            # Of two marks of one move, the second means something only beside the first.
            settle)
                mark=$1
                shift
                for line; do { printf '%s\n' "$mark" >"$line/settled"; } 2>&1; done
                ;;
            claimed)
                for line; do printf 'm %s\n' "$line"; done
                handed_over "$@"
                ;;
            space) space "$@" ;;
            stat) stat "$stat" "$file" "$@" 2>/dev/null ;;
            whose) stat "$stat" "$owner" "$@" 2>/dev/null ;;
            lock) for line; do lock "$line"; done ;;
            make)
                paths=
                for line; do [ -d "$line" ] || paths=$paths$line$nl; done
                given make_directories "$paths"
                ;;
            # Not `:`, a special built-in, whose failed redirection would end the shell.
            touch) for line; do [ -f "$line" ] || { true >>"$line"; } 2>&1; done ;;
            own) own "$@" -prune ;;
            own-all) own "$@" ;;
            send) send "$@" ;;
            pack) pack "$@" ;;
            incoming) incoming "$@" ;;
            numbers) [ -z "$incoming" ] || { printf '%s\n' "$@" >>"$incoming"; } 2>&1 ;;
            rename) rename "$@" ;;
            adopt) adopt "$@" ;;
            place) place "$@" ;;
            durable) durable "$@" ;;
            remove) discard "$@" ;;
            prune)
                paths=
                for line; do
                    for line in "$line"/part-*; do [ ! -e "$line" ] || paths=$paths$line$nl; done
                    [ ${#paths} -lt 30000 ] || { given discard "$paths"; paths=; }
                done
                given discard "$paths"
                ;;
            tidy) find "$@" -depth -type d -exec rmdir {} + 2>/dev/null ;;
            append)
                path=$1
                shift
                { { printf '\n' && printf '%s\n' "$@"; } >>"$path"; } 2>&1
                ;;
            uidls) [ ! -f "$1" ] || { { echo; cat "$1"; } >>"$2"; durable "$2"; } 2>&1 ;;
            quota)
                {
                    sed 1q "$2"
                    printf '%s\n' "$3"
                } >"$2.move" && own "$1" "$2.move" && mv -- "$2.move" "$2" 2>&1
                ;;
            digest) $digest "$@" 2>/dev/null ;;
            digests)
                if [ -n "$digest" ]; then
                    find "$@" -type f -exec $digest {} +
                else
                    echo 'no sha256sum, shasum or openssl'
                fi
                ;;
            processes) open_files ;;
            *) printf 'unknown verb\n' ;;
        esac
    } </dev/null
    printf '%sdone\n' "$rs"
}

while IFS= read -r size; do
    # A block that was cut off must not be taken for a whole one: a part of a path is a path.
    if [ "$size" -lt 1000 ]; then
        text=
        while IFS= read -r line || exit 1; do
            [ "$line" != "${rs}end" ] || break
            text=$text$line$nl
        done
    else
        text=$($take"$size" 2>/dev/null)
        case $text in *"$nl${rs}end") ;; *) exit 1 ;; esac
        text=${text%"${rs}end"}
    fi
    IFS=$rs
    set -f
    set -- $text
    set +f
    IFS=' '$t$nl
    for text; do [ -z "$text" ] || answer "$text"; done
done
