# Ends processes: c_top and those below it. They get time to clean up, then they are killed; prints what lives on.
# For a long-lived shell ($c_shell) the processes of its group that are not below it stay: services that were started there.

# Prints PID/PARENT/GROUP/STATE of every process.
c_list() {
  if [ -r /proc/$$/stat ]; then
    for c_f in /proc/[0-9]*/stat; do
      { read -r c_l <"$c_f"; } 2>/dev/null || continue
      c_f=${c_f#/proc/}
      # The name before it is in parentheses and may hold anything.
      set -- ${c_l##*') '}
      echo "${c_f%/stat}/$2/$3/$1"
    done
  else
    ps -A -o pid= -o ppid= -o pgid= -o stat= | while read -r c_p c_up c_g c_s; do echo "$c_p/$c_up/$c_g/$c_s"; done
  fi
}

# Adds to c_found what is below it, and sets c_left to those of it that have not ended.
c_find() {
  c_all=$(c_list) c_more=1
  # Where nothing can list them, the group is all there is.
  [ -n "$c_all" ] || { set -- $c_found && c_left=$*; }
  while [ -n "$c_more" ]; do
    c_more=
    [ -z "$c_all" ] || c_left=
    for c_w in $c_all; do
      c_p=${c_w%%/*} c_w=${c_w#*/}
      c_up=${c_w%%/*} c_w=${c_w#*/}
      case "$c_found" in
      *" $c_p "*) case ${c_w#*/} in Z* | X*) ;; *) c_left="$c_left $c_p" ;; esac ;;
      *)
        case "$c_found $c_top " in
        *" $c_up "*) ;;
        *) [ "${c_w%%/*}" = "$c_group" ] || continue ;;
        esac
        c_found="$c_found$c_p " c_more=1
        ;;
      esac
    done
  done
}

# c_kill SIGNAL
c_kill() {
  # `--` is needed by dash and refused by busybox.
  [ -n "$c_shell" ] || kill -s "$1" -- "-$c_top" || kill -s "$1" "-$c_top"
  kill -s "$1" $c_left
}

# Sets c_left to those of it that have not ended, without a look at all others.
c_still() {
  set -- $c_left
  c_left=
  for c_p; do
    if [ -r /proc/$$/stat ]; then
      { read -r c_l <"/proc/$c_p/stat"; } 2>/dev/null || continue
      case ${c_l##*') '} in Z* | X*) continue ;; esac
    else
      kill -s 0 "$c_p" || continue
    fi
    c_left="$c_left $c_p"
  done
}

# c_wait TENTHS: waits so long for them to end, and looks for what they may have started meanwhile.
c_wait() {
  c_k=$1
  while c_still && [ -n "$c_left" ] && [ "$c_k" -gt 0 ]; do
    sleep "$c_nap" || c_nap=1
    case $c_nap in 1) c_k=$((c_k - 10)) ;; *) c_k=$((c_k - 1)) ;; esac
  done
  c_find
}

c_nap=0.1
if [ -n "$c_shell" ]; then
  c_found=' ' c_group=none
  c_find
  # At once, so that nothing more of what waits in its stdin runs. To stop it first would stop the `sudo` above it too,
  # for good.
  kill -s KILL "$c_top"
else
  c_found=" $c_top " c_group=$c_top
  c_find
fi
c_kill TERM
c_kill CONT
c_wait 30
[ -z "$c_left" ] || c_kill KILL
c_wait 20
c_still
echo "left:$c_left"
