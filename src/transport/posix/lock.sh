# One run at a time changes a host. A shell that is about to keeps a link in a directory that everyone may write to; what
# the link points to is no path but a text: TOKEN PROCESS BEGAN and whose it is. Nobody follows it. The token is the run's:
# its shells do not exclude each other. A shell that ends takes its link away; one that was killed leaves it, and is known
# to be gone by its process. Each link has a name of its own, so none is removed in the place of another.

# k_born PROCESS: sets k_b to when it began, as the host counts it; fails where there is none to be seen.
k_born() {
  k_b=
  if [ -r /proc/$$/stat ]; then
    { read -r k_b <"/proc/$1/stat"; } 2>/dev/null || return 1
    # The name before it is in parentheses and may hold anything.
    set -- ${k_b##*') '}
    case $1 in Z* | X*) return 1 ;; esac
    k_b=${20}
  else
    kill -s 0 "$1" 2>/dev/null || ps -p "$1" >/dev/null 2>&1 || return 1
    k_b=$(ps -o lstart= -p "$1" 2>/dev/null | tr -s ' ' _)
  fi
}

# k_alive PROCESS BEGAN OWNER
k_alive() {
  # A stranger's link may say anything.
  case $1 in '' | *[!0-9]*) return 1 ;; esac
  if k_born "$1"; then
    [ "${k_b:-x}" = "$2" ]
  else
    # Others' processes may be hidden (`hidepid`).
    [ -r /proc/$$/stat ] && ! [ -r /proc/1/stat ] && [ "$3" != "$(id -un)" ]
  fi
}

# k_enter TEXT: makes the link in the first directory that takes it.
k_enter() {
  for k_d in "$k_dir" /run/lock /var/lock /tmp; do
    # One that is named is taken as it is; of the others those that every user can write to, so that all meet in one.
    case $(ls -ldL "$k_d/" 2>/dev/null) in
    d???????w*) ;;
    *) [ -n "$k_d" ] && [ "$k_d" = "$k_dir" ] && [ -d "$k_d" ] || continue ;;
    esac
    k_mine=$k_d/.cutover.lock.$k_name
    [ -h "$k_mine" ] && return
    ln -s "$1" "$k_mine" 2>/dev/null && return
  done
  k_mine=
  return 1
}

# Sets k_others to the lines of those who have the host, and k_before where one has a name before ours.
k_look() {
  k_others= k_before= k_past=
  for k_f in "$k_d"/.cutover.lock.*; do
    [ "$k_f" = "$k_mine" ] && k_past=1 && continue
    [ -h "$k_f" ] || continue
    k_l=$(ls -ld "$k_f" 2>/dev/null) || continue
    set -- $k_l
    k_owner=$3 k_l=${k_l#*' -> '}
    set -- $k_l x x x
    if ! k_alive "$2" "$3" "$k_owner" || { [ -n "$k_steal" ] && [ "$1" != "$k_token" ]; }; then
      # In a sticky directory only its owner can; a dead one does not count all the same.
      rm -f "$k_f" 2>/dev/null || ! [ -n "$k_steal" ] || k_others="$k_others$k_owner $k_l
"
      continue
    fi
    [ "$1" = "$k_token" ] && continue
    k_others="$k_others$k_owner $k_l
"
    [ -n "$k_past" ] || k_before=1
  done
}

# Waits a fifth of a second, or one where `sleep` knows no parts.
k_pause() {
  sleep $k_nap 2>/dev/null && k_fifths=$((k_fifths - 1)) && return
  k_nap=1 k_fifths=$((k_fifths - 5))
  sleep 1
}

# k_hold REFUSAL DIRECTORY NAME TOKEN TEXT STEAL: takes the lock, or prints REFUSAL and who has it.
k_hold() {
  if [ -n "$k_mine" ]; then
    [ -h "$k_mine" ] && [ -z "$6" ] && return
    [ -h "$k_mine" ] || { printf '%s\nlost\n' "$1" && return 1; }
  fi
  k_refusal=$1 k_dir=$2 k_name=$3 k_token=$4 k_text=$5 k_steal=$6 k_fifths=10 k_nap=0.2
  while :; do
    k_born $$
    k_enter "$k_token $$ ${k_b:-x} $k_text" || { printf '%s\nnowhere\n' "$k_refusal" && return 1; }
    k_look
    [ -n "$k_others" ] || return 0
    # One that ends just now, or was killed just now, is worth two seconds.
    [ $k_fifths -gt 0 ] || break
    # Of two that came at once the first by name stays, and the other comes back when that one has looked again.
    if [ -n "$k_before" ]; then rm -f "$k_mine" && k_pause; fi
    k_pause
  done
  rm -f "$k_mine"
  k_mine=
  printf '%s\n%s' "$k_refusal" "$k_others"
  return 1
}
