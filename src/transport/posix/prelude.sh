# What the host does for Cutover; read once by each long-lived shell, and by each program that receives a big file.
# Only POSIX shell: no `local`, no arrays. c_n ends every record; it is new for each exchange.

c_probe() {
  case $(stat -c %u.%g / 2>/dev/null) in
  *.*) c_stat=c ;;
  *) case $(stat -f %u.%g / 2>/dev/null) in *.*) c_stat=f ;; *) c_stat=l ;; esac ;;
  esac
  for c_sum in sha256sum 'sha256 -q' 'shasum -a 256' 'openssl dgst -sha256' none; do
    case $($c_sum </dev/null 2>/dev/null) in
    *e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855*) break ;;
    esac
  done
  for c_b64 in 'base64 -d' 'base64 -D' 'openssl base64 -d' none; do
    case $(echo YQ== | $c_b64 2>/dev/null) in a) break ;; esac
  done
  case $(sync --help 2>&1 </dev/null) in
  *FILE*) c_sync=file ;;
  *) case $(dd --help 2>&1 </dev/null) in *fsync*) c_sync=dd ;; *) c_sync=all ;; esac ;;
  esac
  case $(mv --help 2>&1 </dev/null) in *--no-target-directory*) c_mv=T ;; *) c_mv=plain ;; esac
  # In the locale C a byte is a character; yash has none for those above 127.
  case $(printf '\377' 2>/dev/null) in ?) c_text=any ;; *) c_text=utf8 ;; esac
  echo "$c_stat/$c_sum/$c_b64/$c_sync/$c_mv/$c_text"
  umask
  id
  echo "${HOME:-/}"
}

# --- reading

# Prints the paths' attributes; those of a link's target with -L in c_L.
c_lines() {
  case $c_stat in
  c) stat $c_L -c "s%f %u %g %s %Y %U/%G/%n$c_n" "$@" ;;
  f) stat $c_L -f "s%p %u %g %z %m %Su/%Sg/%N$c_n" "$@" ;;
  l) sh -c "$c_ls" sh "$@" ;;
  esac
}

c_ls='for p; do
  ls -ldn $c_L "$p" 2>/dev/null | {
    read -r m x u g s r && ls -ld $c_L "$p" | { read -r M X U G S R; printf "s%s %s %s %s - %s/%s/%s%s\n" "$m" "$u" "$g" "$s" "$U" "$G" "$p" "$c_n"; }
  }
done'

c_cat='for p; do [ -r "$p" ] || continue; printf "c%s\0" "$p"; cat "$p"; printf "%s\n" "$c_n"; done'

c_hash='for p; do [ -r "$p" ] || continue; printf "h%s\0" "$p"; $c_sum <"$p"; printf "%s\n" "$c_n"; done'

c_links='for p; do
  printf "l%s\0" "$p"
  readlink "$p" 2>/dev/null || { t=$(ls -ld "$p"; echo x); t=${t%x}; printf %s "${t#*" $p -> "}"; }
  printf "%s\n" "$c_n"
done'

