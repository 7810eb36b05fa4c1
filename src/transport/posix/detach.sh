# Leaves the words of "$@" to themselves under the watch of $c_job; prints the path of the job's file.
c_mask=$(umask)
umask 077
c_dir=${ANSIBLE_ASYNC_DIR:-$c_home/.ansible_async}
case $c_dir in "~/"*) c_dir=$c_home/${c_dir#"~/"} ;; esac
mkdir -p "$c_dir" || exit 1
c_file=$c_dir/j$c_number.$$
cat >"$c_file.in" && echo started >"$c_file" || exit 1
# A session of its own where the host can make one; else nothing but the hang-up is kept away from it.
c_how= c_whole=
if command -v setsid >/dev/null 2>&1; then
  c_how=setsid c_whole=-
fi
(
  trap '' HUP
  exec $c_how /bin/sh -c "$c_job" cutover-job "$c_file" "$c_mask" "$c_limit" "$c_whole" "$@"
) </dev/null >/dev/null 2>&1 &
printf '%s\n' "$c_file"
exit 0
