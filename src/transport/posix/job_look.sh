# Prints the path of the file of the job $c_id, how far the job is and, at its end, its output; without $c_blocks it
# removes what is left of it.
c_dir=${ANSIBLE_ASYNC_DIR:-$c_home/.ansible_async}
case $c_dir in "~/"*) c_dir=$c_home/${c_dir#"~/"} ;; esac
c_file=$c_dir/$c_id
printf '%s\n' "$c_file"
case $c_id in */* | '') c_state=missing ;; *) [ -f "$c_file" ] && read -r c_state c_rest <"$c_file" || c_state=missing ;; esac
if [ "$c_state" = running ] && ! kill -s 0 "$c_rest" 2>/dev/null; then
  # It may have ended between the two looks.
  read -r c_state c_rest <"$c_file"
  [ "$c_state" != running ] || c_state=gone
fi
printf '%s\n' "$c_state $c_rest"
if [ -z "$c_blocks" ]; then
  [ "$c_state" = missing ] || rm -f "$c_file" "$c_file.out" "$c_file.err" "$c_file.in" "$c_file.new"
  exit 0
fi
case $c_state in
finished | late)
  c_limit=$((c_blocks * 65536))
  c_size=$(wc -c <"$c_file.out")
  [ "$c_size" -le "$c_limit" ] || c_size=$c_limit
  printf '%s\n' $((c_size))
  for c_part in "$c_file.out" "$c_file.err"; do
    dd if="$c_part" bs=65536 count="$c_blocks" 2>/dev/null
  done
  ;;
esac
exit 0