# Says whether there is something at $1; reports a directory on the way that must not be searched.
c_there() {
  if [ -e "$1" ] || { [ -z "$c_L" ] && [ -L "$1" ]; }; then return 0; fi
  c_up=${1%/*}
  until [ -z "$c_up" ] || [ -e "$c_up" ]; do c_up=${c_up%/*}; done
  if [ -d "${c_up:-/}" ] && [ ! -x "${c_up:-/}" ]; then printf 'x%s%s\n' "$1" "$c_n"; fi
  return 1
}

# c_look WANT LINKS PATH...: WANT is a (attributes), d (digest), c (content); LINKS is empty or -L.
c_look() {
  c_want=$1 c_L=$2 c_some=
  shift 2
  export c_n c_sum c_L
  for c_p; do
    c_there "$c_p" || continue
    c_some=1
    if [ -z "$c_L" ] && [ -L "$c_p" ]; then sh -c "$c_links" sh "$c_p"; fi
  done
  [ -n "$c_some" ] || return 0
  # Without a tool the content goes over the wire whatever its size, and the digest is made there.
  [ "$c_sum" != none ] || c_hash=$c_cat
  case $c_want in
  d) find $c_L "$@" -prune -type f -exec sh -c "$c_hash" sh {} + ;;
  c) find $c_L "$@" -prune -type f -size -2049 -exec sh -c "$c_cat" sh {} + -o -type f -size +2048 -exec sh -c "$c_hash" sh {} + ;;
  esac 2>/dev/null
  c_lines "$@" 2>/dev/null
  return 0
}

# c_list DIRECTORY PATTERN: everything below it; what matches PATTERN is not descended into.
c_list() {
  c_L=
  c_there "$1" || return 0
  # Each shell has words of its own for that.
  if [ -d "$1" ] && ! { [ -r "$1" ] && [ -x "$1" ]; }; then
    echo "$1: Permission denied" >&2
    return 1
  fi
  cd -P "$1" || return 1
  export c_n c_L
  if [ -n "$2" ]; then set -- ! -name . '(' -path "$2" -prune -o ! -path "$2" ')'; else set -- ! -name .; fi
  # No `-exec` with a `+` stands in parentheses: busybox forgets to run it.
  set -- . "$@" -type l -exec sh -c "$c_links" sh {} + c_stat -o "$@" c_stat
  c_find "$@"
}

# Runs find with each `c_stat` replaced by what prints the attributes.
c_find() {
  c_k=$#
  while [ $c_k -gt 0 ]; do
    c_w=$1
    shift
    case $c_w/$c_stat in
    c_stat/c) set -- "$@" -exec stat -c "s%f %u %g %s %Y %U/%G/%n$c_n" {} + ;;
    c_stat/f) set -- "$@" -exec stat -f "s%p %u %g %z %m %Su/%Sg/%N$c_n" {} + ;;
    c_stat/l) set -- "$@" -exec sh -c "$c_ls" sh {} + ;;
    *) set -- "$@" "$c_w" ;;
    esac
    c_k=$((c_k - 1))
  done
  find "$@"
  return 0
}

# c_account passwd|group NAME: prints the line of that name or number.
c_account() {
  c_line=$(getent "$1" "$2" 2>/dev/null)
  case $? in
  0 | 2) printf '%s\n' "$c_line" ;;
  *)
    # Not by a here-document: some shells need a place for temp files for one.
    while IFS= read -r c_line; do
      c_id=${c_line#*:*:}
      if [ "${c_line%%:*}" = "$2" ] || [ "${c_id%%:*}" = "$2" ]; then printf '%s\n' "$c_line"; break; fi
    done <"/etc/$1"
    ;;
  esac
  return 0
}

# --- writing: c_i is the number of the change, c_p its path, c_t its temp file, c_d the directory of both

c_begin() {
  c_made=
  trap c_end 0
  trap 'exit 1' 1 2 13 15
}

# c_flush is the script's own: it knows the directories. It may take long, so it comes last.
c_end() {
  [ -z "$c_made" ] || rm -f "$c_made" 2>/dev/null || rmdir "$c_made"
  c_flush
}

c_change() {
  c_i=$1 c_p=$2 c_t=$3 c_d=$4
}

c_done() {
  c_made=
  echo "$c_i ok"
}

c_stale() {
  echo "$c_i stale"
  exit 0
}

c_fail() {
  echo "$c_i failed $1"
  exit 0
}

# Sets c_a to `mode uid gid`, c_s to the size and c_m to the modification time of a path.
c_now() {
  case $c_stat in
  c) set -- $(stat -c '%f %u %g %s %Y' "$1") ;;
  f) set -- $(stat -f '%p %u %g %z %m' "$1") ;;
  l) set -- $(ls -ldn "$1" | { read -r m x u g s r; echo "${m%[.+@]} $u $g $s -"; }) ;;
  esac
  c_a="$1 $2 $3" c_s=$4 c_m=$5
}

c_digest() {
  c_h=$($c_sum <"$1") || return 1
  c_h=${c_h##*= }
  c_h=${c_h%% *}
}

# The path must be: absent; or have these attributes, size, time, digest (empty: any); or be a link to this target.
c_was_absent() {
  if [ -e "$c_p" ] || [ -L "$c_p" ]; then c_stale; fi
}

c_was() {
  if [ ! -e "$c_p" ] && [ ! -L "$c_p" ]; then c_stale; fi
  c_now "$c_p" || c_stale
  [ "$c_a" = "$1" ] && [ "${2:-$c_s}" = "$c_s" ] && [ "${3:-$c_m}" = "$c_m" ] || c_stale
  if [ -n "$4" ]; then
    c_digest "$c_p" && [ "$c_h" = "$4" ] || c_stale
  fi
}

# The trailing x keeps final newlines of the target.
c_was_link() {
  [ -L "$c_p" ] || c_stale
  c_to=$(readlink "$c_p" 2>/dev/null && echo x) || {
    c_to=$(ls -ld "$c_p" && echo x)
    c_to=${c_to#*" $c_p -> "}
  }
  [ "$c_to" = "$1
x" ] || c_stale
  c_now "$c_p"
  [ "${c_a#* }" = "$2" ] || c_stale
}

# Creates the temp file, readable by nobody else, never through something that is there already. Its name, which nobody
# can guess, is noted before: a signal may come at any time.
c_temp() {
  c_made=$c_t
  (umask 077 && set -C && : >"$c_t") || c_not_made 'cannot create a file beside it'
}

c_not_made() {
  c_made=
  c_fail "$1"
}

# c_settle PATH ATTRIBUTES MODE TIME SIZE ACCESS: owner before mode, because chown clears the setuid bit.
c_settle() {
  c_now "$1"
  c_o=${2#* }
  [ "${c_a#* }" = "$c_o" ] || chown "${c_o% *}:${c_o#* }" "$1" || c_fail 'cannot change the owner'
  c_now "$1"
  [ "$c_a" = "$2" ] || chmod "$3" "$1" || c_fail 'cannot change the mode'
  [ -z "$4" ] || TZ=UTC0 touch -m -t "$4" "$1" || c_fail 'cannot change the time'
  [ -z "$6" ] || TZ=UTC0 touch -a -t "$6" "$1" || c_fail 'cannot change the time of access'
  c_now "$1"
  [ "$c_a" = "$2" ] || c_fail "mode, owner and group stay \`$c_a\`, asked for \`$2\`"
  [ "${5:-$c_s}" = "$c_s" ] || c_fail "has $c_s bytes, not $5"
}

# c_check COMMAND
c_check() {
  /bin/sh -c "$1" </dev/null >&2 || c_fail 'is not accepted by its validation'
}

c_sync_file() {
  case $c_sync in
  file) sync "$1" ;;
  dd) dd if=/dev/null of="$1" conv=notrunc,fsync 2>/dev/null ;;
  all) sync ;;
  esac || c_fail 'cannot be flushed to the disk'
}

c_sync_directory() {
  case $c_sync in file) sync "$@" ;; esac 2>/dev/null
}

c_rename() {
  if [ "$c_mv" = T ]; then
    mv -fT "$c_t" "$c_p" || c_fail 'cannot be replaced'
  else
    # A `mv` onto a link to a directory would move into that; busybox's `-T` refuses.
    if [ -d "$c_p" ]; then rm -f "$c_p" || c_fail 'cannot be replaced'; fi
    mv -f "$c_t" "$c_p" || c_fail 'cannot be replaced'
  fi
  c_made=
}

c_remove() {
  if [ -d "$c_p" ] && [ ! -L "$c_p" ]; then rmdir "$c_p"; else rm -f "$c_p"; fi || c_fail 'cannot be removed'
}

c_mkdir() {
  c_made=$c_t
  (umask 077 && mkdir "$c_t") || c_not_made 'cannot create a directory beside it'
}

# c_symlink TARGET `uid gid`
c_symlink() {
  c_made=$c_t
  ln -s -- "$1" "$c_t" || c_not_made 'cannot create a link beside it'
  c_own_link "$c_t" "$2"
}

c_own_link() {
  c_now "$1"
  [ "${c_a#* }" = "$2" ] || chown -h "${2% *}:${2#* }" "$1" || c_fail 'cannot change the owner'
}

# c_is DIGEST: what came on stdin is what was meant.
c_is() {
  c_digest "$c_t" && [ "$c_h" = "$1" ] || c_fail 'did not arrive as it was sent'
}
